"""Recovery in the simulated shell: the real rules (``supervisors.recovery.recoveries``) on simulated processes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.classes import failure_class
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    FailureEvidence,
    StandbyEvidence,
    UnknownEvidence,
)
from supervisors.recovery.messages import Attempt, Closed, Drop, Effect, Hold, Release, RungFailed, Validate
from supervisors.recovery.policy import RecoverySpec
from supervisors.recovery.ports import Hand
from supervisors.recovery.recoveries import Recoveries
from supervisors.tree.child import Child
from supervisors.tree.messages import Event, StartChild

if TYPE_CHECKING:
    from supervisors.simulate.dst.shell import Peer, Shell


class Seen(UnknownEvidence):
    """Evidence about one failure of one child."""

    def __init__(self, shell: "Shell", child_id: str, reason: ExitReason) -> None:
        self._shell = shell
        self._id = child_id
        self._reason = reason

    def standby(self) -> StandbyEvidence:
        """The best standby."""
        standbys = self._shell.standbys
        best = standbys.best(self._id)
        if best is None:
            return StandbyEvidence(synced=False)
        synced = standbys.is_synced(best) or not self._shell.world.parts.ask_synced
        return StandbyEvidence(synced, standbys.lag_of(best))

    def checkpoint(self) -> CheckpointEvidence:
        """The newest checkpoint where the state is kept."""
        world, path = self._shell.world, self._shell.child_path(self._id)
        node = self._shell.hosting.node_of(self._id)
        found = world.disks[node].folder(path).checkpoint() if world.usable(node) else None
        if found is None:
            return CheckpointEvidence(valid=False)
        return CheckpointEvidence(valid=True, age=world.kernel.now - found.at, sequence=found.sequence)

    def failure(self) -> FailureEvidence:
        """Why it failed."""
        return FailureEvidence(failure_class(self._reason))

    def corruption(self) -> CorruptionEvidence:
        """Nothing is known to be damaged."""
        return CorruptionEvidence(suspected=False)


class Hands(Recoveries["Peer"]):
    """The recoveries of one supervisor's children.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "Shell") -> None:
        super().__init__()
        self._shell = shell
        self._world = shell.world
        self.cases = shell.world.parts.case

    def answered(self, child_id: str, hold: str, *, approve: bool) -> None:
        """A person's answer; void when it is not held so any more."""
        hand = self._hands.get(child_id)
        if hand is not None and hand.case.hold_id == hold:
            self.answer(hold, "op", "" if approve else "no", approve=approve)

    def waits_for_person(self, child_id: str) -> bool:
        """A person has been asked, and has not answered."""
        return child_id in self.held()

    # ------------------------------------------------------------ what it knows

    def _now(self) -> float:
        return self._world.kernel.now

    def _children(self) -> Mapping[str, Child]:
        return self._shell.machine.children

    def _tell(self, event: Event) -> None:
        self._shell.step(event)

    def _path(self, child_id: str) -> TreePath:
        return TreePath(self._shell.child_path(child_id))

    def _policy(self, child_id: str) -> RecoverySpec | None:
        worker = self._shell.worker(child_id)
        return worker.recovery if worker is not None else None

    def _evidence(self, child_id: str, reason: ExitReason) -> Seen:
        return Seen(self._shell, child_id, reason)

    def _life(self, child_id: str) -> "Peer | None":
        return self._shell.peers.get(child_id)

    def _last_reason(self, child_id: str) -> ExitReason:
        return crash("unknown")

    # ------------------------------------------------------------ processes

    def _begin_life(self, order: StartChild, rung: str, *, named: bool = False) -> "Peer":
        return self._shell.hosting.begin(order, rung)

    def _promote(self, order: StartChild, *, named: bool) -> "Peer | str":
        standbys = self._shell.standbys
        standby = standbys.best(order.id)
        if standby is None:
            return "its standby is gone"
        if not (named or standbys.is_synced(standby) or not self._world.parts.ask_synced):
            return "its standby is in sync no longer"
        return self._shell.hosting.promote(order, standbys.take(standby))

    def _has_process(self, life: "Peer") -> bool:
        return life.proc is not None

    def _kill(self, life: "Peer") -> None:
        self._shell.kill(life, "order: given up by its recovery")

    def _never_began(self, life: "Peer", why: str) -> None:
        self._shell.hosting.failed(life, why)

    # ------------------------------------------------------------ time

    def _call_at(self, at: float, call: Callable[[], None]) -> int:
        self._world.kernel.at(at, self._shell.proc.deliver, call, ())
        return 0

    def _cancel(self, number: int) -> None:
        """The case's token is forgotten: the call does nothing."""

    def _soon(self, call: Callable[[], None]) -> None:
        self._world.kernel.after(0.0, self._shell.proc.deliver, call, ())

    # ------------------------------------------------------------ children and people

    def _check(self, child_id: str, effect: Validate, failure: str, checked: Callable[[bool, str], None]) -> None:
        world, path = self._world, self._path(child_id)
        ok = not world.trouble(path, checking=True)
        takes = 0.005 + 0.01 * world.draw(path)
        world.kernel.after(takes, self._shell.proc.deliver, checked, (ok, "" if ok else "told to"))

    def _resize(self, child_id: str, multiplier: float) -> None:
        """Nobody trades here."""

    def _preserve(self, child_id: str, why: str, kept: Callable[[], None]) -> bool:
        return False

    def _report(self, child_id: str, effects: list[Effect]) -> None:
        shell, world, path = self._shell, self._world, self._path(child_id)
        for effect in effects:
            match effect:
                case Attempt(rung):
                    world.kernel.note(f"attempt_{rung}", path)
                case Hold(hold_id):
                    world.kernel.note("held", path)
                    world.ask_person(shell.path, child_id, hold_id)
                case Release() | Drop() | Closed():
                    world.oracle.hold_over(path)
                case RungFailed():
                    world.rungs_failed += 1
                case _:
                    pass

    def _drop(self, child_id: str, hand: "Hand[Peer]", who: str, why: str) -> None:
        self._world.oracle.rejected(self._shell, child_id)
        super()._drop(child_id, hand, who, why)

    # ------------------------------------------------------------ what outlives it

    def _keep(self, case: RecoveryCase) -> None:
        record = case.record()
        if self._shell.proc.alive:  # it may have crashed on the way
            self._world.goal.cases[record.path] = record
            if case.hold_id:
                self._world.oracle.held(record.path, case.hold_id)

    def _kept(self, child_id: str) -> CaseRecord | None:
        return self._world.goal.cases.get(self._path(child_id))

    def _waits_on(self, child_id: str) -> bool:
        kept = self._kept(child_id)
        dynamic = self._shell.path in self._world.tree.pools
        if not self._world.parts.keep_holds:
            return False
        return not dynamic and kept is not None and kept.closed is None and kept.hold is not None

    def _unwanted(self, child_id: str) -> None:
        self._shell.standbys.drop(child_id)

    def _forget(self, child_id: str) -> None:
        self._world.goal.cases.pop(self._path(child_id), None)
        self._shell.peers.pop(child_id, None)
