"""At most one may act: under any delay, loss and repetition of messages, any clocks, any pauses, any deaths (STA-4).

The pure holder runs against a model of a store, in model time. Each process has a clock of its own: an offset, and a
rate that is off by at most ``MAX_SKEW``. Whether somebody may act only ever turns from no to yes at an event, so
looking after each event misses nothing.
"""

from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.state.lease import (
    MAX_SKEW,
    AskPeers,
    Effect,
    Event,
    Granted,
    LeaseHolder,
    PeersSaid,
    Refused,
    Renew,
    Renewed,
    StopActing,
    StoreBack,
    StoreDown,
    StoreFailed,
    Ticked,
    check_timing,
    may_take,
    next_token,
)

RATES = st.sampled_from([1 - MAX_SKEW, 1.0, 1 + MAX_SKEW]) | st.floats(1 - MAX_SKEW, 1 + MAX_SKEW)
SECONDS = st.sampled_from([0.3, 1.0, 1.3, 2.0, 3.5, 4.4, 5.0]) | st.floats(0.001, 6.0)
FATES = st.sampled_from(["answered", "answered", "lost", "failed", "repeated", "under way"])
OFFSETS = st.sampled_from([0.0, 1e6, -1e6, 5.0])


@dataclass
class ModelClock:
    rate: float
    offset: float

    def at(self, real: float) -> float:
        return self.offset + self.rate * real


@dataclass
class Life:
    """One process that wants to act."""

    name: str
    clock: ModelClock
    machine: LeaseHolder
    #: rounds of time for which it does nothing
    paused: int = 0
    dead: bool = False
    stops: int = 0
    #: when (own clock) the supervisor's last word that it heard was asked for
    word_at: float = float("-inf")
    #: what it saw of the row, and when (for stores that have no clock)
    seen: tuple[int, int, float] = (-1, -1, 0.0)


@dataclass
class Row:
    """The store's: ``ends`` by the store's clock."""

    holder: str = ""
    token: int = 0
    renewals: int = 0
    ends: float = float("-inf")


@dataclass
class Message:
    """On its way; delivered never, once or often, in any order."""

    life: Life
    sent_at: float
    what: str
    proved_dead: str = ""
    answer: Event | None = field(default=None)


class Store:
    """A lease store with a clock (files) or without one (PostgreSQL), by the rules the real ones use."""

    def __init__(self, clock: ModelClock, own_clock: bool, spec: LeaseSpec) -> None:
        self.clock = clock
        self.own_clock = own_clock
        self.spec = spec
        self.row = Row()
        self.granted: list[int] = []

    def over(self, life: Life, sent_at: float, real: float) -> bool:
        if self.own_clock:
            return self.clock.at(real) >= self.row.ends
        if life.seen[:2] != (self.row.token, self.row.renewals):
            life.seen = (self.row.token, self.row.renewals, life.clock.at(real))
        return sent_at - life.seen[2] >= self.spec.expire

    def take(self, message: Message, real: float) -> Event | None:
        row, life = self.row, message.life
        ends = self.clock.at(real) + self.spec.expire
        if message.what == "renew":
            if (row.holder, row.token) != (life.name, life.machine.token):
                return Refused("not yours")
            self.row = Row(row.holder, row.token, row.renewals + 1, ends)
            return Renewed(message.sent_at)
        over = self.over(life, message.sent_at, real)
        if not may_take(row.holder, life.name, message.proved_dead, over):
            return None
        self.row = Row(life.name, next_token(row.token, 0), 0, ends)
        self.granted.append(self.row.token)
        return Granted(self.row.token, message.sent_at)


