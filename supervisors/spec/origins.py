"""Where a worker's setting was written: at itself, in its policy, in one that policy extends, or in the defaults.

What is wrong with an inherited setting is told once, at the place to mend, and not at each child that inherits it.
"""

from dataclasses import dataclass, field

from supervisors.spec.fields import SpecModel, names_by_key
from supervisors.spec.findings import Loc
from supervisors.spec.resolve import ResolvedWorker
from supervisors.spec.settings import WorkerSettings
from supervisors.spec.topology import Topology

_DEFAULTS: Loc = ("defaults", "child")


@dataclass(slots=True)
class Origins:
    """Finds the places of a topology's settings."""

    topology: Topology
    _chains: dict[str, list[tuple[Loc, WorkerSettings]]] = field(default_factory=dict)

    def written(self, worker: ResolvedWorker, *path: str | int) -> Loc | None:
        """Where the setting at ``path`` in effect for ``worker`` is written; None: it is built in."""
        sources: list[tuple[Loc, WorkerSettings]] = [(worker.loc, worker.node), *self._chain(worker.node.policy)]
        for loc, settings in sources:
            found = _find(settings, path)
            if found is None:
                # null here: what is written further off is not in effect
                return None
            if found:
                return (*loc, *path)
        return None

    def place(self, worker: ResolvedWorker, *path: str | int) -> Loc:
        """As ``written``; for what is built in, the nearest section around it that is written."""
        for end in range(len(path), 0, -1):
            loc = self.written(worker, *path[:end])
            if loc is not None:
                return (*loc, *path[end:])
        return (*worker.loc, *path)

    def _chain(self, policy: str | None) -> list[tuple[Loc, WorkerSettings]]:
        if policy is None:
            return [(_DEFAULTS, self.topology.defaults.child)]
        known = self._chains.get(policy)
        if known is None:
            known = self._chains[policy] = []
            name: str | None = policy
            seen: set[str] = set()
            while name is not None and name in self.topology.policies and name not in seen:
                seen.add(name)
                known.append((("policies", name), self.topology.policies[name]))
                name = self.topology.policies[name].extends
            known.append((_DEFAULTS, self.topology.defaults.child))
        return known


def _find(settings: WorkerSettings, path: Loc) -> bool | None:
    """True: ``path`` is written in ``settings``; None: something above it is written as null."""
    value: object = settings
    for part in path:
        if isinstance(value, tuple):
            if not isinstance(part, int) or part >= len(value):
                return False
            value = value[part]
        elif isinstance(value, SpecModel):
            name = names_by_key(type(value)).get(str(part), "")
            if name not in value.model_fields_set:
                return False
            value = getattr(value, name)
        else:
            return None
    return True
