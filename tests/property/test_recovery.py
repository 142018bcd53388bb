"""A recovery case under any order of events: late, repeated and unknown ones, early timers, failures at any point."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors.core.reasons import crash
from supervisors.recovery.approval import AnswerRefused
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.decision import decide
from supervisors.recovery.messages import (
    Abandon,
    Answer,
    Answered,
    Approved,
    Attempt,
    AttemptBegun,
    AttemptFailed,
    AttemptSucceeded,
    CancelTimer,
    Closed,
    Decided,
    Drop,
    Effect,
    Event,
    FailureSeen,
    Hold,
    Preserve,
    Progressed,
    Rejected,
    Release,
    Resize,
    RungFailed,
    SetTimer,
    StepDone,
    TimerFired,
    Validate,
    Validated,
    Withdrawn,
)
from supervisors.recovery.policy import (
    DEFAULT_RULES,
    ApprovalSpec,
    Condition,
    MarketHours,
    Phase,
    RampSpec,
    RampStep,
    RecoverySpec,
    Rule,
    Rung,
    ValidationStep,
)
from supervisors.recovery.progress import EDGES, History, State
from tests.unit.recovery.support import PATH, Known

BOOLS = st.sampled_from([True, False, None])
SOURCES = st.builds(
    Known,
    synced=BOOLS,
    valid=BOOLS,
    suspected=BOOLS,
    market=BOOLS,
    ratio=st.sampled_from([1.0, 3.0, None]),
)
RUNGS = st.sampled_from(list(Rung))
LADDERS = st.lists(RUNGS, max_size=4, unique=True).map(tuple)
RAMPS = st.sampled_from(
    [
        None,
        RampSpec(),
        RampSpec(steps=(RampStep(0.1, 5.0), RampStep(0.5, 0.0), RampStep(1.0)), after=(Rung.HOT, Rung.COLD)),
        RampSpec(steps=(RampStep(1.0),), after=tuple(Rung)),
    ]
)
CHECKS = st.lists(
    st.builds(
        ValidationStep,
        name=st.sampled_from(["a", "b", "c", "d"]),
        worker=st.just("/w"),
        method=st.just("m"),
        phase=st.sampled_from(list(Phase)),
        attempts=st.integers(1, 2),
        required=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda step: step.name,
).map(tuple)
SPECS = st.builds(
    RecoverySpec,
    ladder=LADDERS,
    standbys=st.integers(0, 1),
    rto=st.sampled_from([None, 30.0]),
    approval=st.sampled_from([ApprovalSpec(), ApprovalSpec(market_hours=MarketHours())]),
    ramp=RAMPS,
    validate=CHECKS,
)


class Life(RuleBasedStateMachine):
    """One case, the world's view of it, and a shadow that is resumed from the record before every event."""

    @initialize(spec=SPECS)
    def start(self, spec: RecoverySpec) -> None:
        self.spec = spec
        self.now = 1000.0
        known: dict[str, tuple[float, ...]] = {
            f"{rung}:{step}": (20.0,) for rung in Rung for step in ("fence", "promote", "restore", "start")
        }
        self.case = RecoveryCase(PATH, spec, History(known))
        self.source = Known()
        self.incarnation = 1
        self.in_hand: Attempt | None = None
        self.held: str = ""
        self.tried: list[Rung] = []
        self.failures = 0
        self.timers: dict[int, float] = {}
        self.spent: list[int] = []
        self.runs: list[Validate] = []
        self.holds: list[str] = []
        self.answered: set[tuple[str, Answer]] = set()
        self.state = State.HEALTHY
        self.about = ""
        self.percent = 0.0
        self.shown: dict[str, float] = {}
        self.size = 1.0
        self.ramp_at = -1  #: ramp step the world has heard of
        self.ramp_from = 0.0
        self.passed: set[str] = set()  #: since the last change of size
        self.closed = False

    # ------------------------------------------------------------ the world

    def step(self, event: Event) -> list[Effect]:
        kept = msgspec.json.decode(msgspec.json.encode(self.case.record()), type=CaseRecord)
        shadow = RecoveryCase.resume(kept, self.spec, self.now, self.source)
        effects, refused = self.taken(self.case, event)
        same, refused_too = self.taken(shadow, event)
        assert str(refused) == str(refused_too)
        assert same == effects, "a case that was kept and gone on with behaves the same"
        assert msgspec.json.encode(shadow.record()) == msgspec.json.encode(self.case.record())
        if refused is not None:
            assert isinstance(event, Approved | Rejected)
            assert msgspec.json.encode(kept) == msgspec.json.encode(self.case.record())
            assert (
                not self.held
                or event.id != self.held
                or (isinstance(event, Approved) and event.rung in (Rung.MANUAL, Rung.HOT))
            )
        if self.closed:
            assert effects == []
        self.see(event, effects)
        return effects

    def taken(self, case: RecoveryCase, event: Event) -> tuple[list[Effect], AnswerRefused | None]:
        try:
            return case.step(event, self.now), None
        except AnswerRefused as error:
            return [], error

    def see(self, event: Event, effects: list[Effect]) -> None:
        if isinstance(event, AttemptSucceeded) and effects:
            self.in_hand = None
            self.passed = set()
        if isinstance(event, Validated) and effects:
            self.passed = self.passed | {event.step} if event.ok else self.passed - {event.step}
        preserved = False
        for effect in effects:
            match effect:
                case Decided():
                    self.tried, self.in_hand, self.ramp_at = [], None, -1
                case Preserve():
                    preserved = True
                case Abandon():
                    assert preserved, "first what it was is kept"
                case RungFailed(rung, _, following):
                    assert preserved
                    assert following is Rung.MANUAL or following not in self.tried
                    assert following is Rung.MANUAL or following in self.spec.ladder
                    self.in_hand, self.ramp_at = None, -1
                case Hold(id, _, proposed):
                    assert not self.held
                    assert id not in self.holds
                    assert proposed is not Rung.MANUAL
                    assert self.in_hand is None, "nothing is started while it is held"
                    self.held = id
                    self.holds.append(id)
                case Answered(id, answer, _, _, _):
                    assert id == self.held
                    assert (id, answer) not in self.answered
                    self.answered.add((id, answer))
                    if answer is not Answer.TIMED_OUT:
                        self.held = ""
                case Release(rung):
                    self.tried = [each for each in self.tried if each is not rung]  # a person asked
                case Attempt(rung, _, _, size):
                    assert rung is not Rung.MANUAL
                    assert self.in_hand is None, "at most one attempt in hand"
                    assert not self.held, "nothing while it is held"
                    assert rung not in self.tried, "once for each failure"
                    assert size == self.size == self.case.multiplier
                    self.tried.append(rung)
                    self.in_hand = effect
                case Resize(size, _):
                    self.resized(size)
                case Validate():
                    assert self.in_hand is None, "nothing is checked before it is up"
                    assert not self.held
                    assert self.runs == [] or effect.run > self.runs[-1].run
                    self.runs.append(effect)
                case SetTimer(token, at):
                    self.timers[token] = at
                case CancelTimer(token):
                    assert token in self.timers
                    self.spent.append(token)
                    del self.timers[token]
                case Progressed(progress):
                    self.saw(progress.failure, progress.state, progress.percent)
                    assert progress.eta is None or progress.eta >= 0
                    assert set(progress.done).isdisjoint(progress.left)
                case Drop():
                    assert not self.held
                case Closed():
                    assert effect is effects[-1]
                    self.closed = True
                    assert not self.timers, "no timer outlives it"
                    self.in_hand, self.held = None, ""
                case _:
                    pass
        if self.case.closed:
            assert self.closed

    def resized(self, size: float) -> None:
        if size > self.size and self.spec.ramp is not None and self.is_up():
            steps = self.spec.ramp.steps
            required = {s.name for s in self.spec.validate if s.required and s.phase is not Phase.MEDIUM}
            if self.ramp_at >= 0:
                assert required <= self.passed, "bigger only after what is required has passed again"
                assert self.now >= self.ramp_from + steps[self.ramp_at].lasting - 0.02
            else:
                immediate = {s.name for s in self.spec.validate if s.required and s.phase is Phase.IMMEDIATE}
                assert immediate <= self.passed
        if self.in_hand is None and self.is_up():
            self.ramp_at += 1
            assert self.spec.ramp is not None
            assert size == self.spec.ramp.steps[self.ramp_at].size, "one step after the other"
            self.ramp_from, self.passed = self.now, set()
        self.size = size

    def is_up(self) -> bool:
        return self.case.record().state in (State.RECOVERED, State.HEALTHY)

    def saw(self, failure: str, state: State, percent: float) -> None:
        if state is not self.state:
            assert state in EDGES[self.state], f"{self.state} -> {state}"
            self.state = state
        if failure != self.about:
            self.about, self.percent = failure, 0.0
        assert 0.0 <= percent <= 100.0
        assert percent >= self.percent, "the percent never falls within one recovery"
        self.percent = percent

    # ------------------------------------------------------------ what happens

    @rule(source=SOURCES, life=st.integers(-1, 2), late=st.sampled_from([None, 0.0, 1.0]))
    def failure(self, source: Known, life: int, late: float | None) -> None:
        self.incarnation = max(1, self.incarnation + life)
        at = None if late is None else self.now - late
        self.source = source
        # what is dropped keeps the case's old source; the shadow must have the same
        dropped = self.incarnation <= self.case.record().failed_life
        if dropped:
            self.source = self.kept_source
        self.failures += 1
        event = FailureSeen(f"{PATH}#{self.failures}", self.incarnation, crash("x"), source, at)
        self.step(event)
        self.kept_source = self.source

    kept_source: Known = Known()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(50):
            due = sorted((at, token) for token, at in self.timers.items() if at <= self.now)
            if not due:
                break
            self.fire(due[0][1])

    def fire(self, token: int) -> None:
        del self.timers[token]
        self.spent.append(token)
        self.step(TimerFired(token))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def a_timer_comes(self, data: st.DataObject) -> None:
        """On time, or before it."""
        token = data.draw(st.sampled_from(sorted(self.timers)))
        if data.draw(st.booleans()):
            self.now = max(self.now, self.timers[token])
        self.fire(token)

    @precondition(lambda self: self.spent)
    @rule(data=st.data())
    def a_timer_comes_late(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.spent))
        if token not in self.timers:
            assert self.step(TimerFired(token)) == []

    @rule(rung=RUNGS, number=st.integers(0, 3), told=st.booleans())
    def any_success(self, rung: Rung, number: int, told: bool) -> None:
        self.step(AttemptSucceeded(rung, self.incarnation + 1 if told else 0, number))

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def success(self) -> None:
        assert self.in_hand is not None
        self.incarnation += 1
        self.step(AttemptSucceeded(self.in_hand.rung, self.incarnation, self.in_hand.number))

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def no_success(self) -> None:
        assert self.in_hand is not None
        self.step(AttemptFailed(self.in_hand.rung, "no", self.in_hand.number))

    @rule(rung=RUNGS, number=st.integers(0, 3))
    def any_failed_attempt(self, rung: Rung, number: int) -> None:
        self.step(AttemptFailed(rung, "no", number))

    @rule(
        event=st.sampled_from(
            [StepDone("fence", 0.1), StepDone("restore", 2.0), StepDone("ramp:1", 1.0), AttemptBegun(), AttemptBegun(2)]
        )
    )
    def from_inside(self, event: Event) -> None:
        self.step(event)

    @precondition(lambda self: self.held)
    @rule(rung=st.sampled_from([None, *Rung]), who=st.sampled_from(["ann", "bob"]))
    def approve(self, rung: Rung | None, who: str) -> None:
        self.step(Approved(self.held, who, "fine", rung))

    @precondition(lambda self: self.held)
    @rule(really=st.integers(0, 9))
    def reject(self, really: int) -> None:
        if really == 0:
            self.step(Rejected(self.held, "bob", "no"))

    @rule(data=st.data(), approve=st.booleans())
    def any_answer(self, data: st.DataObject, approve: bool) -> None:
        old = [hold for hold in self.holds if hold != self.held]
        hold = data.draw(st.sampled_from([*old, "unknown", ""]))
        assert self.step(Approved(hold, "eve") if approve else Rejected(hold, "eve")) == []

    @precondition(lambda self: self.runs)
    @rule(ok=st.sampled_from([True, True, False]))
    def check_answers(self, ok: bool) -> None:
        self.step(Validated(self.runs[-1].step.name, ok, "w", self.runs[-1].run))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), ok=st.booleans())
    def any_check(self, data: st.DataObject, ok: bool) -> None:
        name = data.draw(st.sampled_from(["a", "b", "c", "d", "e"]))
        self.step(Validated(name, ok, "w", data.draw(st.integers(0, self.runs[-1].run))))

    @rule(really=st.integers(0, 19))
    def withdrawn(self, really: int) -> None:
        if really == 0:
            self.step(Withdrawn("stopped"))

    @rule(steps=st.integers(1, 8), bad=st.sampled_from([0, 0, 0, 1, 2, 3]))
    def go_on(self, steps: int, bad: int) -> None:
        """What comes next in the ordinary course of things, so that runs get far; check number ``bad`` fails."""
        checks = 0
        for _ in range(steps):
            if self.held:
                self.step(Approved(self.held, "ann", "fine"))
            elif self.in_hand is not None:
                self.success()
            elif self.case.record().running_at is not None:
                checks += 1
                self.check_answers(checks != bad)
            elif self.timers:
                token = min(self.timers, key=lambda token: self.timers[token])
                self.now = max(self.now, self.timers[token])
                self.fire(token)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def the_case_says_the_same(self) -> None:
        if not hasattr(self, "case"):
            return
        record = self.case.record()
        assert self.case.hold_id == self.held
        assert (self.case.attempting is None) == (self.in_hand is None)
        assert {timer.token for timer in record.timers.values()} == set(self.timers)
        assert self.case.multiplier == self.size
        belong = {
            State.RECOVERY_IN_PROGRESS: {"attempt", "rto", "far"},
            State.VALIDATING: {"answer", "pause", "rto", "far"},
            State.RECOVERED: {"answer", "pause", "retry", "ramp", "watch"},
            State.MANUAL_RECOVERY: {"hold", "rto", "far"},
        }
        assert set(record.timers) <= belong.get(record.state, set()), "no timer outlives what it is for"
        if not self.closed:
            assert (record.state is State.MANUAL_RECOVERY) == bool(self.held), "manual never without a hold"
            assert record.state not in (State.FAILURE_DETECTED, State.RECOVERY_FAILED), "nobody stays there"

    @invariant()
    def looking_changes_nothing_and_never_shows_less(self) -> None:
        if not hasattr(self, "case"):
            return
        before = msgspec.json.encode(self.case.record())
        progress = self.case.progress(self.now)
        assert msgspec.json.encode(self.case.record()) == before
        if self.about and progress.failure == self.about:
            assert progress.percent >= self.percent
            self.percent = progress.percent
        if not self.closed:
            RecoveryCase.resume(self.case.record(), self.spec, self.now).resumed(self.now)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)

