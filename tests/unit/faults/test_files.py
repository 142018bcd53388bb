"""Faults done to files: what is changed, what recovery meets, and that all of it can be undone after any crash."""

import random
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import FaultError, JournalCorrupt
from supervisors.faults.files import apply, prepare, probe, undo
from supervisors.faults.order import FaultOrder
from supervisors.state.checkpoints import Checkpoint, CheckpointStore
from supervisors.state.disk import REAL_DISK, Disk
from supervisors.state.folders import checkpoint_folder, journal_folder
from supervisors.state.journal import JournalReader, JournalWriter
from supervisors.state.journal.segments import HEADER_SIZE
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk

from .arming import order_of

CHECKPOINT_KINDS = ("corrupt_checkpoint", "truncate_checkpoint", "stale_checkpoint")
KINDS = (*CHECKPOINT_KINDS, "corrupt_page")


def checkpoint(sequence: int) -> Checkpoint:
    return Checkpoint(sequence, 1, 1, 1, "a:A", 1, b"state %05d" % sequence * 100)


class Actor:
    """The state of a living actor: 60 events in several segments, checkpoints at 20 and 40, a writer at work."""

    def __init__(self, data_dir: Path, disk: Disk = REAL_DISK, segment_bytes: int = 20_000) -> None:
        self.data_dir = data_dir
        self.disk = disk
        self.journal = journal_folder(data_dir, "/a")
        self.store = CheckpointStore(checkpoint_folder(data_dir, "/a"), disk)
        self.writer = JournalWriter.open(
            self.journal, 1, clock=ManualClock(5.0), disk=disk, segment_bytes=segment_bytes
        )
        self.bodies: list[bytes] = []
        for number in range(60):
            self.append()
            if number in (19, 39):
                self.store.save(checkpoint(number + 1))

    def append(self) -> None:
        self.bodies.append(b"%04d" % len(self.bodies) * 200)
        self.writer.append([self.bodies[-1]])

    def read(self) -> list[bytes]:
        with JournalReader(self.journal, disk=self.disk) as reader:
            return [record.body for record in reader.read()]

    def newest(self) -> int:
        found, _ = self.store.newest_valid()
        return found.sequence if found is not None else 0

    def files(self) -> dict[str, str]:
        """All but the control file, by name: a digest of each."""
        return {
            f"{folder.name}/{file.name}": sha256(file.read_bytes()).hexdigest()
            for folder in (self.journal, self.store.folder)
            for file in sorted(folder.iterdir())
            if file.name != "control"
        }


@pytest.fixture
def actor(tmp_path: Path) -> Actor:
    return Actor(tmp_path)


def inject(actor: Actor, order: FaultOrder) -> dict[str, str]:
    notes = prepare(order, actor.data_dir, keep_of(actor, order), actor.disk)
    apply(order, notes, actor.disk)
    return notes


def keep_of(actor: Actor, order: FaultOrder) -> Path:
    return actor.data_dir / "faults" / "keep" / order.id


# ---------------------------------------------------------------- what is met, and what is left


@pytest.mark.parametrize("kind", CHECKPOINT_KINDS)
def test_the_checkpoint_before_is_restored_until_it_is_undone(actor: Actor, kind: str) -> None:
    before = actor.files()
    order = order_of(kind)
    notes = prepare(order, actor.data_dir, keep_of(actor, order))
    assert actor.files() == before, "preparing changes nothing"
    assert probe(order, notes)
    apply(order, notes)
    assert actor.newest() == 20
    assert not probe(order, notes)
    undo(order, notes)
    assert actor.newest() == 40
    assert probe(order, notes)
    assert actor.files() == before
    undo(order, notes)
    assert actor.files() == before


@pytest.mark.parametrize(("at", "broken"), [(0.0, 1), (0.5, 30), (1.0, 60)])
def test_a_damaged_page_is_found_by_who_reads_it_and_named(actor: Actor, at: float, broken: int) -> None:
    before = actor.files()
    order = order_of("corrupt_page", at=at)
    notes = inject(actor, order)
    assert not probe(order, notes)
    changed = [name for name, digest in actor.files().items() if digest != before[name]]
    assert changed == [f"journal/{Path(notes['file']).name}"]
    with pytest.raises(JournalCorrupt) as caught:
        actor.read()
    assert Path(notes["file"]).name in str(caught.value)
    report = JournalReader(actor.journal).verify()
    assert not report.ok
    assert any(abs(one.sequence - broken) <= 6 for one in report.findings)
    undo(order, notes)
    assert probe(order, notes)
    assert actor.files() == before
    assert actor.read() == actor.bodies


def test_the_page_that_is_being_written_keeps_what_was_added(tmp_path: Path) -> None:
    """The last page is changed up to the durable end, and the writer goes on behind it, in the same page."""
    actor = Actor(tmp_path, segment_bytes=10_000_000)
    order = order_of("corrupt_page", at=1.0)
    notes = inject(actor, order)
    actor.append()
    actor.append()
    undo(order, notes)
    assert probe(order, notes)
    assert actor.read() == actor.bodies
    assert JournalReader(actor.journal).verify().ok


def test_a_segment_header_is_never_touched(actor: Actor) -> None:
    order = order_of("corrupt_page", at=0.0)
    notes = inject(actor, order)
    assert int(notes["offset"]) == HEADER_SIZE


