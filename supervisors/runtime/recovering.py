"""Recovery in a supervisor's shell: what ``supervisors.recovery.recoveries`` decides, done to real processes.

All of it runs in the plane's thread but what ``shell.executor`` is given.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisors.core.errors import RecoveryError
from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.messages import Effect, Validate
from supervisors.recovery.policy import RecoverySpec
from supervisors.recovery.ports import Hand
from supervisors.recovery.recoveries import Recoveries
from supervisors.runtime import casebook, reporting, validating
from supervisors.runtime.evidence import ShellEvidence, Told, forget_failure, tell_failure
from supervisors.runtime.peers import Peer
from supervisors.runtime.remains import Remains
from supervisors.signals.messages import Resize as ResizeOrder
from supervisors.trail.status import RecoveryStatus
from supervisors.tree.child import Child
from supervisors.tree.messages import Event, Note, NoteKind, StartChild

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell


class Recovering(Recoveries[Peer]):
    """The recoveries of one supervisor's children.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        super().__init__()
        self._shell = shell
        self._prepared = False
        self.remains = Remains(shell)
        self.told = Told(shell)

    # ------------------------------------------------------------ questions

    def multiplier(self, child_id: str) -> float:
        """How much of its size this child is to trade (REC-6)."""
        hand = self._hands.get(child_id)
        if hand is None:
            return 1.0
        return hand.next.multiplier if hand.next is not None else hand.case.multiplier

    def status(self, child_id: str) -> RecoveryStatus | None:
        """Where its recovery stands, with the id a person answers; None when there was none."""
        hand = self._hands.get(child_id)
        if hand is None or hand.progress is None:
            return None
        progress = hand.progress if hand.case.closed else hand.case.progress(self._now())
        return reporting.status(progress, hand.case.hold_id)

    # ------------------------------------------------------------ what is done besides

    def start(self, order: StartChild) -> bool:
        """See ``Recoveries``; the first time it gets ready what the first recovery would have to import and open."""
        if not self._prepared and self._policy(order.id) is not None:
            self._prepared = True
            self._shell.leases.prepare()
        return super().start(order)

    def noticed(self, note: Note) -> None:
        """See ``Recoveries``."""
        if note.kind is NoteKind.CHILD_STARTING and not dict(note.data).get("restart"):
            self._shell.failures.pop(note.id, None)  # not what follows from a failure
        super().noticed(note)

    def _failure(self, child_id: str, hand: Hand[Peer], incarnation: int, reason: ExitReason, at: float) -> None:
        failed = self._shell.peers.get(child_id)
        super()._failure(child_id, hand, incarnation, reason, at)
        if self.remains.has_stack(child_id):  # promoted at once: nothing else is kept of a first failure
            self.remains.keep(child_id, str(reason), peer=failed)
        tell_failure(self._shell.store, self._path(child_id))

    def _failed_at(self, note: Note) -> float:
        times = self._shell.failures.get(note.id)
        at = times.failed_at if times is not None and times.incarnation == note.incarnation else 0.0
        return at or self._now()

    def _suspect(self, child_id: str, reason: ExitReason) -> None:
        self.told.suspect(child_id, reason)

    def _recovered(self, child_id: str) -> None:
        self.told.corrupt.pop(child_id, None)

    # ------------------------------------------------------------ what it knows

    def _now(self) -> float:
        return self._shell.loop.now()

    def _children(self) -> Mapping[str, Child]:
        return self._shell.machine.children

    def _tell(self, event: Event) -> None:
        self._shell.step(event)

    def _path(self, child_id: str) -> TreePath:
        return self._shell.child_path(child_id)

    def _policy(self, child_id: str) -> RecoverySpec | None:
        return self._shell.hosting.recovery_of(child_id)

    def _evidence(self, child_id: str, reason: ExitReason) -> ShellEvidence:
        return ShellEvidence(self._shell, child_id, reason)

    def _life(self, child_id: str) -> Peer | None:
        return self._shell.peers.get(child_id)

    def _last_reason(self, child_id: str) -> ExitReason:
        return crash(self._shell.last_reasons.get(child_id, ""))

    # ------------------------------------------------------------ processes

    def _begin_life(self, order: StartChild, rung: str, *, named: bool = False) -> Peer:
        return self._shell.hosting.begin(order, rung, named=named)

    def _promote(self, order: StartChild, *, named: bool) -> Peer | str:
        shell = self._shell
        standby = shell.standbys.best(order.id)
        if standby is None:
            return "its standby is gone"
        if not named and standby.state != "synced":
            return f"its standby is {standby.state}: {standby.why}"
        return shell.hosting.promote(order, shell.standbys.take(standby))

    def _was_refused(self, life: Peer) -> bool:
        return life.refused

    def _has_process(self, life: Peer) -> bool:
        return life.host is not None

    def _kill(self, life: Peer) -> None:
        self._shell.kill(life)

    def _never_began(self, life: Peer, why: str) -> None:
        self._shell.hosting.failed(life, RecoveryError(why))

    # ------------------------------------------------------------ time

    def _call_at(self, at: float, call: Callable[[], None]) -> int:
        return self._shell.loop.call_at(at, call)

    def _cancel(self, number: int) -> None:
        self._shell.loop.cancel(number)

    def _soon(self, call: Callable[[], None]) -> None:
        self._shell.loop.call_soon(call)

    # ------------------------------------------------------------ children and people

    def _check(self, child_id: str, effect: Validate, failure: str, checked: Callable[[bool, str], None]) -> None:
        def found(answer: validating.Checked) -> None:
            checked(answer.ok, answer.why)

        validating.submit(self._shell, effect.step, self._path(child_id), failure, found)

    def _resize(self, child_id: str, multiplier: float) -> None:
        shell = self._shell
        peer = shell.peers.get(child_id)
        if peer is not None and not peer.gone and peer.host is not None:
            shell.send(peer, ResizeOrder(shell.child_path(child_id), peer.incarnation, multiplier))

    def _preserve(self, child_id: str, why: str, kept: Callable[[], None]) -> bool:
        return self.remains.keep(child_id, why, kept)

    def _report(self, child_id: str, effects: list[Effect]) -> None:
        child = self._children().get(child_id)
        reporting.write(self._shell, child_id, child.incarnation if child is not None else 0, effects)

    # ------------------------------------------------------------ what outlives it

    def _keep(self, case: RecoveryCase) -> None:
        casebook.keep_case(self._shell.store, case)

    def _kept(self, child_id: str) -> CaseRecord | None:
        return casebook.kept_case(self._shell.store, self._path(child_id), self._shell.log)

    def _waits_on(self, child_id: str) -> bool:
        if self._shell.hosting.is_dynamic:  # nobody starts again the child that waited; its id may be another's by now
            return False
        return casebook.waits_on(self._shell.store, self._path(child_id))

    def _unwanted(self, child_id: str) -> None:
        self._shell.standbys.drop(child_id)

    def _forget(self, child_id: str) -> None:
        store, path = self._shell.store, self._path(child_id)
        self._shell.standbys.forget(child_id)
        self.remains.forget(child_id)
        self.told.forget(child_id)
        casebook.forget_case(store, path)
        forget_failure(store, path)

    def stop(self) -> None:
        """See ``Recoveries``."""
        super().stop()
        self.remains.stop()