class OneHolder(RuleBasedStateMachine):
    """Lives come, are paused, die; messages go astray."""

    loss = StoreLoss.HOLD

    @initialize(rate=RATES, offset=OFFSETS, own_clock=st.booleans())
    def begin(self, rate: float, offset: float, own_clock: bool) -> None:
        self.real = 0.0
        self.spec = LeaseSpec(on_store_loss=self.loss)
        self.store = Store(ModelClock(rate, offset), own_clock, self.spec)
        self.lives: list[Life] = []
        self.requests: list[Message] = []
        self.answers: list[Message] = []
        self.born = 0
        self.fate = "answered"

    # ------------------------------------------------------------ lives

    def may_begin(self) -> bool:
        return True

    @precondition(lambda self: self.may_begin())
    @rule(rate=RATES, offset=OFFSETS, fate=FATES)
    def new_life(self, rate: float, offset: float, fate: str) -> None:
        clock = ModelClock(rate, offset)
        self.born += 1
        life = Life(f"life {self.born}", clock, LeaseHolder(self.spec, clock.at(self.real)))
        self.lives.append(life)
        self.ask(life, fate)

    def asks_again(self, life: Life) -> None:
        """One that waits asks until it gets it, so that it begins as early as it may."""
        if self.may_begin():
            life.machine = LeaseHolder(self.spec, life.clock.at(self.real))
            life.stops = 0
            self.ask(life, "answered")

    def ask(self, life: Life, fate: str) -> None:
        dead = next((one.name for one in reversed(self.lives) if one.dead), "")
        self.send(Message(life, life.clock.at(self.real), "acquire", proved_dead=dead), fate)

    def some(self, number: int) -> Life | None:
        living = [life for life in self.lives if not life.dead and not life.stops][-4:]
        return living[number % len(living)] if living else None

    @rule(number=st.integers(0, 3), rounds=st.integers(1, 4))
    def pause(self, number: int, rounds: int) -> None:
        life = self.some(number)
        if life is not None:
            life.paused = rounds

    @precondition(lambda self: len(self.lives) > 1)
    @rule(number=st.integers(0, 3), sure=st.integers(0, 2))
    def die(self, number: int, sure: int) -> None:
        life = self.some(number)
        if life is not None and not sure:
            life.dead = True

    # ------------------------------------------------------------ time and messages

    @rule(seconds=SECONDS, fate=FATES, ticks=st.booleans(), late=st.booleans())
    def time_passes(self, seconds: float, fate: str, ticks: bool, late: bool) -> None:
        """``late``: then all answers come that are under way."""
        self.real += seconds
        self.check()
        self.fate = fate
        while late and self.answers:
            self.answer_arrives(0, False)
        for life in self.lives[-6:]:
            if life.paused:
                life.paused -= 1
            elif not life.dead and life.machine.token == 0:
                self.asks_again(life)
            elif not life.dead and ticks:
                self.step(life, Ticked())
        self.check()

    def send(self, message: Message, fate: str) -> None:
        """What becomes of a request at once; the rest may still come later, once or often, or never."""
        if fate == "under way":
            self.requests.append(message)
            return
        if fate != "lost":
            self.arrives(message, fate == "answered")
        if fate == "repeated":
            self.requests.append(message)
        if fate in {"lost", "failed"} and not message.life.paused:
            self.step(message.life, StoreFailed(message.sent_at, "time-out"))

    def arrives(self, message: Message, told: bool) -> None:
        answer = self.store.take(message, self.real)
        if answer is not None:
            self.answers.append(answered(message, answer))
            if told and not message.life.paused and not message.life.dead:
                self.step(message.life, answer)

    @precondition(lambda self: self.requests)
    @rule(number=st.integers(0, 5), keep=st.booleans())
    def request_arrives(self, number: int, keep: bool) -> None:
        message = self.requests[-1 - number % len(self.requests)]
        if not keep:
            self.requests.remove(message)
        self.arrives(message, told=False)

    @precondition(lambda self: self.answers)
    @rule(number=st.integers(0, 5), keep=st.booleans())
    def answer_arrives(self, number: int, keep: bool) -> None:
        message = self.answers[-1 - number % len(self.answers)]
        if not keep:
            self.answers.remove(message)
        if not message.life.dead and not message.life.paused and message.answer is not None:
            self.step(message.life, message.answer)

    # ------------------------------------------------------------ what must hold

    def step(self, life: Life, event: Event) -> None:
        now = life.clock.at(self.real)
        if isinstance(event, Granted) and life.stops:
            return
        effects: list[Effect] = life.machine.step(event, now)
        for effect in effects:
            match effect:
                case Renew(sent_at):
                    assert sent_at == now
                    if life.machine.token:
                        self.send(Message(life, sent_at, "renew"), self.fate)
                case StopActing():
                    life.stops += 1
                    assert not life.machine.may_act(now)
                case AskPeers():
                    self.step(life, PeersSaid(self.agrees(life, now), now))
                case StoreDown() | StoreBack():
                    pass
        assert life.stops <= 1

    def agrees(self, life: Life, now: float) -> bool:
        return False

    def check(self) -> None:
        acting = [life for life in self.lives if not life.dead and life.machine.may_act(life.clock.at(self.real))]
        assert len(acting) <= 1, [life.name for life in acting]
        for life in acting:
            assert self.is_in_charge(life)
        assert self.store.granted == sorted(set(self.store.granted))

    def is_in_charge(self, life: Life) -> bool:
        return self.store.row.holder == life.name

    @invariant()
    def at_most_one_acts(self) -> None:
        if hasattr(self, "lives"):
            self.check()


