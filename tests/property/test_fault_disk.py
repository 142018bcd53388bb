"""A journal on a disk with faults put in: nothing acknowledged is lost but by a sync that lied.

Segments, takeovers, retention, and faults that come and go in any order. The model is the list of bodies acknowledged,
and how many of them were acknowledged before syncs began to lie: those are there whatever happens.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from supervisors.core.errors import FaultError, JournalFailed
from supervisors.faults.disk import FaultDisk
from supervisors.state.disk import REAL_DISK
from supervisors.state.journal import JournalReader, JournalWriter, prepare, retain
from supervisors.testing.clock import ManualClock
from tests.unit.faults.arming import Rig, order_of

CALLS = ("open", "write", "preallocate", "truncate", "fdatasync", "fsync", "fsync_dir", "rename", "unlink", "all")


class Dead(BaseException):
    """The process was killed."""


def die() -> None:
    raise Dead


class FaultyJournals(RuleBasedStateMachine):
    """One journal, its lives one after the other, each with a disk of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._home = tempfile.TemporaryDirectory(prefix="rayvisor-faults-")
        self.folder = Path(self._home.name) / "a" / "journal"
        self.acknowledged: list[bytes] = []
        #: so many of them no fault may take; None: all
        self.honest: int | None = None
        self.epoch = 0
        self.written = 0
        self.removed = 0
        self.faults = 0
        self.rig = Rig(ManualClock(100.0))
        self.disk = FaultDisk(REAL_DISK, self.rig.slot, kill=die)
        self.writer: JournalWriter | None = None

    def teardown(self) -> None:
        if self.writer is not None:
            self.writer.abandon()
        self._home.cleanup()

    # ------------------------------------------------------------ lives

    @initialize()
    def begin(self) -> None:
        self.open(quick=False, prepared=False)

    def _new_life(self) -> None:
        if self.writer is not None:
            self.writer.abandon()
        self.writer, self.honest = None, None
        self.rig = Rig(ManualClock(100.0))
        self.disk = FaultDisk(REAL_DISK, self.rig.slot, kill=die)

    @rule(quick=st.booleans(), prepared=st.booleans(), lying=st.sampled_from(["", "", "before", "between"]))
    def open(self, quick: bool, prepared: bool, lying: str = "") -> None:
        """The process is killed and another one takes over; a process that is killed loses nothing."""
        self._new_life()
        self.epoch += 1
        made = None
        if lying == "before":
            self.lie(crash=True)
        if prepared and self.epoch > 1:
            made = prepare(self.folder, disk=self.disk, segment_bytes=900)
        if lying == "between":
            self.lie(crash=True)
        self.writer = JournalWriter.open(
            self.folder,
            self.epoch,
            clock=ManualClock(10.0, 10**18),
            disk=self.disk,
            segment_bytes=900,
            quick=quick,
            prepared=made,
        )
        assert self.writer.durable == len(self.acknowledged)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def close_in_order(self) -> None:
        assert self.writer is not None
        self.writer.close()
        self._new_life()

    # ------------------------------------------------------------ work

    @precondition(lambda self: self.writer is not None)
    @rule(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        assert self.writer is not None
        bodies = []
        for size in sizes:
            self.written += 1
            bodies.append(f"{self.written:06d}".encode().ljust(size, b"."))
        try:
            self.writer.append(bodies)
        except JournalFailed:
            assert self.rig.fired, "nobody but a fault is to blame"
            return
        self.acknowledged += bodies

    @precondition(lambda self: self.writer is not None)
    @rule()
    def settle(self) -> None:
        assert self.writer is not None
        self.writer.settle()

    @rule(share=st.floats(0, 1))
    def retain(self, share: float) -> None:
        # what is removed is covered by a checkpoint, which nobody loses here: so none while syncs lie
        if self.honest is not None:
            return
        with suppress(JournalFailed):
            retain(self.folder, int(len(self.acknowledged) * share), 0.0, utc_ns=2 * 10**18, disk=self.disk)

    # ------------------------------------------------------------ faults

    @rule(call=st.sampled_from(CALLS), probability=st.floats(0.1, 1.0), seed=st.integers(0, 1000))
    def fail(self, call: str, probability: float, seed: int) -> None:
        self._arm("fail_disk", probability, seed, call=call)

    @rule(room=st.integers(0, 2000), probability=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 1000))
    def fill(self, room: int, probability: float, seed: int) -> None:
        self._arm("full_disk", probability, seed, room=room)

    @rule()
    def slow(self) -> None:
        self._arm("slow_disk", 1.0, 0, delay="1ms")

    @rule(crash=st.booleans())
    def lie(self, crash: bool) -> None:
        if self._arm("lose_sync", 1.0, 0, crash=crash):
            self.honest = len(self.acknowledged)

    def _arm(self, kind: str, probability: float, seed: int, **params: str | int | bool) -> bool:
        self.faults += 1
        order = order_of(kind, f"f-{self.faults}", **params)  # type: ignore[arg-type]
        with suppress(FaultError):  # one of its slot is there
            self.rig.give(replace(order, probability=probability, seed=seed))
            return True
        return False

    @rule()
    def end(self) -> None:
        """The fault is over; if syncs lied, the process is dead."""
        board = self.rig.slot.board
        armed = [board.find(one) for one in board.ids()] if board is not None else []
        try:
            for one in armed:
                for callback in one.end() if one is not None else []:
                    callback()
        except Dead:
            assert self.honest is not None
            head = self._head()
            assert self.honest <= head <= len(self.acknowledged)
            del self.acknowledged[head:]
            self._new_life()
            return
        for one in armed:
            if one is not None:
                self.rig.end(one.order.id)
        self.rig.fired.clear()
        self.honest = None

    # ------------------------------------------------------------ what holds

    def _head(self) -> int:
        with JournalReader(self.folder) as reader:
            return reader.head

    @invariant()
    def all_acknowledged_is_there(self) -> None:
        if self.epoch == 0:
            return
        with JournalReader(self.folder) as reader:
            begin = reader.begin
            found = [record.body for record in reader.read(begin - 1)]
        assert found == self.acknowledged[begin - 1 :]
        assert JournalReader(self.folder).verify().ok


TestFaultyJournals = FaultyJournals.TestCase
TestFaultyJournals.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
