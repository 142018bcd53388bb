"""A run's folder survives the death of its runner, and what it holds comes back as it was."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from supervisors.chaos.concluding import applied_by
from supervisors.chaos.document import Workload
from supervisors.chaos.gathering import gather, read_journals
from supervisors.chaos.history import Asked, Operation, Outcome, Result, RunKind, RunWord
from supervisors.chaos.invariants import Invariant, State, check
from supervisors.chaos.recording import (
    ASKED,
    EVENTS,
    HISTORY,
    OPERATIONS,
    Recorder,
    find_run,
    load,
    new_run_id,
    read_run,
    result_of,
    runs,
    save,
)
from supervisors.chaos.workload import Clients
from supervisors.core.errors import CallTimeout, FaultError, Fenced, JournalFailed, OutcomeUnknown
from supervisors.state.folders import journal_folder
from supervisors.state.journal import JournalReader, JournalWriter, Record, Removed
from supervisors.testing.clock import ManualClock
from supervisors.trail.events import EventKind
from supervisors.trail.segments import rotate
from supervisors.trail.status import ChildStatus, StandbyStatus, SupervisorStatus, SystemStatus
from supervisors.trail.writer import TrailWriter
from tests.unit.chaos import story
from tests.unit.chaos.fake_ground import FakeGround, FakeWorks

ASKED_ = Asked("run-1", RunKind.MONKEY, "a monkey", seed=7, options={"rate": "20/m"})


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(tmp_path, ASKED_, clock)
    recorder.note(RunWord.DECIDED, n=1, fault="kill", targets='["/a"]')
    name = recorder.invoke("/ledger", "100")
    clock.advance(0.5)
    recorder.complete(name, Result.OK, sequence=3, epoch=2, incarnation=1)
    lost = recorder.invoke("/ledger", f="balance")
    recorder.note(RunWord.ENDED, outcome="held", sync=True)
    recorder.close()
    found = read_run(recorder.folder)
    assert found.asked == recorder.asked
    assert (found.asked.seed, found.asked.data_dir) == (7, str(tmp_path))
    assert [event.kind for event in found.events] == ["decided", "ended"]
    assert found.events[0].data == {"n": 1, "fault": "kill", "targets": '["/a"]'}
    done, unknown = found.operations
    assert (done.result, done.sequence, done.epoch, done.value) == (Result.OK, 3, 2, "100")
    assert done.completed == pytest.approx(done.invoked + 0.5)
    assert (unknown.id, unknown.result, unknown.completed, unknown.f) == (lost, Result.INFO, None, "balance")
    assert found.gaps == ()
    assert recorder.error == ""


def test_lines_survive_a_kill_of_the_runner(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from supervisors.chaos.history import Asked
        from supervisors.chaos.recording import Recorder
        from supervisors.testing.clock import ManualClock
        recorder = Recorder(Path({str(tmp_path)!r}), Asked("run-1"), ManualClock())
        for n in range(1000):
            recorder.note("decided", n=n)
        recorder.invoke("/ledger")
        print("ready", flush=True)
        time.sleep(60)
    """)
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert runner.stdout is not None
    assert runner.stdout.readline() == b"ready\n"
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    found = read_run(tmp_path / "chaos" / "run-1")
    assert [event.data["n"] for event in found.events] == list(range(1000))
    assert found.operations[0].result is Result.INFO


@settings(deadline=None)  # it syncs
@given(cut=st.integers(min_value=1, max_value=400))
def test_any_torn_end_leaves_a_readable_run(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    recorder = Recorder(folder, ASKED_, ManualClock())
    for number in range(10):
        recorder.note("decided", n=number, why='quotes " and \n newlines')
    recorder.close()
    file = recorder.folder / EVENTS
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    found = read_run(recorder.folder)
    kept = whole[:-cut].count(b"\n")
    assert len(found.events) in (kept, kept + 1), "the last may be whole but for its newline"
    assert [event.data["n"] for event in found.events] == list(range(len(found.events)))
    torn = not whole[:-cut].endswith(b"\n") and len(found.events) == kept
    assert bool(found.gaps) == torn or not whole[:-cut]


def test_a_last_line_that_lacks_only_its_newline_is_whole(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ASKED_, ManualClock())
    recorder.note("one")
    recorder.close()
    file = recorder.folder / EVENTS
    file.write_bytes(file.read_bytes()[:-1])
    found = read_run(recorder.folder)
    assert ([event.kind for event in found.events], found.gaps) == (["one"], ())


def test_a_damaged_line_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ASKED_, ManualClock())
    recorder.note("one")
    recorder.close()
    with (recorder.folder / EVENTS).open("ab") as file:
        file.write(b"nonsense\n" + (recorder.folder / EVENTS).read_bytes())
    found = read_run(recorder.folder)
    assert [event.kind for event in found.events] == ["one", "one"]
    assert found.gaps == (f"{EVENTS}: 1 lines are damaged",)


