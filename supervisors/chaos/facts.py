"""The topology as the checks need it: restart types, orders, windows, promises. Pure."""

from collections.abc import Iterable

import msgspec

from supervisors.spec.compiled import SupervisorPart, WorkerSpec
from supervisors.tree.model import ChildSpec

#: seconds within which a crashed service is back (REC-9)
DEFAULT_RTO = 30.0


class ChildFacts(msgspec.Struct, frozen=True):
    """One child as the topology has it. Times in seconds, None: without end, or not promised.

    Attributes:
        path: its place.
        type: worker or supervisor.
        restart: permanent, transient, temporary.
        hang_after: a blocked loop is seen after; None: never.
        silence: missed beats are seen after.
        rto: promised from failure to recovered; REC-9's 30 s where the topology says nothing.
        standbys: kept for it.
        journals: it has a recovery policy, so it may have a journal and a lease.
        ack: when its events count as acknowledged.
        may_hold: its ladder or an approval may leave it for a person.
    """

    path: str
    type: str = "worker"
    restart: str = "permanent"
    hang_after: float | None = 2.0
    silence: float = 0.3
    rto: float | None = DEFAULT_RTO
    standbys: int = 0
    journals: bool = False
    ack: str = ""
    may_hold: bool = False


class SupervisorFacts(msgspec.Struct, frozen=True):
    """One supervisor as the topology has it; ``children`` in start order.

    ``budgets``: name -> (intensity, period). ``template``: what its dynamic children are like.
    """

    path: str
    strategy: str = "one_for_one"
    intensity: int = 3
    period: float = 5.0
    budgets: dict[str, tuple[int, float]] = {}
    children: tuple[ChildFacts, ...] = ()
    template: ChildFacts | None = None


def facts_of(parts: Iterable[SupervisorPart]) -> tuple[SupervisorFacts, ...]:
    """The facts of compiled supervisors."""
    return tuple(_supervisor_facts(part) for part in parts)


def _supervisor_facts(part: SupervisorPart) -> SupervisorFacts:
    flags = part.spec.flags
    base = "" if part.path == "/" else part.path
    simple = part.template is not None
    children = () if simple else part.spec.children
    template = part.spec.children[0] if simple and part.spec.children else None
    return SupervisorFacts(
        path=part.path,
        strategy=flags.strategy.value,
        intensity=flags.intensity,
        period=float(flags.period),
        budgets={budget.name: (budget.intensity, float(budget.period)) for budget in flags.budgets},
        children=tuple(_child_facts(f"{base}/{one.id}", one, part.workers.get(one.id)) for one in children),
        template=_child_facts(part.path, template, part.template) if template is not None else None,
    )


def _child_facts(path: str, spec: ChildSpec, worker: WorkerSpec | None) -> ChildFacts:
    if worker is None:
        return ChildFacts(path, spec.type.value, spec.restart.value)
    beat, recovery = worker.heartbeat, worker.recovery
    return ChildFacts(
        path,
        spec.type.value,
        spec.restart.value,
        hang_after=beat.hang_after,
        silence=beat.interval * beat.missed,
        rto=recovery.rto if recovery is not None else DEFAULT_RTO,
        standbys=worker.standbys,
        journals=recovery is not None,
        ack=recovery.journal.ack.value if recovery is not None else "",
        # the last rung of every ladder is a person
        may_hold=recovery is not None,
    )
