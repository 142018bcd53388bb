"""A supervisor's view of the host of one of its children, and the times of a failure."""

from dataclasses import dataclass, field

from supervisors.core.reasons import ExitReason
from supervisors.runtime.store import HostRow
from supervisors.signals.messages import Beat
from supervisors.signals.proc import SchedSample, read_evidence
from supervisors.signals.verdicts import Evidence, PeerVerdict
from supervisors.tree.messages import ChildExited, ChildIgnored, ChildStartFailed


@dataclass(slots=True)
class Peer:
    """One life of one child.

    Attributes:
        id, incarnation, epoch: which life.
        host: its host; None while one is being found.
        verdict: None until it is assigned.
        acknowledged: it took the assignment.
        end: how it said it ended, to be believed once its process is gone.
        kill_reason: why we killed it, if we did.
        gone: its process is gone and the machine was told.
        spare: it came from a spare.
        rung: how it restores its state: hot, warm, cold, or empty at a first start.
        named: a person named that rung.
        refused: it was to be on another disk, that of its newest journal.
        standby: it is no life of the child but stands by for the next one.
        retired: its supervisor ended it as a standby.
        leased_at: seconds of the boot clock when its lease was asked for, 0 without one; holder: under which name.
    """

    id: str
    incarnation: int
    epoch: int
    host: HostRow | None = None
    verdict: PeerVerdict | None = None
    acknowledged: bool = False
    end: ChildExited | ChildStartFailed | ChildIgnored | None = None
    end_at: float = 0.0
    kill_reason: ExitReason | None = None
    gone: bool = False
    spare: bool = False
    rung: str = ""
    named: bool = False
    refused: bool = False
    standby: bool = False
    retired: bool = False
    leased_at: float = 0.0
    holder: str = ""
    attempts: int = 0
    since: float = 0.0
    last_beat: Beat | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    #: what the agent of its node said last, and when (hosts on other nodes)
    told: Evidence = Evidence.UNKNOWN
    told_at: float = 0.0
    _sample: SchedSample | None = None

    def evidence(self) -> Evidence:
        """What this machine says of the process."""
        if self.host is None:
            return Evidence.UNKNOWN
        found, self._sample = read_evidence(self.host.pid, self.host.start_time, self._sample)
        return found


@dataclass(slots=True)
class FailureTimes:
    """Monotonic seconds of one failure's stages; 0 when not reached."""

    incarnation: int
    failed_at: float = 0.0
    signal_at: float = 0.0
    verdict_at: float = 0.0
    decided_at: float = 0.0
    starting_at: float = 0.0
    signal: str = ""

    def stages(self, ready_at: float) -> dict[str, float]:
        """Durations in milliseconds, for the trail's ``recovered`` event."""
        begin = self.failed_at or self.signal_at
        return {
            "detect_ms": round((self.verdict_at - begin) * 1e3, 3),
            "decide_ms": round((self.decided_at - self.verdict_at) * 1e3, 3) if self.decided_at else 0.0,
            "start_ms": round((ready_at - self.starting_at) * 1e3, 3) if self.starting_at else 0.0,
            "total_ms": round((ready_at - begin) * 1e3, 3),
        }