def test_texts_that_json_cannot_carry_are_no_error(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ASKED_, ManualClock())
    recorder.note("odd", text="\ud800", n=1)
    recorder.complete(recorder.invoke("/a", "\udfff"), Result.INFO, error="\ud800")
    recorder.close()
    found = read_run(recorder.folder)
    assert [event.kind for event in found.events] == ["odd"]
    assert [one.result for one in found.operations] == [Result.INFO]


def test_a_disk_that_refuses_is_told_and_not_raised(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ASKED_, ManualClock())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recorder._events._fd)
    os.close(full)
    recorder.note("lost")
    assert "space" in recorder.error
    recorder.close()


class TestFinding:
    def make(self, data_dir: Path, *names: str) -> None:
        for name in names:
            Recorder(data_dir, Asked(name), ManualClock()).close()

    def test_runs_by_name_beginning_folder_and_last(self, tmp_path: Path) -> None:
        self.make(tmp_path, "20261121-080000-monkey-aaaa", "20261121-090000-drill-bbbb")
        first, last = runs(tmp_path)
        assert find_run(tmp_path, "last") == last
        assert find_run(tmp_path, first.name) == first
        assert find_run(tmp_path, "20261121-08") == first
        assert find_run(Path("/nowhere"), str(first)) == first

    @pytest.mark.parametrize("name", ["2026", "x", "last"])
    def test_none_or_several_is_a_clear_error(self, tmp_path: Path, name: str) -> None:
        if name != "last":
            self.make(tmp_path, "20261121-080000-monkey-aaaa", "20261121-090000-drill-bbbb")
        with pytest.raises(FaultError) as caught:
            find_run(tmp_path, name)
        assert (caught.value.code, bool(caught.value.fix)) == (9080, True)

    def test_names_sort_by_time(self) -> None:
        clock = ManualClock()
        first = new_run_id(RunKind.MONKEY, clock)
        clock.advance(61.0)
        assert first < new_run_id(RunKind.DRILL, clock)

    @pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
    def test_a_name_that_leaves_the_folder_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(FaultError) as caught:
            Recorder(tmp_path, Asked(name), ManualClock())
        assert caught.value.code == 9082
        assert not (tmp_path / "chaos").exists()

    def test_a_name_is_taken_once(self, tmp_path: Path) -> None:
        self.make(tmp_path, "run-1")
        with pytest.raises(FaultError) as caught:
            self.make(tmp_path, "run-1")
        assert caught.value.code == 9082


class TestHistoryFile:
    def test_comes_back_whole(self, tmp_path: Path) -> None:
        history = story.history()
        save(tmp_path, history)
        assert load(tmp_path) == history
        assert [one.name for one in tmp_path.iterdir()] == [HISTORY]

    @pytest.mark.parametrize(
        ("body", "code"), [(None, 9081), (b"{", 9081), (b'{"asked":{"id":"x"},"schema":99}', 9083)]
    )
    def test_errors_are_clear(self, tmp_path: Path, body: bytes | None, code: int) -> None:
        if body is not None:
            (tmp_path / HISTORY).write_bytes(body)
        with pytest.raises(FaultError) as caught:
            load(tmp_path)
        assert caught.value.code == code

    def test_a_run_of_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / ASKED).write_bytes(msgspec.json.encode(Asked("x", schema=99)))
        with pytest.raises(FaultError) as caught:
            read_run(tmp_path)
        assert caught.value.code == 9083

    def test_a_run_without_its_lines_is_readable(self, tmp_path: Path) -> None:
        (tmp_path / ASKED).write_bytes(msgspec.json.encode(Asked("x")))
        found = read_run(tmp_path)
        assert (found.events, found.operations, len(found.gaps)) == ((), (), 2)
        assert {OPERATIONS in gap or EVENTS in gap for gap in found.gaps} == {True}


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, Result.OK),
        (JournalFailed("x"), Result.FAIL),
        (Fenced("x"), Result.INFO),
        (CallTimeout("x"), Result.INFO),
        (OutcomeUnknown("x"), Result.INFO),
        (RuntimeError("x"), Result.INFO),
    ],
)
def test_only_what_was_certainly_not_done_is_a_failure(error: BaseException | None, result: Result) -> None:
    assert result_of(error) is result