def answered(message: Message, answer: Event) -> Message:
    return Message(message.life, message.sent_at, message.what, message.proved_dead, answer)


class OneHolderWithPeers(OneHolder):
    """``continue_if_all_peers_agree``: the supervisor keeps the promise that ``keeper`` asks of it."""

    asked_for: Life

    loss = StoreLoss.CONTINUE

    @initialize(rate=RATES, offset=OFFSETS)
    def supervisor_begins(self, rate: float, offset: float) -> None:
        self.supervisor = ModelClock(rate, offset)
        self.said_at = float("-inf")
        self.agreed: Life | None = None
        self.words: list[tuple[Life, float]] = []

    def may_begin(self) -> bool:
        promised = self.supervisor.at(self.real) - self.said_at < self.spec.expire
        return not promised or self.agreed is None or self.agreed.dead

    def ask(self, life: Life, fate: str) -> None:
        self.asked_for = life  # from here on it agrees to no other
        super().ask(life, fate)

    @precondition(lambda self: self.lives)
    @rule(under_way=st.booleans())
    def peers_are_asked(self, under_way: bool) -> None:
        """The life in charge asks the supervisor, which agrees; the word may be long under way, or lost."""
        life = self.asked_for
        if not life.dead and not life.paused:
            self.words.append((life, life.clock.at(self.real)))
            if not under_way:
                self.peers_answer(0, True)

    @precondition(lambda self: self.words)
    @rule(number=st.integers(0, 5), arrives=st.booleans())
    def peers_answer(self, number: int, arrives: bool) -> None:
        life, asked_at = self.words.pop(-1 - number % len(self.words))
        if life is not self.asked_for:
            return
        self.said_at = self.supervisor.at(self.real)
        self.agreed = life
        if arrives and not life.dead:
            life.word_at = max(life.word_at, asked_at)

    def agrees(self, life: Life, now: float) -> bool:
        return now - life.word_at <= self.spec.expire - self.spec.margin - self.spec.renew

    def is_in_charge(self, life: Life) -> bool:
        return True  # its row may have run out and been given to one that has not heard of it yet


COUNTS = settings(
    max_examples=400, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
TestOneHolder = OneHolder.TestCase
TestOneHolder.settings = COUNTS
TestOneHolderWithPeers = OneHolderWithPeers.TestCase
TestOneHolderWithPeers.settings = COUNTS


# ---------------------------------------------------------------- one hand-over, closely


@settings(max_examples=500, deadline=None)
@given(
    holder=RATES,
    store=RATES,
    offset=OFFSETS,
    to_store=st.floats(0, 20),
    back=st.floats(0, 20),
    renewals=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.booleans()), max_size=6),
)
def test_a_holder_stops_before_the_store_may_give_the_lease_away(
    holder: float,
    store: float,
    offset: float,
    to_store: float,
    back: float,
    renewals: list[tuple[float, float, bool]],
) -> None:
    spec = LeaseSpec()
    own, theirs = ModelClock(holder, offset), ModelClock(store, -offset)
    machine = LeaseHolder(spec, own.at(0.0))
    ends = theirs.at(to_store) + spec.expire
    real = to_store + back
    machine.step(Granted(1, own.at(0.0)), own.at(real))
    for there, again, answered in renewals:
        sent = real
        if theirs.at(sent + there) < ends:
            ends = theirs.at(sent + there) + spec.expire
            real = sent + there + again
            if answered:
                machine.step(Renewed(own.at(sent)), own.at(real))
    # the moment at which another may be given it
    over = (ends - theirs.offset) / theirs.rate
    assert not machine.may_act(own.at(max(real, over) + 1e-6))


