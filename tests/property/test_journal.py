"""Whatever happens to a journal: nothing acknowledged is lost, nothing is there twice, the sequence has no gap."""

import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors.core.errors import Fenced, JournalFailed
from supervisors.state.journal import JournalReader, JournalWriter, Prepared, prepare, retain
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk

SEGMENT = 1500
CALLS = ("write", "fdatasync", "fsync", "fsync_dir")


class Cut(BaseException):
    """The process, or the machine, ends here."""


class Journals(RuleBasedStateMachine):
    """The model is a list of bodies: those acknowledged, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._home = tempfile.TemporaryDirectory(prefix="rayvisor-journal-")
        self.folder = Path(self._home.name) / "journal"
        self.disk = FaultyDisk()
        self.clock = ManualClock(10.0, 10**18)
        self.acknowledged: list[bytes] = []
        self.removed = 0
        self.epoch = 0
        self.written = 0
        self.writer: JournalWriter | None = None
        self.stale: list[JournalWriter] = []
        #: what standbys have ready
        self.prepared: list[Prepared] = []
        #: a machine that stopped in the middle of a write may keep any beginning of one of these
        self.in_flight: list[list[bytes]] = []
        self.lost_power = False

    def teardown(self) -> None:
        for prepared in self.prepared:
            prepared.abandon()
        for writer in (*self.stale, *([self.writer] if self.writer else [])):
            writer.abandon()
        self._home.cleanup()

    @initialize(begun=st.booleans())
    def start(self, begun: bool) -> None:
        if begun:
            self.reopen()

    # ------------------------------------------------------------ what happens

    @precondition(lambda self: self.writer is not None)
    @rule(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        assert self.writer is not None
        bodies = self._bodies(sizes)
        first, last, _ = self.writer.append(bodies)
        assert (first, last) == (len(self.acknowledged) + 1, len(self.acknowledged) + len(bodies))
        self._count(bodies)

    @precondition(lambda self: self.writer is not None)
    @rule(
        sizes=st.lists(st.integers(0, 400), min_size=1, max_size=4),
        call=st.sampled_from((*CALLS, "truncate", "rename", "open", "preallocate")),
        after=st.integers(0, 3),
        part=st.sampled_from([0.0, 0.3, 1.0]),
        too=st.sets(st.sampled_from(["truncate", "open", "fsync"])),
    )
    def append_on_a_failing_disk(self, sizes: list[int], call: str, after: int, part: float, too: set[str]) -> None:
        assert self.writer is not None
        self.disk.fail(call, after=after, part=part)
        for other in sorted(too):
            self.disk.fail(other)
        bodies = self._bodies(sizes)
        try:
            self.writer.append(bodies)
        except JournalFailed:
            if self.writer._broken:
                self.in_flight.append(bodies)
            else:
                self.in_flight.clear()  # a new segment made sure of it
        else:
            self._count(bodies)
        finally:
            self.disk.heal()

    @precondition(lambda self: self.writer is not None)
    @rule(
        sizes=st.lists(st.integers(0, 400), min_size=1, max_size=6),
        call=st.sampled_from(CALLS),
        part=st.floats(0, 1),
        seed=st.none() | st.integers(0, 2**32),
    )
    def end_in_the_middle_of_an_append(self, sizes: list[int], call: str, part: float, seed: int | None) -> None:
        """The process is killed at any call (``seed`` None), or the machine loses its power."""
        assert self.writer is not None
        bodies = self._bodies(sizes)

        def cut(name: str, path: Path) -> None:
            if name == call:
                if name == "write" and path.suffix in (".seg", ".segment"):
                    self._write_a_part(path, bodies, part)
                raise Cut

        self.disk.before = cut
        try:
            self.writer.append(bodies)
        except Cut:
            self.in_flight.append(bodies)
        else:
            self._count(bodies)
        finally:
            self.disk.before = lambda name, path: None
        self._end(seed)

    def _write_a_part(self, path: Path, bodies: list[bytes], part: float) -> None:
        from supervisors.state.journal.format import encode

        writer = self.writer
        assert writer is not None
        data = encode(bodies, writer.durable + 1, writer.epoch, 0, 0, synced=True)
        with path.open("r+b") as file:
            file.seek(writer._offset)
            file.write(data[: round(len(data) * part)])

    @precondition(lambda self: self.writer is not None)
    @rule(seed=st.none() | st.integers(0, 2**32))
    def end(self, seed: int | None) -> None:
        self._end(seed)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def end_in_order(self) -> None:
        assert self.writer is not None
        self.writer.close()
        self.epoch -= 1  # the same epoch may come again
        self.reopen()

    @precondition(lambda self: self.writer is not None)
    @rule(quick=st.booleans())
    def be_replaced(self, quick: bool) -> None:
        """A newer life opens while this one still stands."""
        assert self.writer is not None
        self.stale.append(self.writer)
        self.reopen(quick=quick)

    @precondition(lambda self: self.stale)
    @rule(choice=st.randoms(use_true_random=False), blind=st.booleans())
    def write_as_one_replaced(self, choice: random.Random, blind: bool) -> None:
        """A writer that was replaced goes on; with ``blind`` it already stood behind its look at the fence."""
        stale = choice.choice(self.stale)
        looks = stale._check
        if blind:
            stale._check = lambda: setattr(stale, "_check", looks)  # type: ignore[method-assign]
            if self._is_only_promised() and stale.durable == len(self.acknowledged):
                self.in_flight.append([b"of a writer that was replaced"])
        try:
            stale.append([b"of a writer that was replaced"])
        except Fenced:
            return
        raise AssertionError("a writer that was replaced acknowledged an event")

    @precondition(lambda self: self.stale)
    @rule(choice=st.randoms(use_true_random=False))
    def close_one_replaced(self, choice: random.Random) -> None:
        stale = choice.choice(self.stale)
        stale.close()
        self.stale.remove(stale)

    @precondition(lambda self: self.writer is None)
    @rule(call=st.sampled_from(CALLS), after=st.integers(0, 4), seed=st.none() | st.integers(0, 2**32))
    def open_and_end_in_the_middle(self, call: str, after: int, seed: int | None) -> None:
        count = 0

        def cut(name: str, path: Path) -> None:
            nonlocal count
            if name == call:
                count += 1
                if count > after:
                    raise Cut

        self.disk.before = cut
        try:
            self.reopen()
        except Cut:
            pass
        finally:
            self.disk.before = lambda name, path: None
        self._end(seed)

    @precondition(lambda self: self.writer is None)
    @rule(quick=st.booleans())
    def open_again(self, quick: bool) -> None:
        self.reopen(quick=quick)

    # ------------------------------------------------------------ standbys that get ready

    @precondition(lambda self: len(self.prepared) < 3)
    @rule(call=st.none() | st.sampled_from((*CALLS, "open", "preallocate")), after=st.integers(0, 3))
    def get_ready(self, call: str | None, after: int) -> None:
        if call is not None:
            self.disk.fail(call, after=after, match="takeover" if call != "fsync_dir" else "")
        try:
            made = prepare(self.folder, disk=self.disk, segment_bytes=SEGMENT)
        except JournalFailed:
            assert call is not None
        else:
            self.prepared += [made] if made else []  # none: a damaged control file, or no journal yet
        finally:
            self.disk.heal()

    @precondition(lambda self: self.prepared)
    @rule(choice=st.randoms(use_true_random=False))
    def a_standby_is_killed(self, choice: random.Random) -> None:
        self._one_ready(choice).abandon()

    @rule(choice=st.randoms(use_true_random=False))
    def a_standby_is_promoted(self, choice: random.Random) -> None:
        if self.writer is not None:
            self.stale.append(self.writer)
        self.reopen(quick=True, prepared=self._one_or_another(choice))

    @rule(
        choice=st.randoms(use_true_random=False),
        after=st.integers(0, 40),
        settled=st.sampled_from([-100, 0, 5]),
        seed=st.none() | st.integers(0, 2**32),
        sizes=st.lists(st.integers(0, 400), min_size=1, max_size=3),
    )
    def a_standby_is_promoted_and_ends_at_any_call(
        self, choice: random.Random, after: int, settled: int, seed: int | None, sizes: list[int]
    ) -> None:
        left = after

        def cut(name: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Cut

        prepared = self._one_or_another(choice)
        if self.writer is not None:
            self.writer.abandon()
        self.disk.at = cut
        bodies: list[bytes] = []
        try:
            self.reopen(quick=True, prepared=prepared)
            assert self.writer is not None
            bodies = self._bodies(sizes)
            self.writer.append(bodies)
            self._count(bodies)
            left += settled
            self.writer.settle()
        except Cut:
            if bodies and self.acknowledged[-len(bodies) :] != bodies:
                self.in_flight.append(bodies)
        finally:
            self.disk.at = lambda name, path: None
        self._end(seed)

    @precondition(lambda self: self.writer is not None)
    @rule(call=st.none() | st.sampled_from((*CALLS, "rename", "unlink", "truncate")))
    def settle(self, call: str | None) -> None:
        assert self.writer is not None
        if call is not None:
            self.disk.fail(call)
        self.writer.settle()
        self.disk.heal()
        if not self._is_only_promised():
            self.in_flight.clear()

    @rule(behind=st.integers(0, 10))
    def remove_what_is_old(self, behind: int) -> None:
        keep_from = max(1, len(self.acknowledged) - behind)
        retain(self.folder, keep_from, 0.0, utc_ns=2 * 10**18, disk=self.disk)
        self._look_at_the_beginning(keep_from)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        with JournalReader(self.folder, disk=self.disk) as reader:
            records = list(reader.read(self.removed))
            bodies = [record.body for record in records]
            assert [record.sequence for record in records] == list(
                range(self.removed + 1, self.removed + 1 + len(records))
            )
            expected = self.acknowledged[self.removed :]
            assert bodies[: len(expected)] == expected
            extra = bodies[len(expected) :]
            assert not extra or self._part_of(extra)
            report = reader.verify()
            assert report.ok, report.findings
        assert self.disk.synced_again == 0

    # ------------------------------------------------------------ helpers

    def reopen(self, *, quick: bool = False, prepared: Prepared | None = None) -> None:
        self.epoch += 1
        self.clock = ManualClock(1.0, random.Random(self.epoch).randrange(10**18, 2 * 10**18))
        self.writer = None
        writer = JournalWriter.open(
            self.folder,
            self.epoch,
            clock=self.clock,
            disk=self.disk,
            segment_bytes=SEGMENT,
            quick=quick,
            prepared=prepared,
        )
        self.writer = writer
        with JournalReader(self.folder, disk=self.disk) as reader:
            extra = [record.body for record in reader.read(len(self.acknowledged))]
        assert writer.durable == len(self.acknowledged) + len(extra)
        assert not extra or self._part_of(extra)
        self.acknowledged += extra
        if self.lost_power or not self._is_only_promised():
            self.in_flight.clear()
        self.lost_power = False

    def _count(self, bodies: list[bytes]) -> None:
        self.acknowledged += bodies
        self.in_flight.clear()

    def _is_only_promised(self) -> bool:
        """Nothing of the newest life is durable: the power can bring back what others wrote and nobody acknowledged."""
        return self.writer is not None and (self.writer._nameless is not None or self.writer._broken)

    def _one_ready(self, choice: random.Random) -> Prepared:
        return self.prepared.pop(choice.randrange(len(self.prepared)))

    def _one_or_another(self, choice: random.Random) -> Prepared | None:
        return self._one_ready(choice) if self.prepared else prepare(self.folder, disk=self.disk, segment_bytes=SEGMENT)

    def _part_of(self, extra: list[bytes]) -> bool:
        return self.lost_power and any(bodies[: len(extra)] == extra for bodies in self.in_flight)

    def _end(self, seed: int | None) -> None:
        if self.writer is not None:
            self.writer.abandon()
        self.writer = None
        if seed is not None:
            for stale in self.stale:
                stale.abandon()
            self.stale.clear()
            for prepared in self.prepared:
                prepared.abandon()
            self.prepared.clear()
            self.disk.power_failure(random.Random(seed))
            self.lost_power = True

    def _bodies(self, sizes: list[int]) -> list[bytes]:
        bodies = []
        for size in sizes:
            self.written += 1
            bodies.append(b"%d:" % self.written + bytes(size))
        return bodies

    def _look_at_the_beginning(self, keep_from: int) -> None:
        with JournalReader(self.folder, disk=self.disk) as reader:
            begin = reader.begin
        assert self.removed + 1 <= begin <= max(keep_from, self.removed + 1)
        self.removed = begin - 1


TestJournals = Journals.TestCase
TestJournals.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
