"""Where a recovery decision gets its evidence in a running system; each question is asked only when a rule needs it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.reasons import ExitReason
from supervisors.recovery.classes import failure_class
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    CountEvidence,
    FailureEvidence,
    MarketEvidence,
    RtoEvidence,
    StandbyEvidence,
    VolatilityEvidence,
)
from supervisors.recovery.market import is_open
from supervisors.recovery.policy import MarketHours
from supervisors.runtime.peers import Peer
from supervisors.signals.messages import Checkpointed, EvidenceGiven, StateNoted
from supervisors.state.checkpoints import CheckpointStore
from supervisors.state.folders import checkpoint_folder
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.store import GoalStore
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds what an actor said of the outside world counts
_TOLD_FOR = 60.0
#: keys of the goal state, with a path behind: when a child failed last, monotonic seconds
FAILED = "failed:"
_EVIDENCE = "evidence:"


class ShellEvidence:
    """Evidence about one failure of one child.

    Args:
        shell: its supervisor.
        child_id: the child.
        reason: why it failed.
    """

    def __init__(self, shell: "SupervisorShell", child_id: str, reason: ExitReason) -> None:
        self._shell = shell
        self._id = child_id
        self._reason = reason

    def standby(self) -> StandbyEvidence:
        """The best standby."""
        standbys = self._shell.standbys
        best = standbys.best(self._id)
        if best is None or best.peer.host is None:
            return StandbyEvidence(synced=False, why="there is no standby")
        lag = standbys.lag_of(best)
        why = best.why or f"{best.state}, at event {best.applied}"
        return StandbyEvidence(best.state == "synced", lag, f"pid {best.peer.host.pid}", why)

    def checkpoint(self) -> CheckpointEvidence:
        """The newest checkpoint on this disk, its checksum looked at; unknown where the state is on another one."""
        if why := self._shell.homing.not_here(self._id):
            return CheckpointEvidence(why=why)
        folder = checkpoint_folder(Path(self._shell.boot.data_dir), self._shell.child_path(self._id))
        if not folder.is_dir():
            return CheckpointEvidence(valid=False, why="it has no checkpoint")
        info = CheckpointStore(folder).newest_info(verify=True)
        if info is None:
            return CheckpointEvidence(valid=False, why="it has no valid checkpoint")
        told = self._shell.recovering.told.checkpoints.get(self._id)
        if told is not None and told[0] == info.sequence:
            age = self._shell.loop.now() - told[1]  # the wall clock may have been set since
        else:
            age = max(0.0, (self._shell.clock.utc_ns() - info.utc_ns) / 1e9)
        return CheckpointEvidence(valid=True, age=age, sequence=info.sequence, why=info.file.name)

    def failure(self) -> FailureEvidence:
        """Why it failed."""
        return FailureEvidence(failure_class(self._reason), str(self._reason))

    def corruption(self) -> CorruptionEvidence:
        """Damage that was found, or that an actor told of."""
        why = self._shell.recovering.told.corrupt.get(self._id, "")
        return CorruptionEvidence(suspected=bool(why), why=why)

    def failed_recoveries(self, within: float) -> CountEvidence:
        """The case counts them itself."""
        return CountEvidence(why=f"counted by the case within {within:g} s")

    def volatility(self) -> VolatilityEvidence:
        """What a volatility detector said last (``ctx.evidence("volatility_ratio", x)``)."""
        value, why = told_evidence(self._shell.store, "volatility_ratio")
        return VolatilityEvidence(value, why)

    def failures_at_once(self, within: float) -> CountEvidence:
        """Children of the whole system."""
        return CountEvidence(failures_within(self._shell.store, within))

    def market_open(self, hours: MarketHours) -> MarketEvidence:
        """What an actor said of the market; else the hours of the policy."""
        value, why = told_evidence(self._shell.store, "market_open")
        if value is not None:
            return MarketEvidence(value != 0.0, why)
        return MarketEvidence(
            is_open(hours, self._shell.clock.utc_ns()), f"by the hours of the policy, {hours.timezone}"
        )

    def rto_left(self) -> RtoEvidence:
        """The case counts it itself."""
        return RtoEvidence()


class Told:
    """What the children of one supervisor told that bears on decisions about them.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        #: last checkpoint: sequence and monotonic seconds
        self.checkpoints: dict[str, tuple[int, float]] = {}
        #: children whose state is suspected to be damaged, and why
        self.corrupt: dict[str, str] = {}

    def checkpointed(self, peer: Peer, message: Checkpointed) -> None:
        """A checkpoint is on the disk."""
        self.checkpoints[peer.id] = message.sequence, self._shell.loop.now()
        self.corrupt.pop(peer.id, None)
        ms = round(message.elapsed * 1e3, 3)
        data: dict[str, str | int | float | bool | None] = {"sequence": message.sequence, "bytes": message.bytes}
        self._shell.write(EventKind.CHECKPOINT, peer.id, peer.incarnation, data=data | {"ms": ms})

    def noted(self, peer: Peer, message: StateNoted) -> None:
        """Something about its journal that bears on later decisions."""
        if message.data.get("what") in ("corrupt", "replay_mismatch"):
            self.corrupt[peer.id] = str(message.data.get("why", message.data.get("what")))
        if message.kind == EventKind.STANDBY and not peer.standby:
            host, why = str(message.data.get("host", "")), str(message.data.get("why", ""))
            if message.data.get("state") == "lagging":
                self._shell.standbys.lagging(host, why)
            elif message.data.get("state") == "synced":
                self._shell.standbys.waited_for(host)

    def evidence_given(self, peer: Peer, message: EvidenceGiven) -> None:
        """An actor tells of the outside world, or that it doubts its own state."""
        if message.name == "corruption_suspected":
            if message.value:
                self.corrupt[peer.id] = "the actor says so"
            else:
                self.corrupt.pop(peer.id, None)
            return
        tell_evidence(self._shell.store, message.name, message.value)

    def suspect(self, child_id: str, reason: ExitReason) -> None:
        """A life ended: maybe for what its journal holds."""
        if "JournalCorrupt" in reason.message or "E7003" in reason.message:
            self.corrupt[child_id] = reason.message

    def forget(self, child_id: str) -> None:
        """The child is gone for good."""
        self.checkpoints.pop(child_id, None)
        self.corrupt.pop(child_id, None)


def tell_evidence(store: "GoalStore", name: str, value: float) -> None:
    """Write down what an actor said of the outside world, for every supervisor of the system."""
    store.put(**{_EVIDENCE + name: f"{value!r} {time.monotonic()}"})


def told_evidence(store: "GoalStore", name: str) -> tuple[float | None, str]:
    """What was said last, and a word about it; None when nobody did, or not lately."""
    words = store.get(_EVIDENCE + name).split()
    if len(words) != 2:
        return None, "nobody tells"
    age = time.monotonic() - float(words[1])
    if not 0 <= age <= _TOLD_FOR:
        return None, f"last told {age:.0f} s ago"
    return float(words[0]), f"told {age:.1f} s ago"


def tell_failure(store: "GoalStore", path: str) -> None:
    """Write down that a child failed now."""
    store.put(**{FAILED + path: repr(time.monotonic())})


def forget_failure(store: "GoalStore", path: str) -> None:
    """The child at ``path`` is gone for good."""
    store.forget(FAILED + path)


def failures_within(store: "GoalStore", within: float) -> int:
    """Children of this system that failed within the last ``within`` seconds."""
    now = time.monotonic()
    return sum(1 for _, at in store.like(FAILED) if now - within <= float(at) <= now)
