"""Faults about children, at their supervisor: handed from life to life, carried out here, taken up after a crash."""

from pathlib import Path

import msgspec
import pytest

from supervisors.faults.board import FaultSlot
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import ArmedState, FaultOrder, Scalar, decode, encode
from supervisors.faults.request import FaultRecord, Hit, RecordState
from supervisors.runtime import faultdesk
from supervisors.runtime.faulting import FaultHand
from supervisors.runtime.faultstage import Me, Ways
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultFired, FaultsNow
from supervisors.signals.messages import Assign, Beat, Message, Promote
from supervisors.state.leases import BOOT_CLOCK
from supervisors.trail.events import EventKind

from .conftest import Make
from .shells import World, policy
from .stage import WIRE


def order(kind: str, id_: str = "f-1", child: str = "a", *, host: str = "", **params: Scalar) -> FaultOrder:
    found = CATALOGUE.find(kind)
    path = f"/desk/{child}"
    about = f"{path}@{host}" if host else path
    values = found.read(params)
    standing = found.where == "standing"
    return FaultOrder(id_, kind, path, values, 60.0, found.hooks, found.slot, standing=standing, about=about)


async def _never(call: object) -> object:
    raise AssertionError("nobody calls a supervisor")


class Office:
    """A world whose supervisor may be told of faults; ``sent``: what it sent to hosts."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.sent: list[tuple[str, Message]] = []
        real = world.sent

        def sent(host: str, message: Message) -> None:
            self.sent.append((host, message))
            real(host, message)

        patch.setattr(world, "sent", sent)
        self.attach()

    def attach(self) -> None:
        """As the host of a supervisor does before it starts."""
        world = self.world
        self.hand = FaultHand(
            plane=world.loop,  # type: ignore[arg-type]
            clock=world.clock,
            slot=FaultSlot(),
            me=lambda: Me("/desk", 1, "running", True),
            data_dir=str(world.folder),
            ways=Ways(_never, lambda sender, message: None, lambda to, frame: None, lambda hooks: None),
            defect=world.defects.append,
        )
        self.hand.carries_supervisor(world.shell)

    def ask(self, message: Arm | Disarm | AskFaults) -> FaultsNow:
        answers: list[FaultsNow] = []
        self.hand.asked(message, answers.append)
        (answer,) = answers
        return answer

    def give(self, *orders: FaultOrder) -> FaultsNow:
        return self.ask(Arm(1, encode(orders)))

    def states(self) -> list[ArmedState]:
        return msgspec.msgpack.decode(self.ask(AskFaults(1)).body, type=list[ArmedState])

    def told(self, kind: type, host: str = "") -> list[Message]:
        return [message for to, message in self.sent if isinstance(message, kind) and host in ("", to)]

    def handed(self) -> list[list[tuple[str, int, int]]]:
        """What each new life was told: id, seen, fired."""
        found = []
        for message in self.told(Assign):
            assert isinstance(message, Assign)
            states = msgspec.msgpack.decode(message.faults, type=list[ArmedState]) if message.faults else []
            found.append([(state.order.id, state.seen, state.fired) for state in states])
        return found

    def fired(self, fault_id: str, seen: int, fired: int, child: str = "a") -> None:
        """The present life says so."""
        host = self.world.acting(child)
        host.say(FaultFired(host.path, host.incarnation, fault_id, "fail_start", seen, fired, self.world.clock.now))
        self.world.run(2 * WIRE)


@pytest.fixture
def office(make: Make, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(make({"a": None, "b": None}), monkeypatch)


# ---------------------------------------------------------------- standing orders


def test_the_present_life_and_each_later_one_are_told(office: Office) -> None:
    world = office.world
    standing = order("fail_start", times=2)
    assert office.give(standing).code == 0
    host = world.acting("a")
    (armed,) = office.told(Arm, host.row.id)
    assert isinstance(armed, Arm)
    assert decode(armed.orders) == (standing,)
    world.acting("b").die()
    host.die()
    world.up("a", 1)
    world.up("b", 1)
    assert sorted(office.handed()) == [[], [("f-1", 0, 0)]], "and nobody else"
    world.check()


def test_what_lives_did_of_it_is_added_up(office: Office) -> None:
    world = office.world
    office.give(order("fail_start", times=3))
    office.fired("f-1", 1, 1)
    world.acting("a").die()
    world.up("a", 1)
    assert office.handed()[-1] == [("f-1", 1, 1)]
    office.fired("f-1", 2, 1)
    (state,) = office.states()
    assert (state.seen, state.fired) == (2, 1)
    assert len(world.lines("a", EventKind.FAULT_FIRED)) == 1, "an occasion that went by is no effect"
    office.fired("f-1", 3, 2)
    office.fired("f-1", 4, 3)
    lines = world.lines("a", EventKind.FAULT_FIRED)
    assert [(line.incarnation, line.data["id"], line.data["fired"]) for line in lines] == [(1, "f-1", 1), (2, "f-1", 2)]
    assert all(line.data["fault"] == "fail_start" for line in lines)


def test_time_goes_on_between_lives_and_ends_it(office: Office) -> None:
    world = office.world
    office.give(order("fail_start"))
    world.run(50.0)
    world.acting("a").die()
    world.up("a", 1)
    assign = office.told(Assign)[-1]
    assert isinstance(assign, Assign)
    (state,) = msgspec.msgpack.decode(assign.faults, type=list[ArmedState])
    assert 9.0 < state.left <= 10.0
    world.run(15.0)
    assert office.states() == []
    world.acting("a").die()
    world.up("a", 2)
    assert office.handed()[-1] == []


def test_the_end_of_it_is_told_to_the_present_life(office: Office) -> None:
    office.give(order("crash_loop"), order("slow_start", "f-2", "b"))
    assert office.ask(Disarm(2, "f-1")).code == 0
    (told,) = office.told(Disarm)
    assert told == Disarm(0, "f-1")
    office.ask(Disarm(3))
    assert office.told(Disarm)[1:] == [Disarm(0, "f-2")]
    assert office.states() == []


def test_a_standby_hears_of_it_before_it_is_promoted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(make({"a": policy(standbys=1)}), monkeypatch)
    world = office.world
    standby = world.standby("a").row.id
    office.give(order("slow_start"))
    assert office.told(Arm, standby) == [], "it is no life yet"
    world.acting("a").die()
    world.up("a", 1)
    kinds = [type(message) for to, message in office.sent if to == standby and isinstance(message, Arm | Promote)]
    assert kinds == [Arm, Promote]
    world.check()


def test_answers_of_lives_are_no_strangers(office: Office) -> None:
    world = office.world
    office.give(order("fail_start", times=3))
    host = world.acting("a")
    state = ArmedState(order("fail_start", times=3), 10.0, 5, 4)
    host.say(FaultsNow(0, msgspec.msgpack.encode([state])))
    host.say(FaultsNow(0, b"\x90", 9010, "taken", "wait"))
    world.run(1.0)
    assert world.shell.detection.malformed == 0
    (found,) = office.states()
    assert (found.seen, found.fired) == (5, 4)
    world.check()


# ---------------------------------------------------------------- carried out by the supervisor


def beat(world: World, child: str, number: int) -> None:
    host = world.acting(child)
    host.say(Beat(host.path, host.incarnation, number, world.clock.now, number, 0.0, 0, 1, 0))
    world.run(2 * WIRE)


def test_beats_of_one_life_are_lost_and_of_no_other(office: Office) -> None:
    world = office.world
    office.give(order("lose_beats"))
    for number in (1, 2):
        beat(world, "a", number)
        beat(world, "b", number)
    peers = world.shell.peers
    assert peers["a"].last_beat is None
    last = peers["b"].last_beat
    assert last is not None
    assert last.sequence == 2
    lines = world.lines("a", EventKind.FAULT_FIRED)
    assert [line.data["fault"] for line in lines] == ["lose_beats"], "once in each life"
    world.acting("a").die()
    world.up("a", 1)
    assert office.states() == [], "it was about that process"
    beat(world, "a", 1)
    assert world.shell.peers["a"].last_beat is not None


def test_beats_of_a_standby_are_lost_by_its_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(make({"a": policy(standbys=1)}), monkeypatch)
    world = office.world
    host = world.standby("a")
    office.give(order("lose_beats", host=host.row.id))
    host.say(Beat(host.path, 0, 1, world.clock.now, 1, 0.0, 0, 1, 0))
    beat(world, "a", 1)
    assert world.shell.peers["a"].last_beat is not None
    assert world.shell.by_host[host.row.id].last_beat is None


def test_a_healthy_child_is_suspected_killed_and_replaced(office: Office) -> None:
    world = office.world
    before = world.acting("a")
    assert office.give(order("suspect")).code == 0
    world.up("a", 1)
    assert not before.alive, "it is proved dead before another acts"
    (signal,) = world.lines("a", EventKind.FIRST_SIGNAL)
    assert signal.data["signal"] in CATALOGUE.find("suspect").detected
    assert [line.data["fault"] for line in world.lines("a", EventKind.FAULT_FIRED)] == ["suspect"]
    assert office.states() == [], "over once it is done"
    world.check()


def test_ray_is_told_to_kill(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    world = office.world
    killed: list[tuple[str, str]] = []
    monkeypatch.setattr(faultdesk, "ray_kill", lambda namespace, actor: killed.append((namespace, actor)))
    office.give(order("ray_kill"))
    world.run(0.1)
    assert killed == [("fake", world.acting("a").row.actor)]
    assert office.states() == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (order("lose_beats", child="nobody"), 9024),
        (order("fail_start", child="nobody"), 9024),
        (order("lose_beats", host="h99"), 9024),
        (msgspec.structs.replace(order("lose_beats"), about="/other/a"), 9024),
        (msgspec.structs.replace(order("exit"), about="/desk/a"), 9025),
    ],
)
def test_what_is_no_child_of_ours_is_refused(office: Office, given: FaultOrder, code: int) -> None:
    answer = office.give(order("fail_start", "f-9"), given)
    assert answer.code == code
    assert answer.fix
    assert office.states() == [], "nothing is half armed"
    assert office.told(Arm) == []


def test_a_child_without_a_process_cannot_lose_its_beats(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(make({"a": None}, spares=0), monkeypatch)
    world = office.world
    world.acting("a").die()
    world.until(lambda: world.shell.peers["a"].gone or world.shell.peers["a"].host is None)
    assert office.give(order("lose_beats")).code == 9024
    assert office.give(order("fail_start")).code == 0, "later lives will hear of it"


# ---------------------------------------------------------------- after a crash of the supervisor


def _write(folder: Path, given: FaultOrder, state: RecordState, left: float) -> None:
    (folder / "faults").mkdir(exist_ok=True)
    record = FaultRecord(given, "standing", Hit(), state, deadline=BOOT_CLOCK.monotonic() + left)
    (folder / "faults" / f"{given.id}.json").write_bytes(msgspec.json.encode(record))


def test_a_replaced_supervisor_takes_up_what_stands(office: Office) -> None:
    world = office.world
    _write(world.folder, order("fail_start", "f-1"), RecordState.ARMED, 30.0)
    _write(world.folder, order("slow_start", "f-2", "b"), RecordState.PLANNED, 30.0)
    _write(world.folder, order("crash_loop", "f-3", "b"), RecordState.REVERTED, 30.0)
    _write(world.folder, order("crash_loop", "f-4", "b"), RecordState.ARMED, -1.0)
    _write(world.folder, msgspec.structs.replace(order("crash_loop", "f-5"), path="/other/a"), RecordState.ARMED, 30.0)
    _write(world.folder, order("lose_beats", "f-6"), RecordState.ARMED, 30.0)
    (world.folder / "faults" / "torn.json").write_bytes(b"{")
    world.crash_supervisor()
    world.shell = world._shell()
    office.attach()
    world.shell.start(adopt=True)
    world.run(1.0)
    assert [(state.order.id, 25.0 < state.left <= 30.0) for state in office.states()] == [("f-1", True), ("f-2", True)]
    for child, fault in (("a", "f-1"), ("b", "f-2")):
        (armed,) = office.told(Arm, world.acting(child).row.id)
        assert isinstance(armed, Arm)
        assert [one.id for one in decode(armed.orders)] == [fault], "a life that it adopts is asked how far it is"
    world.acting("a").die()
    world.up("a", 1)
    assert office.handed()[-1] == [("f-1", 0, 0)]


def test_a_supervisor_whose_topology_allows_none_notes_what_it_hears(make: Make) -> None:
    world = make({"a": None})
    host = world.acting("a")
    host.say(FaultFired(host.path, 1, "f-1", "hang", 1, 1, world.clock.now))
    host.say(FaultFired(host.path, 1, "f-1", "hang", 9, 9, world.clock.now))
    host.say(FaultsNow(0, b"\x90"))
    world.run(1.0)
    assert len(world.lines("a", EventKind.FAULT_FIRED)) == 1
    assert world.shell.detection.malformed == 0
    world.check()
