"""Replication and promotion under loss, repetition, reordering and deaths: no acknowledged event is lost (STA-3).

The pure machines run joined by a model: disks that are lists, a network that is a bag of messages, processes that end
at any moment, machines that lose what was not synced. Every record is one of its kind, so that two histories show.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors.recovery.policy import AckMode
from supervisors.state.replicating import primary as p
from supervisors.state.replicating import promotion as m
from supervisors.state.replicating import standby as s

SIZE = 10
BEAT, TIMEOUT = 0.1, 1.0
LIMITS = p.Limits(window=60, frames=4, recent=40, part=20)


class Rec(NamedTuple):
    """One event of one life."""

    sequence: int
    epoch: int


History = list[Rec]


@dataclass
class Place:
    """A machine's disk. ``begin``: what is before it is only in checkpoints."""

    records: History = field(default_factory=list)
    begin: int = 1
    synced: int = 0
    fence: int = 0
    checkpoints: list[History] = field(default_factory=list)

    def restore(self) -> History:
        """Newest checkpoint and tail. A checkpoint may stand behind the end of a journal that was not synced."""
        return max([self.records, *self.checkpoints], key=len).copy()

    def lose_power(self) -> None:
        """What was not synced is gone, but for what is in checkpoints."""
        del self.records[max(self.synced, self.begin - 1) :]

    def epoch_of(self, sequence: int) -> int:
        return self.records[sequence - 1].epoch if self.begin <= sequence <= len(self.records) else 0


class Piece(NamedTuple):
    """Of a checkpoint on its way."""

    whole: History
    offset: int


class Life:
    """A process that acts, or did."""

    def __init__(self, epoch: int, place: Place, history: History, ack: AckMode, base_epoch: int = 0) -> None:
        self.epoch = epoch
        self.place = place
        self.history = history
        #: what it was begun with, which is applied already
        self.base = len(history)
        self.alive = True
        self.side: p.PrimarySide[tuple[Rec, ...]] = p.PrimarySide(
            epoch,
            ack,
            TIMEOUT,
            base=len(history),
            base_epoch=base_epoch,
            limits=LIMITS,
        )
        #: questions to its disk, and what was packed
        self.reads: list[p.ReadBacklog | p.PackSnapshot] = []
        self.packed: dict[int, History] = {}


class Shadow:
    """A process that stands by."""

    def __init__(self, host: str, place: Place) -> None:
        self.host = host
        self.place = place
        self.alive = True
        self.side: s.StandbySide[Rec, Piece, History] = s.StandbySide(BEAT, TIMEOUT)
        self.state: History = place.restore()
        #: the state once all is applied
        self.memory: History = self.state.copy()
        self.inbox: list[s.Apply[Rec] | s.Load[History]] = []
        self.done = 0

    def work(self, count: int) -> None:
        for one in self.inbox[:count]:
            if isinstance(one, s.Load):
                self.state = list(one.body or [])
            else:
                assert one.records[0].sequence == len(self.state) + 1, "each event once, in its order"
                self.state += one.records
            self.done = one.number
        del self.inbox[:count]


class Message(NamedTuple):
    """``to``: an epoch, or a standby's name."""

    to: int | str
    event: p.Event[tuple[Rec, ...]] | s.Event[Rec, Piece, History]


