"""Verdicts under any order of beats, ticks and notices."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors.signals.verdicts import (
    LAG_MEMORY,
    STARTING_STRETCH,
    Change,
    Evidence,
    HeartbeatRule,
    PeerVerdict,
    Signal,
    Verdict,
)

ORDER = list(Verdict)
CERTAIN = {Signal.EXIT_NOTICE, Signal.RAY}
CERTAIN_HERE = CERTAIN | {Signal.FUTEX, Signal.PIDFD}
RULES = st.builds(
    HeartbeatRule,
    interval=st.sampled_from([0.05, 0.1, 1.0]),
    missed=st.integers(1, 5),
    hang_after=st.sampled_from([5.0, 10.0]),
    unavailable_after=st.sampled_from([5.0, 7.5]),
)


class Life(RuleBasedStateMachine):
    """One peer, one observer; the model keeps only what the rules speak of."""

    @initialize(beat=RULES, local=st.booleans(), starting=st.booleans())
    def start(self, beat: HeartbeatRule, local: bool, starting: bool) -> None:
        self.rule, self.local, self.now = beat, local, 1000.0
        self.stretch = STARTING_STRETCH if starting else 1.0
        self.peer = PeerVerdict(beat, self.now, local, starting)
        self.verdict = Verdict.HEALTHY
        self.first: tuple[Signal, float] | None = None
        self.progress = 0
        self.evidence = Evidence.SLEEPING
        self.died = False
        self.last_beat = self.now
        self.lags: list[tuple[float, float]] = []

    def take(self, change: Change | None) -> None:
        if change is None:
            return
        assert change.previous is self.verdict
        assert change.now == self.now
        assert change.at <= change.now
        assert self.verdict is not Verdict.DEAD
        assert change.why
        worse = ORDER.index(change.verdict) > ORDER.index(self.verdict)
        assert worse or change.verdict is Verdict.HEALTHY, "worse step by step, or well again: nothing in between"
        if self.first is not None:
            assert (change.signal, change.at) == self.first
        else:
            assert change.at == self.now
        if change.verdict is Verdict.UNAVAILABLE:
            assert not self.local
        if change.verdict is Verdict.DEAD:
            assert self.died, "nothing but a certain signal or a process that is gone makes dead"
        self.first = None if change.verdict is Verdict.HEALTHY else (change.signal, change.at)
        self.verdict = change.verdict

    @rule(after=st.floats(0.0, 0.6), advance=st.booleans())
    def beat(self, after: float, advance: bool) -> None:
        self.now += after
        self.progress += advance
        self.take(self.peer.beat(self.now, self.progress))
        self.last_beat = self.now
        if advance and self.verdict is not Verdict.DEAD:
            healthy = self.verdict is Verdict.HEALTHY
            assert healthy or (self.first is not None and self.first[0] is Signal.HEALTH)

    @rule(after=st.floats(0.0, 3.0), lag=st.floats(0.0, 1.0))
    def tick(self, after: float, lag: float) -> None:
        self.now += after
        self.lags.append((self.now, lag))
        before = self.verdict
        if self.evidence is Evidence.GONE and self.local:
            self.died = True
        change = self.peer.tick(self.now, lag, lambda: self.evidence)
        self.take(change)
        recent = max(lag for at, lag in self.lags if at >= self.now - LAG_MEMORY)
        assert self.peer.lag >= recent
        assert self.peer.lag <= max([lag for at, lag in self.lags if at >= self.now - 2 * LAG_MEMORY - 3.0])
        age = self.now - self.last_beat
        if change is not None and change.verdict is not Verdict.DEAD:
            assert age > self.rule.silence + recent, "no verdict of silence while beats arrive in time"
        if change is not None and change.verdict is Verdict.HUNG and self.evidence is not Evidence.STOPPED:
            assert age > self.stretch * self.rule.hang_after + recent
        if age <= self.rule.silence and self.evidence is not Evidence.GONE:
            assert self.verdict is before

    @rule()
    def starts_once_more(self) -> None:
        self.stretch = STARTING_STRETCH
        self.peer.starts()

    @rule()
    def started(self) -> None:
        if self.stretch != 1.0:
            self.last_beat = self.now  # a sign of life
        self.stretch = 1.0
        self.peer.started(self.now)

    @rule(signal=st.sampled_from(Signal))
    def notice(self, signal: Signal) -> None:
        if signal in (CERTAIN_HERE if self.local else CERTAIN):
            self.died = True
        self.take(self.peer.notice(signal, self.now))
        assert self.verdict is not Verdict.HEALTHY
        if signal in (CERTAIN_HERE if self.local else CERTAIN):
            assert self.verdict is Verdict.DEAD

    @rule(evidence=st.sampled_from(Evidence))
    def turn(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @rule()
    def well_again(self) -> None:
        self.take(self.peer.clear(Signal.HEALTH, self.now))

    @precondition(lambda self: self.verdict is not Verdict.DEAD)
    @rule(step=st.sampled_from([0.02, 0.05]))
    def silence_ends_in_a_verdict(self, step: float) -> None:
        """Whatever came before: silence for long enough is hung or dead here, unavailable or worse elsewhere."""
        bound = STARTING_STRETCH * self.rule.hang_after + 2.0 + 2 * LAG_MEMORY + 3.0
        end = self.now + bound
        step *= self.stretch  # as many ticks as without a start
        self.died = self.died or (self.local and self.evidence is Evidence.GONE)
        while self.now < end:
            self.now += step
            self.lags.append((self.now, 0.0))
            self.take(self.peer.tick(self.now, 0.0, lambda: self.evidence))
        self.lags = self.lags[-1:]
        least = Verdict.HUNG if self.local else Verdict.UNAVAILABLE
        assert ORDER.index(self.verdict) >= ORDER.index(least)
        if self.local and self.evidence is Evidence.GONE:
            assert self.verdict is Verdict.DEAD

    @invariant()
    def tells_what_it_told(self) -> None:
        if hasattr(self, "peer"):
            assert self.peer.verdict is self.verdict
            assert self.peer.first_signal is (self.first[0] if self.first else None)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@settings(max_examples=150, deadline=None)
@given(
    gaps=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=200),
    ticks=st.lists(st.floats(0.005, 0.06), min_size=5, max_size=20),
    local=st.booleans(),
    stand=st.integers(0, 5),
)
def test_beats_in_time_never_bring_a_verdict(gaps: list[float], ticks: list[float], local: bool, stand: int) -> None:
    peer = PeerVerdict(HeartbeatRule(), 0.0, local)
    now, progress, number = 0.0, 0, 0
    for count, gap in enumerate(gaps):
        due = now + gap
        while (after := now + ticks[number % len(ticks)]) < due:
            now, number = after, number + 1
            assert peer.tick(now, 0.0, lambda: Evidence.GONE) is None
        now = due
        progress += count % (stand + 1) == 0  # stands still for at most 5 beats of 0.3 s: below 2 s
        assert peer.beat(now, progress) is None


@settings(max_examples=150, deadline=None)
@given(pause=st.floats(0.0, 60.0), tick=st.floats(0.01, 0.05))
def test_an_observer_that_slept_accuses_nobody_who_beats(pause: float, tick: float) -> None:
    """The beats of the pause are read late, in one go; whichever comes first, tick or beat, nobody is accused."""
    peer = PeerVerdict(HeartbeatRule(), 0.0, local=True)
    now = 0.0
    assert peer.beat(now, 1) is None
    now += pause + tick
    assert peer.tick(now, pause, lambda: Evidence.SLEEPING) is None
    for progress in range(2, 10):
        assert peer.beat(now, progress) is None
    for progress in range(10, 40):
        now += tick
        assert peer.tick(now, 0.0, lambda: Evidence.SLEEPING) is None
        assert peer.beat(now, progress) is None


@settings(max_examples=200, deadline=None)
@given(
    since_beat=st.floats(0.0, 0.1),
    ticks=st.lists(st.tuples(st.floats(0.02, 0.05), st.floats(0.0, 0.05)), min_size=5, max_size=30),
)
def test_a_stop_is_a_hang_within_450_ms(since_beat: float, ticks: list[tuple[float, float]]) -> None:
    """At defaults, ticked each 20-50 ms by an observer whose ticks run up to 50 ms late."""
    peer = PeerVerdict(HeartbeatRule(), 0.0, local=True)
    peer.beat(0.0, 1)
    stopped = now = since_beat
    for number in range(100):
        step, lag = ticks[number % len(ticks)]
        now += step
        change = peer.tick(now, lag, lambda: Evidence.STOPPED)
        if change is not None:
            assert change.verdict is Verdict.HUNG
            assert now - stopped <= 0.45
            return
    raise AssertionError("never told")