@pytest.mark.parametrize("kind", CHECKPOINT_KINDS)
def test_what_the_actor_wrote_since_stays(actor: Actor, kind: str) -> None:
    order = order_of(kind)
    notes = inject(actor, order)
    actor.store.save(checkpoint(60))
    actor.store.save(checkpoint(40))  # the same one again
    before = actor.files()
    undo(order, notes)
    assert actor.files() == before
    assert probe(order, notes)


def test_a_checkpoint_that_was_removed_for_newer_ones_stays_away(actor: Actor) -> None:
    for number, kind in enumerate(("corrupt_checkpoint", "truncate_checkpoint")):
        order = order_of(kind, f"f-{number}")
        notes = inject(actor, order)
        actor.store.save(checkpoint(60 + number))
        actor.store.prune(1)
        undo(order, notes)
        assert probe(order, notes)
        assert [info.sequence for info in actor.store.list()] == [60 + number]


def test_a_journal_that_was_put_away_is_left_alone(actor: Actor) -> None:
    order = order_of("corrupt_page")
    notes = inject(actor, order)
    actor.journal.rename(actor.journal.with_name("journal.aside"))
    undo(order, notes)
    assert probe(order, notes)
    assert not actor.journal.exists()


def test_nothing_to_damage_is_said_and_nothing_done(tmp_path: Path) -> None:
    for kind in KINDS:
        with pytest.raises(FaultError) as caught:
            prepare(order_of(kind), tmp_path, tmp_path / "keep")
        assert caught.value.code == 9040
    assert not (tmp_path / "keep").exists()


def test_a_file_that_changed_between_the_two_steps_is_refused(actor: Actor) -> None:
    order = order_of("corrupt_checkpoint")
    notes = prepare(order, actor.data_dir, keep_of(actor, order))
    actor.store.save(checkpoint(60))
    actor.store.prune(1)
    before = actor.files()
    with pytest.raises(FaultError) as caught:
        apply(order, notes)
    assert caught.value.code == 9041
    undo(order, notes)
    assert actor.files() == before
    assert probe(order, notes)


def test_the_same_order_does_the_same_damage(tmp_path: Path) -> None:
    made = []
    for number in range(2):
        actor = Actor(tmp_path / str(number))
        inject(actor, order_of("corrupt_page"))
        made.append(actor.files())
    assert made[0] == made[1]


# ---------------------------------------------------------------- crashes


class Crash(BaseException):
    """The injector ends here, or the machine."""


def crash_at(disk: FaultyDisk, call: int, do: Callable[[], object]) -> bool:
    """Do it, ended at that disk call; False: it came to its end."""
    left = call

    def stop(name: str, path: Path) -> None:
        nonlocal left
        if left == 0:
            raise Crash
        left -= 1

    disk.at = stop
    try:
        do()
    except Crash:
        return True
    finally:
        disk.at = lambda name, path: None
    return False


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_crash_at_any_step_it_is_undone(tmp_path: Path, kind: str, power: bool) -> None:
    """A crash at each call of applying, then at each call of undoing; then it is undone once more."""
    applied = 0
    chance = random.Random(7)
    while True:
        undone = 0
        while True:
            disk = FaultyDisk()
            actor = Actor(tmp_path / f"{applied}-{undone}", disk, 100_000)
            before = actor.files()
            order = order_of(kind)
            notes = prepare(order, actor.data_dir, keep_of(actor, order), disk)
            met = crash_at(disk, applied, partial(apply, order, notes, disk))
            if power:
                disk.power_failure(chance)
            more = crash_at(disk, undone, partial(undo, order, notes, disk))
            if power and more:
                disk.power_failure(chance)
            undo(order, notes, disk)
            assert probe(order, notes, disk)
            assert actor.files() == before, (applied, undone)
            if not more:
                break
            undone += 1
        if not met:
            break
        applied += 1
    assert applied >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_while_preparing_changes_nothing_and_it_is_prepared_again(tmp_path: Path, kind: str) -> None:
    number = 0
    while True:
        disk = FaultyDisk()
        actor = Actor(tmp_path / str(number), disk, 100_000)
        before = actor.files()
        order = order_of(kind)
        keep = keep_of(actor, order)
        met = crash_at(disk, number, partial(prepare, order, actor.data_dir, keep, disk))
        disk.power_failure()
        assert actor.files() == before
        notes = prepare(order, actor.data_dir, keep, disk)
        apply(order, notes, disk)
        undo(order, notes, disk)
        assert actor.files() == before
        if not met:
            break
        number += 1
    assert number >= 4


@pytest.mark.parametrize("kind", ["corrupt_page", "corrupt_checkpoint"])
def test_a_replay_does_the_same_damage_though_its_id_is_another(tmp_path: Path, kind: str) -> None:
    made: list[dict[str, str]] = []
    for number, name in enumerate(("f-1", "f-2")):
        actor = Actor(tmp_path / str(number))
        inject(actor, msgspec.structs.replace(order_of(kind), id=name, seed=7))
        made.append(actor.files())
    other = Actor(tmp_path / "other")
    untouched = other.files()
    inject(other, msgspec.structs.replace(order_of(kind), id="f-1", seed=8))
    assert made[0] == made[1] != untouched
    assert other.files() != made[0]


def test_the_same_damage_done_twice_does_not_undo_itself(actor: Actor) -> None:
    whole = actor.files()
    for name in ("f-1", "f-2"):
        inject(actor, msgspec.structs.replace(order_of("corrupt_page", at=0.0), id=name, seed=7))
        assert actor.files() != whole