class Scene:
    """A data directory with a trail and a journal."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.clock = data_dir, ManualClock()
        self.trail = TrailWriter(data_dir / "trail", "/", self.clock)

    def tell(self, *events: str, path: str = "/ledger", **data: str | int | bool) -> None:
        for kind in events:
            self.clock.advance(1.0)
            self.trail.write(kind, path, 1, 2, data=data)

    def journal(self, *ids: str, epoch: int = 2, field: str = "id") -> None:
        folder = journal_folder(self.data_dir, "/ledger")
        folder.mkdir(parents=True, exist_ok=True)
        writer = JournalWriter.open(folder, epoch, clock=self.clock)
        writer.append([msgspec.msgpack.encode({field: name, "amount": 1}) for name in ids])
        writer.close()

    def run(self, *args: JsonValue, id_field: str = "id", calls: int = 2) -> Path:
        """Clients ran, and their runner was killed; the folder of the run."""
        works = FakeWorks(self.clock)
        load = Workload(path="/ledger", method="post", args=list(args), rate=10, clients=1, id_field=id_field)
        recorder = Recorder(self.data_dir, ASKED_, self.clock)
        clients = Clients(load, 7, FakeGround(self.data_dir, works), works, recorder)
        works.at(self.clock.now + calls / 10, clients.stop)
        clients.start()
        recorder.close()
        return recorder.folder


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class TestGathering:
    def test_the_window_of_a_run(self, scene: Scene) -> None:
        scene.tell(EventKind.SYSTEM_STARTING, EventKind.CHILD_READY, adopt=False)
        recorder = Recorder(scene.data_dir, ASKED_, scene.clock)
        scene.tell(EventKind.FAULT_INJECTED, id="f-1", fault="kill", targets='["/ledger"]')
        recorder.note(RunWord.ENDED, outcome="deviated", why="slow")
        recorder.close()
        end = scene.clock.monotonic()
        scene.tell(EventKind.CHILD_EXITED)
        found = gather(scene.data_dir, read_run(recorder.folder), until=end)
        assert [event.kind for event in found.trail] == ["fault_injected"]
        assert [(fault.id, fault.incarnation) for fault in found.faults] == [("f-1", 1)]
        assert (found.outcome, found.why) == (Outcome.DEVIATED, "slow")
        assert [tenure.epoch for tenure in found.tenures] == [2], "lives that began before the run count"
        assert [(event.path, event.incarnation) for event in found.acting] == [("/ledger", 1)]
        assert found.final is not None
        assert [one.state for one in found.final] == ["ready"]

    def test_without_a_run_the_last_start_is_looked_at(self, scene: Scene) -> None:
        scene.tell(EventKind.SYSTEM_STARTING, EventKind.CHILD_READY, adopt=False)
        scene.tell(EventKind.SYSTEM_STARTING, adopt=False)
        scene.tell(EventKind.SYSTEM_STARTING, adopt=True)
        found = gather(scene.data_dir)
        assert [event.kind for event in found.trail] == ["system_starting"] * 2
        assert found.asked.kind is RunKind.TRAIL

    def test_segments_that_are_gone_are_told(self, scene: Scene) -> None:
        recorder = Recorder(scene.data_dir, ASKED_, scene.clock)
        recorder.close()
        for _ in range(3):
            scene.tell(EventKind.CHILD_READY)
            rotate(scene.data_dir / "trail", 1)
        assert "are gone" in gather(scene.data_dir, read_run(recorder.folder)).gaps[0]

    def test_an_empty_directory_violates_nothing(self, tmp_path: Path) -> None:
        found = gather(tmp_path)
        assert all(one.state is not State.VIOLATED for one in check(found))

    def test_ids_and_epochs_of_a_journal(self, scene: Scene) -> None:
        scene.journal("op-1", "own-1", "op-2", epoch=2)
        scene.journal("op-2", epoch=5)
        operations = [Operation(name, "/ledger", 1.0, 2.0, Result.OK) for name in ("op-1", "op-2", "op-3")]
        (found,) = read_journals(scene.data_dir, operations)
        assert (found.path, found.first, found.last, found.damage) == ("/ledger", 1, 4, ())
        assert [(run.first, run.last, run.epoch) for run in found.epochs] == [(1, 3, 2), (4, 4, 5)]
        assert found.ids == {"op-1": 1, "op-2": 2}
        one = msgspec.structs.replace(gather(scene.data_dir), operations=tuple(operations), journals=(found,))
        states = {verdict.id: verdict.state for verdict in check(one)}
        assert states[Invariant.ACKNOWLEDGED_KEPT] is State.VIOLATED, "op-3"
        assert states[Invariant.APPLIED_ONCE] is State.VIOLATED, "op-2"

    @pytest.mark.parametrize(
        ("args", "text", "field"),
        [
            (["{n}", "ada", 1], "{n}", "ref"),
            (["order-{n}", "ada"], "order-{n}", "id"),
            ([{"order": ["order-{n}/1"]}], "order-{n}/1", "id"),
            (["order-{n}"], "{n}", "id"),
            (["{n}1", "{n}"], "{n}", "id"),
        ],
    )
    def test_events_are_found_by_what_the_run_says_of_its_workload(
        self, scene: Scene, args: list[JsonValue], text: str, field: str
    ) -> None:
        recorded = read_run(scene.run(*args, id_field=field))
        names = [one.id for one in recorded.operations if one.result is Result.OK]
        assert len(names) >= 2
        scene.journal(*(text.replace("{n}", name) for name in names), field=field)
        # nobody tells how they are found: a probe, `chaos check`, a run whose runner was killed
        found = gather(scene.data_dir, recorded)
        assert found.journals is not None
        assert found.journals[0].ids == dict.fromkeys(names, 1)
        assert all(one.state is not State.VIOLATED for one in check(found))
        lost = msgspec.structs.replace(found.journals[0], ids={names[0]: 1})
        broken = check(msgspec.structs.replace(found, journals=(lost,)))
        assert broken[0].state is State.VIOLATED

    def test_without_a_unique_value_nothing_is_said_of_what_was_lost(self, scene: Scene) -> None:
        recorded = read_run(scene.run("ada", 1))
        scene.journal("own-1")
        found = check(gather(scene.data_dir, recorded))[0]
        assert (found.state, found.missing) == (State.NOT_CHECKABLE, ("/ledger: no ids in its events",))

    def test_events_without_the_field_are_not_taken_for_lost_ones(self, scene: Scene) -> None:
        recorded = read_run(scene.run("{n}"))
        scene.journal("own-1", field="ref")
        assert check(gather(scene.data_dir, recorded))[0].state is State.NOT_CHECKABLE

    def test_an_empty_journal_has_lost_what_was_acknowledged(self, scene: Scene) -> None:
        recorded = read_run(scene.run("{n}"))
        scene.journal()
        assert check(gather(scene.data_dir, recorded))[0].state is State.VIOLATED

    def test_a_journal_that_is_pruned_while_it_is_read_is_read_again(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.journal("op-1", "op-2")
        real, left = JournalReader.read, [2]

        def read(reader: JournalReader, after: int = 0) -> Iterator[Record]:
            if left[0]:
                left[0] -= 1
                raise Removed("events 1 to 1 were removed")
            yield from real(reader, after)

        monkeypatch.setattr(JournalReader, "read", read)
        (found,) = read_journals(scene.data_dir)
        assert (found.last, found.damage) == (2, ())

    def test_what_standbys_applied_is_held_against_the_journal(self, scene: Scene) -> None:
        scene.journal("op-1", "op-2")
        for applied, state in ((2, State.HELD), (3, State.VIOLATED)):
            standby = StandbyStatus(2, "n", "synced", 0.0, applied)
            child = ChildStatus("/ledger", "ledger", state="ready", standbys=[standby])
            said = applied_by(SystemStatus("t", supervisors=[SupervisorStatus("/", 9, children=[child])]))
            alone = gather(scene.data_dir, applied_to=said)
            assert check(alone)[1].state is (State.NOT_CHECKABLE if state is State.HELD else state)
            journal = msgspec.structs.replace((alone.journals or ())[0], ids={"op-1": 1})
            verdict = check(msgspec.structs.replace(alone, journals=(journal,)))[1]
            assert (verdict.state, verdict.looked_at) == (state, 2)

    def test_a_standby_that_lags_or_is_live_says_nothing(self) -> None:
        standbys = [StandbyStatus(2, "n", "lagging", 9.0, 7), StandbyStatus(3, "n", "synced", 0.0, 0)]
        child = ChildStatus("/ledger", "ledger", state="ready", standbys=standbys)
        assert applied_by(SystemStatus("t", supervisors=[SupervisorStatus("/", 9, children=[child])])) == {}

    def test_damage_is_evidence_and_no_error(self, scene: Scene) -> None:
        scene.journal("op-1", "op-2")
        segment = next(journal_folder(scene.data_dir, "/ledger").glob("*.seg"))
        data = bytearray(segment.read_bytes())
        at = data.index(b"op-1")
        data[at] ^= 1
        segment.write_bytes(data)
        (found,) = read_journals(scene.data_dir)
        assert "corrupt" in found.damage[0]