CONDITIONS = st.builds(
    Rule,
    when=st.sampled_from(list(Condition)),
    then=RUNGS,
    max_lag=st.sampled_from([0.0, 1.0]),
    max_age=st.sampled_from([0.0, 300.0]),
    at_least=st.integers(0, 3),
)
RULES = st.one_of(st.lists(CONDITIONS, max_size=6).map(tuple), st.permutations(DEFAULT_RULES).map(tuple))


@settings(max_examples=300, deadline=None)
@given(rules=RULES, ladder=LADDERS, standbys=st.integers(0, 2), source=SOURCES)
def test_a_decision_is_the_first_rule_that_holds(
    rules: tuple[Rule, ...], ladder: tuple[Rung, ...], standbys: int, source: Known
) -> None:
    spec = RecoverySpec(rules=rules, ladder=ladder, standbys=standbys)
    decision = decide(spec, source, 0.0)
    held = [checked.held for checked in decision.trace]
    assert True not in held[:-1]
    assert len(source.asked) <= len(decision.trace)
    assert [checked.when for checked in decision.trace] == [rule.when for rule in rules[: len(held)]]
    if held and held[-1]:
        assert decision.rung is decision.trace[-1].then
    else:
        assert len(held) == len(rules)
        assert decision.rung is (Rung.COLD if Rung.COLD in ladder else Rung.MANUAL)
    assert decision.rung is Rung.MANUAL or decision.rung in ladder
    assert decision.rung is not Rung.HOT or standbys
    assert "\n" not in decision.because
    assert len(msgspec.json.decode(decision.to_json())) == len(decision.trace)
