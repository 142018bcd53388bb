"""Planted bugs: each breaks one thing, and shows that the checks would see it. For tests and ``simulate --chaos``.

A bug replaces a machine by a subclass, a rule of the simulated shell, or, while a run lasts, a function of the tree.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

from supervisors.core.errors import SpecError
from supervisors.core.reasons import ExitReason
from supervisors.simulate.dst.disk import Checkpoint, Rec
from supervisors.simulate.dst.model import Parts
from supervisors.state.lease import may_take
from supervisors.state.replicating import primary_events as p
from supervisors.state.replicating import standby_events as s
from supervisors.state.replicating.primary import Acknowledge, PrimarySide
from supervisors.state.replicating.promotion import Effect as PromotionEffect
from supervisors.state.replicating.promotion import OpenJournal, PromotionSteps
from supervisors.state.replicating.standby import Apply, RecordsCame, StandbySide
from supervisors.tree import overtaking, restarting, stopping
from supervisors.tree.background import Wait
from supervisors.tree.child import Child
from supervisors.tree.intensity import IntensityWindow
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import Event
from supervisors.tree.model import Restart, Strategy, SupervisorSpec
from supervisors.tree.state import SupervisorState

#: a simulation asks for a bug that nobody planted
NO_SUCH_BUG = 1513

Patch = tuple[ModuleType, str, object]


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug.

    Attributes:
        name, what: for people.
        invariants: those that it may break first.
        parts: what a run is built of with it.
        patches: functions that are replaced while a run lasts.
    """

    name: str
    what: str
    invariants: tuple[str, ...]
    parts: Parts
    patches: tuple[Patch, ...] = ()


# ---------------------------------------------------------------- machines with a defect


class _NeverExpires(IntensityWindow):
    def add(self, now: float) -> bool:
        self._stamps.appendleft(int(now))
        return len(self._stamps) <= self.intensity


class _NeverCounted(IntensityWindow):
    def add(self, now: float) -> bool:
        return True


def _machine(window: type[IntensityWindow]) -> Callable[..., SupervisorMachine]:
    def make(spec: SupervisorSpec, jitter: Callable[[], float]) -> SupervisorMachine:
        machine = SupervisorMachine(spec, jitter)
        machine.window = window(spec.flags.intensity, spec.flags.period)
        return machine

    return make


_Effect = s.Effect[Rec, Checkpoint, Checkpoint]


class _AppliesAgain(StandbySide[Rec, Checkpoint, Checkpoint]):
    """Takes records it has for new ones."""

    def step(self, event: s.Event[Rec, Checkpoint, Checkpoint], now: float) -> list[_Effect]:
        effects = super().step(event, now)
        if isinstance(event, RecordsCame) and event.records and self.in_stream:
            for place, effect in enumerate(effects):
                if isinstance(effect, Apply):
                    effects[place] = Apply(effect.number, event.records, effect.since)
        return effects


class _MixesHistories(StandbySide[Rec, Checkpoint, Checkpoint]):
    """Does not look whether the primary's history is its own."""

    def step(self, event: s.Event[Rec, Checkpoint, Checkpoint], now: float) -> list[_Effect]:
        if isinstance(event, RecordsCame):
            self.shared = event.epoch
        return super().step(event, now)


class _WaitsForNobody(PrimarySide[object]):
    """Acknowledges what its own disk has, whatever the standbys in sync have."""

    def step(self, event: p.Event[object], now: float) -> list[p.Effect[object]]:
        effects = [one for one in super().step(event, now) if not isinstance(one, Acknowledge)]
        self.acknowledged = max(self.acknowledged, self.head)
        return [*effects, Acknowledge(self.head)]


class _OpensAtOnce(PromotionSteps):
    """Becomes the writer before it has applied what it received, and does not look whose journal it is."""

    def begin(self) -> list[PromotionEffect]:
        found = super().begin()
        return [OpenJournal(self._epoch)] if len(found) == 1 and type(found[0]).__name__ == "ApplyAll" else found


# ---------------------------------------------------------------- functions of the tree with a defect


def _stop_in_start_order(state: SupervisorState, ids: list[str]) -> Generator[Wait, Event, None]:
    return _stop_children(state, ids[::-1])


def _forgets_one(state: SupervisorState, child: Child, strategy: Strategy) -> list[str]:
    ids = _group(state, child, strategy)
    return ids[:-1] if strategy is Strategy.REST_FOR_ONE and len(ids) > 1 else ids


def _restarts_temporary(child: Child, reason: ExitReason) -> bool:
    return child.spec.restart is Restart.TEMPORARY or _is_restarted(child, reason)


_stop_children = stopping.stop_children
_group = restarting._group
_is_restarted = restarting.is_restarted


def _always_over(current: str, holder: str, proved_dead: str, over: bool) -> bool:
    return may_take(current, holder, proved_dead, True)


def _same_token(previous: int, floor: int) -> int:
    return previous or floor


