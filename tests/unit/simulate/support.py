"""Small topologies to simulate."""

from supervisors.simulate import Script
from supervisors.simulate.load import check_script_text
from supervisors.spec import CompiledTopology, Topology, compile_topology

WORKER = {"actor": "examples.strategies.actors:Ticker"}


def nested() -> CompiledTopology:
    """/cell (rest_for_one, 2 in 5 s) with md and oms, /pool with two dynamic children, /solo."""
    tree = {
        "children": [
            {
                "id": "cell",
                "strategy": "rest_for_one",
                "intensity": 2,
                "period": "5s",
                "children": [{"id": "md", **WORKER}, {"id": "oms", **WORKER}],
            },
            {"id": "pool", "strategy": "simple_one_for_one", "initial": 2, "template": WORKER},
            {"id": "solo", **WORKER},
        ]
    }
    return compile_topology(Topology.model_validate({"tree": tree}))


def script(text: str) -> Script:
    """The script in ``text``, which must be right."""
    report, parsed = check_script_text(text)
    assert parsed is not None, report
    assert report.ok, report
    return parsed
