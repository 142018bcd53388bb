"""Write a topology as YAML: only what was set, times and sizes as people write them."""

import io

from ruamel.yaml import YAML

from supervisors.spec.topology import Topology


def dump_topology(topology: Topology) -> str:
    """The topology as YAML text; reading it gives an equal topology."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    out = io.StringIO()
    writer.dump(topology.model_dump(mode="json", exclude_unset=True, by_alias=True), out)
    return out.getvalue()