@settings(max_examples=500, deadline=None)
@given(
    holder=RATES,
    supervisor=RATES,
    asked=st.floats(0, 6),
    there=st.floats(0, 2),
    back=st.floats(0, 2),
    round_time=st.sampled_from([0.05, 0.2]),
    paused_at=st.floats(1, 12),
)
def test_a_holder_with_peers_stops_before_its_supervisor_may_let_another_begin(
    holder: float, supervisor: float, asked: float, there: float, back: float, round_time: float, paused_at: float
) -> None:
    """One word of the supervisor, asked for at ``asked``, said ``there`` later, heard ``back`` later; then silence.

    From ``paused_at`` on nothing of the holder runs any more but those who look whether they may act.
    """
    spec = LeaseSpec(on_store_loss=StoreLoss.CONTINUE)
    own = ModelClock(holder, 77.0)
    machine = LeaseHolder(spec, own.at(0.0))
    machine.step(Granted(1, own.at(0.0)), own.at(0.0))
    said = asked + there
    begins = max(spec.expire, said * supervisor + spec.expire) / supervisor
    real = 0.0
    while real < min(begins, paused_at):
        now = own.at(real)
        word_at = own.at(asked) if real >= said + back else float("-inf")
        for effect in machine.step(Ticked(), now):
            if isinstance(effect, Renew):
                machine.step(StoreFailed(effect.sent_at, "down"), now)
            elif isinstance(effect, AskPeers):
                machine.step(PeersSaid(now - word_at <= spec.expire - spec.margin - spec.renew, now), now)
        real += round_time
    assert not machine.may_act(own.at(begins + 1e-6))


@settings(max_examples=300, deadline=None)
@given(
    expire=st.floats(0.05, 600),
    margin=st.floats(0, 600),
    renew=st.floats(0.01, 600),
    skew=st.floats(0, 0.5),
    holder=st.sampled_from([-1.0, 1.0]),
)
def test_times_that_pass_the_check_are_safe_and_the_bound_is_sharp(
    expire: float, margin: float, renew: float, skew: float, holder: float
) -> None:
    slow, fast = 1 - skew, 1 + skew
    stops, begins = (expire - margin) / slow, expire / fast
    if check_timing(renew, expire, margin, skew) == "":
        assert stops <= begins * (1 + 1e-9)
        assert renew < expire - margin
    elif min(renew, expire) > 0 and 2 * renew <= expire - margin:
        assert stops > begins * (1 - 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    pauses=st.lists(st.floats(0.0, 2.5), max_size=40),
    fails=st.lists(st.booleans(), max_size=40),
    loss=st.sampled_from(StoreLoss),
)
def test_down_and_back_alternate_and_a_loss_is_told_once(
    pauses: list[float], fails: list[bool], loss: StoreLoss
) -> None:
    machine = LeaseHolder(LeaseSpec(on_store_loss=loss), 0.0)
    now = 0.0
    told: list[str] = []
    effects = machine.step(Granted(1, 0.0), now)
    for pause, failed in zip(pauses, fails, strict=False):
        now += pause
        effects += machine.step(Ticked(), now)
        for effect in tuple(effects):
            match effect:
                case Renew(sent_at):
                    effects += machine.step(StoreFailed(sent_at, "x") if failed else Renewed(sent_at), now)
                case AskPeers():
                    effects += machine.step(PeersSaid(failed, now), now)
                case _:
                    pass
        told += [type(effect).__name__ for effect in effects if isinstance(effect, StoreDown | StoreBack | StopActing)]
        effects = []
    outages = [name for name in told if name != "StopActing"]
    assert outages == ["StoreDown", "StoreBack"] * (len(outages) // 2) + ["StoreDown"] * (len(outages) % 2)
    assert told.count("StopActing") <= 1
    assert "StopActing" not in told[:-1]


def test_events_are_plain_data() -> None:
    for event in (Granted(1, 2.0), Renewed(2.0), Refused("x"), StoreFailed(2.0, "x"), Ticked(), PeersSaid(True, 1.0)):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=type(event)) == event