_REST_FOR_ONE: Sequence[Patch] = ((restarting, "_group", _forgets_one),)
_TEMPORARY: Sequence[Patch] = (
    (restarting, "is_restarted", _restarts_temporary),
    (overtaking, "is_restarted", _restarts_temporary),
)
_START_ORDER: Sequence[Patch] = (
    (stopping, "stop_children", _stop_in_start_order),
    (restarting, "stop_children", _stop_in_start_order),
)

_FOUND: tuple[Bug, ...] = (
    Bug("skip_fence", "the journal does not look at the fence", ("INV-4", "INV-1", "INV-2"), Parts(fence=False)),
    Bug("ack_before_sync", "an append is acknowledged before its sync", ("INV-1",), Parts(sync_first=False)),
    Bug("ignore_sync_error", "a sync that failed counts as done", ("INV-1",), Parts(heed_sync=False)),
    Bug("promote_unsynced", "a standby that is not in sync is promoted", ("INV-1",), Parts(ask_synced=False)),
    Bug(
        "promote_early", "a standby acts before it applied what it received", ("INV-1",), Parts(promotion=_OpensAtOnce)
    ),
    Bug(
        "ack_without_standby",
        "an append is acknowledged before the standbys in sync have it",
        ("INV-1",),
        Parts(primary=_WaitsForNobody),
    ),
    Bug(
        "silent_removal",
        "a standby is waited for no longer before its supervisor has written that down",
        ("INV-1",),
        Parts(word=False),
    ),
    Bug(
        "forget_lagging",
        "a replaced supervisor takes every standby for one in sync",
        ("INV-1",),
        Parts(keep_word=False),
    ),
    Bug("apply_twice", "a standby applies records it has already", ("INV-2",), Parts(standby=_AppliesAgain)),
    Bug(
        "mix_histories",
        "a standby does not compare its last epoch with the primary's",
        ("INV-1", "INV-2"),
        Parts(standby=_MixesHistories),
    ),
    Bug("reuse_epoch", "the lease store gives the same token again", ("INV-3", "INV-7"), Parts(next_token=_same_token)),
    Bug("ignore_deadline", "a life acts on when its lease has ended", ("INV-3", "INV-4"), Parts(keep_deadline=False)),
    Bug("steal_lease", "the lease store does not wait for a lease to end", ("INV-3",), Parts(may_take=_always_over)),
    Bug("cut_too_much", "after a power failure one whole record is cut with the torn one", ("INV-1",), Parts(cut=1)),
    Bug("never_expires", "restarts count for ever", ("INV-8",), Parts(machine=_machine(_NeverExpires))),
    Bug("never_counted", "restarts are not counted", ("INV-8",), Parts(machine=_machine(_NeverCounted))),
    Bug("start_order", "children are stopped in the order of their starts", ("INV-9",), Parts(), tuple(_START_ORDER)),
    Bug("rest_for_one", "rest_for_one leaves the last child out", ("INV-7", "INV-9"), Parts(), tuple(_REST_FOR_ONE)),
    Bug("temporary", "a temporary child is restarted", ("INV-7",), Parts(), tuple(_TEMPORARY)),
    Bug("late_notice", "news of an old life is taken for news of the present one", ("INV-6",), Parts(tell_apart=False)),
    Bug("adopt_blindly", "a replaced supervisor does not look who runs", ("INV-5", "INV-7"), Parts(check_lives=False)),
    Bug(
        "forget_hold",
        "a supervisor that begins afresh starts children that wait for a person",
        ("INV-7",),
        Parts(keep_holds=False),
    ),
    Bug(
        "move_unasked",
        "a standby with another disk acts before that is written down as the place of the newest journal",
        ("INV-1",),
        Parts(ask_home=False),
    ),
    Bug("lose_death", "one death in ten is not told to the machine", ("INV-5", "INV-7", "INV-10"), Parts(hear=False)),
    Bug(
        "leave_orphans",
        "nothing is ended below a supervisor that nobody adopts",
        ("INV-10", "INV-3"),
        Parts(reap=False),
    ),
)
BUGS: dict[str, Bug] = {bug.name: bug for bug in _FOUND}


def bug_named(name: str) -> Bug:
    """That bug.

    Raises:
        SpecError: there is no such bug.
    """
    bug = BUGS.get(name)
    if bug is None:
        raise SpecError(f"no bug {name!r} is planted", code=NO_SUCH_BUG, fix="one of: " + ", ".join(BUGS))
    return bug


@contextmanager
def planted(name: str) -> Iterator[Parts]:
    """What a run is built of, with that bug in it; empty: without any.

    Raises:
        SpecError: there is no such bug.
    """
    if not name:
        yield Parts()
        return
    bug = bug_named(name)
    before = [(module, attribute, getattr(module, attribute)) for module, attribute, _ in bug.patches]
    try:
        for module, attribute, instead in bug.patches:
            setattr(module, attribute, instead)
        yield replace(bug.parts)
    finally:
        for module, attribute, was in before:
            setattr(module, attribute, was)