class Replicating(RuleBasedStateMachine):
    """One path: lives that follow one another, their standbys on two machines."""

    ack = AckMode.BOTH

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.places = [Place(), Place()]
        self.lives: dict[int, Life] = {}
        self.shadows: dict[str, Shadow] = {}
        self.hosts = 0
        self.wire: list[Message] = []
        self.acknowledged: History = []

    # ------------------------------------------------------------ who there is

    @property
    def newest(self) -> Life:
        return self.lives[max(self.lives)]

    @property
    def standing_by(self) -> list[Shadow]:
        return [shadow for shadow in self.shadows.values() if shadow.alive]

    def full(self, shadow: Shadow) -> bool:
        """Its primary holds it for one that has all that was acknowledged; or both use one disk."""
        life = self.newest
        peer = life.side.followers.get(shadow.host)
        return shadow.place is life.place or (
            peer is not None and peer.in_sync and peer.received >= len(self.acknowledged)
        )

    @initialize(history=st.integers(0, 4), data=st.data())
    def start(self, history: int, data: st.DataObject) -> None:
        self.lives[1] = Life(1, self.places[0], [], self.ack)
        self.places[0].fence = 1
        if history:
            self.append(history)
        for place in (0, 1):
            self.stand_by(place)
            if data.draw(st.booleans()):
                self.feed(data)

    # ------------------------------------------------------------ rules: work

    @precondition(lambda self: self.newest.alive)
    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        life = self.newest
        first = len(life.history) + 1
        batch = tuple(Rec(sequence, life.epoch) for sequence in range(first, first + count))
        life.history += batch
        life.place.records += batch
        last = first + count - 1
        if self.ack is AckMode.BOTH:
            life.place.synced = last
        if life.side.busy:
            self.tell_primary(life, p.Committed(first, last, SIZE * count, batch))
        elif self.ack is AckMode.BOTH:
            self.acknowledge(life, last)

    @precondition(lambda self: self.newest.alive and self.ack is AckMode.STANDBY)
    @rule()
    def sync(self) -> None:
        life = self.newest
        life.place.synced = len(life.history)
        self.tell_primary(life, p.Synced(len(life.history)))

    @precondition(lambda self: self.newest.alive and self.newest.history)
    @rule(kept=st.integers(0, 3))
    def checkpoint(self, kept: int) -> None:
        """Of what is applied: what this life acknowledged, and what it was begun with."""
        life = self.newest
        applied = life.history[: max(life.base, len(self.acknowledged))]
        life.place.checkpoints.append(applied)
        life.place.begin = max(life.place.begin, len(applied) + 1 - kept)

    @precondition(lambda self: self.newest.alive and self.newest.reads)
    @rule()
    def disk_answers(self) -> None:
        life = self.newest
        asked = life.reads.pop(0)
        place, after = life.place, asked.after
        if isinstance(asked, p.PackSnapshot):
            whole = max((one for one in place.checkpoints if len(one) > after), key=len, default=[])
            assert whole == life.history[: len(whole)]
            life.packed[asked.number] = whole
            self.tell_primary(life, p.SnapshotPacked(asked.host, asked.number, len(whole), SIZE * len(whole)))
        elif after + 1 < place.begin:
            self.tell_primary(life, p.BacklogGone(asked.host, asked.number))
        else:
            found = tuple(place.records[after : after + LIMITS.part // SIZE])
            last, head = after + len(found), len(life.history)
            read = p.BacklogRead(asked.host, asked.number, after + 1, last, SIZE * len(found), found, head)
            self.tell_primary(life, read)

    @precondition(lambda self: any(shadow.inbox for shadow in self.standing_by))
    @rule(data=st.data(), count=st.integers(1, 3))
    def work(self, data: st.DataObject, count: int) -> None:
        shadow = data.draw(st.sampled_from([shadow for shadow in self.standing_by if shadow.inbox]))
        shadow.work(count)
        self.tell_standby(shadow, s.Progressed(shadow.done, len(shadow.state)))

    # ------------------------------------------------------------ rules: the network and time

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), fate=st.sampled_from(["delivered", "delivered", "delivered", "lost", "repeated"]))
    def any_message(self, data: st.DataObject, fate: str) -> None:
        at = data.draw(st.integers(0, len(self.wire) - 1))
        message = self.wire[at]
        if fate != "repeated":
            del self.wire[at]
        if fate != "lost":
            self.deliver(message)

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 20))
    def in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            self.deliver(self.wire.pop(0))

    @precondition(lambda self: self.wire)
    @rule()
    def cut(self) -> None:
        self.wire.clear()

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.1, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.newest.alive and self.newest.side.busy:
            self.tell_primary(self.newest, p.Ticked())
        for shadow in self.standing_by:
            self.tell_standby(shadow, s.Ticked())

    def deliver(self, message: Message) -> None:
        if isinstance(message.to, int):
            life = self.lives[message.to]
            if life.alive:
                event = message.event
                if isinstance(event, p.Joined):
                    event = p.Joined(event.host, event.applied, len(life.history))
                self.tell_primary(life, event)  # type: ignore[arg-type]
        elif (shadow := self.shadows[message.to]).alive:
            self.tell_standby(shadow, message.event)  # type: ignore[arg-type]

    # ------------------------------------------------------------ rules: lives

    @precondition(lambda self: len(self.standing_by) < 3)
    @rule(place=st.integers(0, 1))
    def stand_by(self, place: int) -> None:
        self.hosts += 1
        shadow = self.shadows[f"s{self.hosts}"] = Shadow(f"s{self.hosts}", self.places[place])
        count = len(shadow.state)
        self.tell_standby(shadow, s.Restored(count, shadow.place.epoch_of(count)))

    @precondition(lambda self: self.standing_by)
    @rule(data=st.data())
    def feed(self, data: st.DataObject) -> None:
        shadow = data.draw(st.sampled_from(self.standing_by))
        self.tell_standby(shadow, s.Fed(self.newest.epoch, f"at {self.newest.epoch}", True))

    @precondition(lambda self: self.standing_by)
    @rule(data=st.data(), known=st.booleans())
    def a_standby_ends(self, data: st.DataObject, known: bool) -> None:
        shadow = data.draw(st.sampled_from(self.standing_by))
        shadow.alive = False
        if known and self.newest.alive:
            self.tell_primary(self.newest, p.Unfollowed(shadow.host))

    @precondition(lambda self: self.newest.alive)
    @rule()
    def the_primary_ends(self) -> None:
        self.newest.alive = False

    @precondition(
        lambda self: (
            self.newest.alive
            and any(shadow.place is not self.newest.place and self.full(shadow) for shadow in self.standing_by)
        )
    )
    @rule()
    def its_machine_loses_power(self) -> None:
        """What was not synced is gone, and all that ran there."""
        life = self.newest
        life.alive = False
        for shadow in self.standing_by:
            if shadow.place is life.place:
                shadow.alive = False
        full = [shadow for shadow in self.standing_by if self.full(shadow)]
        life.place.lose_power()
        self.promote(full[0])

    @precondition(lambda self: not self.newest.alive and any(self.full(shadow) for shadow in self.standing_by))
    @rule(data=st.data())
    def a_standby_is_promoted(self, data: st.DataObject) -> None:
        self.promote(data.draw(st.sampled_from([shadow for shadow in self.standing_by if self.full(shadow)])))

    @precondition(lambda self: self.newest.alive)
    @rule(unseen=st.integers(1, 4), then=st.integers(0, 6), data=st.data())
    def histories_part(self, unseen: int, then: int, data: st.DataObject) -> None:
        """The primary's last words reach one standby and not the one, on the other machine, that is promoted."""
        for place in self.places:
            if not any(shadow.place is place for shadow in self.standing_by):
                self.stand_by(self.places.index(place))
        self.all_is_well_again()
        life = self.newest
        promoted = next(shadow for shadow in self.standing_by if shadow.place is not life.place)
        self.wire.clear()
        self.append(unseen)
        self.wire = [message for message in self.wire if message.to not in (promoted.host, life.epoch)]
        while self.wire:
            message = self.wire.pop(0)
            if isinstance(message.to, str):
                self.deliver(message)
        self.wire.clear()
        life.alive = False
        if self.full(promoted):
            self.promote(promoted)
            if then:
                self.append(then)
            for shadow in self.standing_by:
                if data.draw(st.booleans()):
                    self.tell_standby(shadow, s.Fed(self.newest.epoch, f"at {self.newest.epoch}", True))

    @precondition(lambda self: not self.newest.alive)
    @rule()
    def one_begins_from_the_disk(self) -> None:
        place = self.newest.place
        assert place.restore() == place.records, "no power was lost"
        self.begin_life(place, place.restore(), place.epoch_of(len(place.records)))

    def begin_life(self, place: Place, history: History, base_epoch: int) -> None:
        """``base_epoch``: of its last record; 0: the state came from a checkpoint."""
        epoch = self.newest.epoch + 1
        place.fence, place.synced = epoch, len(history)
        assert history[: len(self.acknowledged)] == self.acknowledged, "what was acknowledged is lost"
        self.lives[epoch] = Life(epoch, place, history, self.ack, base_epoch)

    def promote(self, shadow: Shadow) -> None:
        self.tell_standby(shadow, s.Halt())
        shadow.alive = False
        place, epoch = shadow.place, self.newest.epoch + 1
        steps = m.PromotionSteps(shadow.side, epoch)
        todo = steps.begin()
        known = shadow.side.epoch
        while todo:
            match todo.pop(0):
                case m.ApplyAll():
                    shadow.work(len(shadow.inbox))
                    todo += steps.step(m.Drained(len(shadow.state), shadow.side.epoch))
                case m.LookAtDisk():
                    todo += steps.step(m.DiskSeen(place.fence))
                case m.LookAtRecord(sequence):
                    todo += steps.step(m.RecordSeen(len(place.records), place.epoch_of(sequence)))
                case m.SetAside():
                    assert place is not self.newest.place, "that was the truth"
                    place.records, place.begin, place.fence, place.checkpoints = [], 1, 0, []
                case m.RestoreFromDisk():
                    shadow.state = place.restore()
                    known = place.epoch_of(len(shadow.state))
                    todo += steps.step(s.Restored(len(shadow.state), known))
                case m.OpenJournal(fence):
                    assert fence == epoch > place.fence
                    place.fence = epoch
                    todo += steps.step(m.Opened(len(place.records)))
                case m.ReplayDisk(after):
                    assert place.records[:after] == shadow.state, "two histories are mixed"
                    shadow.state += place.records[after:]
                    known = shadow.state[-1].epoch
                case m.TakeCheckpoint(sequence):
                    assert sequence == len(shadow.state)
                    place.checkpoints.append(shadow.state.copy())
                case m.BeginJournalAt(sequence):
                    place.records, place.begin = shadow.state.copy(), sequence + 1
                case m.Act(_, sequence, _):
                    assert sequence == len(shadow.state) == len(place.records)
                    assert shadow.state == place.records
                    self.begin_life(place, shadow.state, known)
                case refused:
                    raise AssertionError(refused)

    # ------------------------------------------------------------ effects

    def tell_primary(self, life: Life, event: p.Event[tuple[Rec, ...]]) -> None:
        for effect in life.side.step(event, self.now):
            match effect:
                case p.SendRecords(host, first, last, head, live, body, before):
                    records = s.RecordsCame(life.epoch, first, last, head, live, self.now, body or (), before)
                    self.wire.append(Message(host, records))
                case p.SendPart(host, number, sequence, offset, size, total):
                    piece = Piece(life.packed[number], offset)
                    part = s.PartCame(life.epoch, sequence, offset, size, total, piece)
                    self.wire.append(Message(host, part))
                case p.ReadBacklog() | p.PackSnapshot():
                    life.reads.append(effect)
                case p.Acknowledge(upto):
                    self.acknowledge(life, upto)
                case p.Forget(_, number):
                    life.packed.pop(number, None)

    def tell_standby(self, shadow: Shadow, event: s.Event[Rec, Piece, History]) -> None:
        for effect in shadow.side.step(event, self.now):
            match effect:
                case s.SendJoin(epoch, applied):
                    self.wire.append(Message(epoch, p.Joined(shadow.host, applied, 0)))
                case s.SendConfirm(epoch, received, applied):
                    self.wire.append(Message(epoch, p.Confirmed(shadow.host, received, applied)))
                case s.ConfirmSoon():
                    self.tell_standby(shadow, s.ConfirmDue())
                case s.Apply(_, records):
                    assert records[0].sequence == len(shadow.memory) + 1
                    shadow.memory += records
                    shadow.inbox.append(effect)
                case s.Load(_, sequence, body):
                    shadow.memory = list(body or [])
                    assert len(shadow.memory) == sequence
                    shadow.inbox.append(effect)
                case s.Unpack(sequence, pieces):
                    sizes = [piece.offset for piece in pieces]
                    assert sizes == sorted(set(sizes))
                    whole = all(piece.whole == pieces[0].whole for piece in pieces)
                    self.tell_standby(shadow, s.Unpacked(sequence, pieces[0].whole if whole else None))

    def acknowledge(self, life: Life, upto: int) -> None:
        acknowledged = life.history[:upto]
        assert len(acknowledged) == upto
        assert acknowledged[: len(self.acknowledged)] == self.acknowledged[:upto]
        if upto <= len(self.acknowledged):
            return
        self.acknowledged = acknowledged
        waited_for = [self.shadows[host] for host, peer in life.side.followers.items() if peer.in_sync]
        having = [shadow for shadow in waited_for if shadow.memory[:upto] == acknowledged]
        if self.ack is AckMode.BOTH:
            assert life.place.synced >= upto
            assert having == waited_for, "a standby that is waited for does not have it"
        else:
            assert life.place.synced >= upto or having, "it is known once only, and not for certain"

    # ------------------------------------------------------------ what must hold

    @invariant()
    def what_a_primary_believes_is_so(self) -> None:
        if not self.lives:
            return
        life = self.newest
        for host, peer in life.side.followers.items():
            shadow = self.shadows[host]
            assert shadow.memory[: peer.received] == life.history[: peer.received]

    @invariant()
    def no_two_histories_are_mixed(self) -> None:
        for shadow in self.shadows.values():
            life = self.lives.get(shadow.side.shared)
            if life is not None and (shadow.side.in_stream or shadow.side.synced):
                assert shadow.memory == life.history[: len(shadow.memory)]
            chain = {(rec.sequence, rec.epoch) for rec in shadow.memory}
            assert len(chain) == len(shadow.memory) == shadow.side.received
            assert any(shadow.memory == life.history[: len(shadow.memory)] for life in self.lives.values())

    @precondition(lambda self: self.newest.alive and self.standing_by)
    @rule()
    def all_is_well_again(self) -> None:
        """Once the network carries everything, each standby gets everything."""
        self.wire.clear()
        for shadow in self.standing_by:
            self.tell_standby(shadow, s.Fed(self.newest.epoch, f"at {self.newest.epoch}", True))
        for _ in range(200):
            self.time_passes(0.1)
            for _ in range(100):
                while self.wire:
                    self.deliver(self.wire.pop(0))
                if not self.newest.reads:
                    break
                self.disk_answers()
            for shadow in self.standing_by:
                shadow.work(len(shadow.inbox))
                self.tell_standby(shadow, s.Progressed(shadow.done, len(shadow.state)))
            if all(shadow.side.synced and shadow.state == self.newest.history for shadow in self.standing_by):
                return
        raise AssertionError(
            [(x.host, x.side.synced, len(x.state), len(self.newest.history)) for x in self.standing_by]
        )


class ReplicatingToMemory(Replicating):
    """The disk follows what a standby has."""

    ack = AckMode.STANDBY


_SETTINGS = settings(max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
TestBoth = Replicating.TestCase
TestBoth.settings = _SETTINGS
TestStandby = ReplicatingToMemory.TestCase
TestStandby.settings = _SETTINGS
