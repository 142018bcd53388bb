"""REC-1: every row of the table, every order of the rules, every bound, and no question too many."""

import json
from itertools import permutations, product

import pytest

from supervisors.core.errors import StoreUnavailable
from supervisors.recovery.decision import decide, impossible
from supervisors.recovery.evidence import StandbyEvidence, UnknownEvidence, VolatilityEvidence
from supervisors.recovery.policy import (
    DEFAULT_RULES,
    ApprovalSpec,
    Condition,
    FailureClass,
    MarketHours,
    RecoverySpec,
    Rule,
    Rung,
)
from tests.unit.recovery.support import Known

SPEC = RecoverySpec(standbys=1)
ANSWERS = {
    Condition.STANDBY_SYNCED: "standby",
    Condition.CHECKPOINT_FRESH: "checkpoint",
    Condition.FAILURE_CLASS: "failure",
    Condition.CORRUPTION_SUSPECTED: "corruption",
    Condition.FAILED_RECOVERIES: "failed_recoveries",
    Condition.VOLATILITY: "volatility",
    Condition.FAILURES_AT_ONCE: "failures_at_once",
    Condition.MARKET_OPEN: "market_open",
    Condition.RTO_LEFT: "rto_left",
}


def situation(standby: bool, checkpoint: bool, corrupt: bool, failed: bool, volatile: bool) -> Known:
    return Known(
        synced=standby,
        valid=checkpoint,
        age=10.0,
        suspected=corrupt,
        failed=3 if failed else 2,
        ratio=2.5 if volatile else 1.0,
    )


HOLDS = {
    Condition.STANDBY_SYNCED: 0,
    Condition.CHECKPOINT_FRESH: 1,
    Condition.CORRUPTION_SUSPECTED: 2,
    Condition.FAILED_RECOVERIES: 3,
    Condition.VOLATILITY: 4,
}


@pytest.mark.parametrize("facts", list(product([True, False], repeat=5)))
def test_every_row_of_the_default_table(facts: tuple[bool, bool, bool, bool, bool]) -> None:
    standby, checkpoint, *dangers = facts
    expected = Rung.HOT if standby else Rung.WARM if checkpoint else Rung.MANUAL if any(dangers) else Rung.COLD
    assert decide(SPEC, situation(*facts), 5.0).rung is expected


def test_the_first_that_holds_decides_in_every_order_of_the_rules() -> None:
    every = list(product([True, False], repeat=5))
    for rules in permutations(DEFAULT_RULES):
        spec = RecoverySpec(standbys=1, rules=rules)
        for facts in every:
            source = situation(*facts)
            decision = decide(spec, source, 0.0)
            index = next(n for n, rule in enumerate(rules) if rule.when is Condition.ALWAYS or facts[HOLDS[rule.when]])
            assert decision.rung is rules[index].then
            assert [checked.when for checked in decision.trace] == [rule.when for rule in rules[: index + 1]]
            assert [checked.held for checked in decision.trace] == [False] * index + [True]
            # nothing beyond the rule that decided was asked for
            needed = [ANSWERS[rule.when] for rule in rules[: index + 1] if rule.when is not Condition.ALWAYS]
            assert source.asked == needed


BOUNDS: list[tuple[Rule, str, dict[float, bool]]] = [
    (Rule(Condition.STANDBY_SYNCED, Rung.HOT, max_lag=1.0), "lag", {0.999: True, 1.0: True, 1.001: False}),
    (Rule(Condition.CHECKPOINT_FRESH, Rung.WARM, max_age=300.0), "age", {299.9: True, 300.0: False, 300.1: False}),
    (Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, at_least=3), "failed", {2: False, 3: True, 4: True}),
    (Rule(Condition.VOLATILITY, Rung.MANUAL, above=2.0), "ratio", {1.99: False, 2.0: False, 2.01: True}),
    (Rule(Condition.FAILURES_AT_ONCE, Rung.MANUAL, at_least=3), "at_once", {2: False, 3: True, 4: True}),
    (Rule(Condition.RTO_LEFT, Rung.HOT, below=1.5), "left", {1.49: True, 1.5: False, 1.51: False, -3.0: True}),
]


@pytest.mark.parametrize(
    ("rule", "name", "value", "holds"),
    [(rule, name, value, holds) for rule, name, cases in BOUNDS for value, holds in cases.items()],
)
def test_bounds(rule: Rule, name: str, value: float, holds: bool) -> None:
    source = Known(**{"synced": True, "valid": True, name: value})  # type: ignore[arg-type]
    decision = decide(RecoverySpec(standbys=1, rules=(rule,)), source, 0.0)
    assert decision.trace[0].held is holds
    assert decision.rung is (rule.then if holds else Rung.COLD)


UNKNOWN = [
    (Condition.STANDBY_SYNCED, {"synced": None}),
    (Condition.STANDBY_SYNCED, {"synced": True, "lag": None}),
    (Condition.STANDBY_SYNCED, {"synced": True, "lag": float("nan")}),
    (Condition.CHECKPOINT_FRESH, {"valid": None}),
    (Condition.CHECKPOINT_FRESH, {"valid": True, "age": None}),
    (Condition.CHECKPOINT_FRESH, {"valid": True, "age": float("nan")}),
    (Condition.FAILURE_CLASS, {"kind": None}),
    (Condition.CORRUPTION_SUSPECTED, {"suspected": None}),
    (Condition.FAILED_RECOVERIES, {"failed": None}),
    (Condition.VOLATILITY, {"ratio": None}),
    (Condition.VOLATILITY, {"ratio": float("nan")}),
    (Condition.FAILURES_AT_ONCE, {"at_once": None}),
    (Condition.MARKET_OPEN, {"market": None}),
    (Condition.RTO_LEFT, {"left": None}),
]
HOURS = ApprovalSpec(market_hours=MarketHours())


@pytest.mark.parametrize(("when", "facts"), UNKNOWN)
def test_what_is_not_known_never_holds(when: Condition, facts: dict[str, float | None]) -> None:
    rule = Rule(when, Rung.MANUAL, classes=tuple(FailureClass), below=1e9, above=-1.0, at_least=0)
    decision = decide(RecoverySpec(rules=(rule,), approval=HOURS), Known(**facts), 0.0)  # type: ignore[arg-type]
    assert decision.trace[0].held is None
    assert decision.rung is Rung.COLD


def test_conditions_of_yes_and_no() -> None:
    def held(rule: Rule, source: Known) -> bool | None:
        return decide(RecoverySpec(rules=(rule,), approval=HOURS), source, 0.0).trace[0].held

    assert held(Rule(Condition.MARKET_OPEN, Rung.MANUAL), Known(market=True)) is True
    assert held(Rule(Condition.MARKET_OPEN, Rung.MANUAL), Known(market=False)) is False
    classes = Rule(Condition.FAILURE_CLASS, Rung.MANUAL, classes=(FailureClass.NODE, FailureClass.OOM))
    assert held(classes, Known(kind=FailureClass.OOM)) is True
    assert held(classes, Known(kind=FailureClass.HUNG)) is False
    assert held(Rule(Condition.FAILURE_CLASS, Rung.MANUAL), Known(kind=FailureClass.HUNG)) is False
    assert held(Rule(Condition.CHECKPOINT_FRESH, Rung.WARM), Known(valid=False, age=1.0)) is False
    assert held(Rule(Condition.ALWAYS, Rung.COLD), Known()) is True


def test_a_market_without_hours_is_not_asked_for() -> None:
    source = Known(market=True)
    decision = decide(RecoverySpec(rules=(Rule(Condition.MARKET_OPEN, Rung.MANUAL),)), source, 0.0)
    assert decision.trace[0].held is None
    assert "no market hours" in decision.trace[0].why
    assert source.asked == []


def test_a_rung_that_is_not_on_the_ladder_is_passed_over_and_nothing_is_asked() -> None:
    source = Known(synced=True, valid=True, age=1.0)
    decision = decide(RecoverySpec(standbys=1, ladder=(Rung.WARM,)), source, 0.0)
    assert decision.rung is Rung.WARM
    assert (decision.trace[0].held, decision.trace[0].why) == (None, "hot is not on the ladder")
    assert source.asked == ["checkpoint"]


def test_hot_is_passed_over_without_standbys() -> None:
    source = Known(synced=True)
    decision = decide(RecoverySpec(standbys=0), source, 0.0)
    assert decision.rung is Rung.COLD
    assert decision.trace[0].why == "no standby is kept"
    assert "standby" not in source.asked


def test_nothing_holds() -> None:
    never = (Rule(Condition.CORRUPTION_SUSPECTED, Rung.WARM),)
    assert decide(RecoverySpec(rules=never), Known(), 0.0).rung is Rung.COLD
    assert decide(RecoverySpec(rules=()), Known(), 0.0).rung is Rung.COLD
    no_cold = decide(RecoverySpec(rules=never, ladder=(Rung.HOT, Rung.WARM)), Known(), 0.0)
    assert no_cold.rung is Rung.MANUAL
    assert no_cold.because == "no rule held and cold is not on the ladder"
    # the default rules end with cold: passed over where it is not on the ladder
    passed = decide(RecoverySpec(ladder=(Rung.WARM,)), Known(), 0.0)
    assert passed.rung is Rung.MANUAL
    assert passed.trace[-1].why == "cold is not on the ladder"


def test_manual_needs_no_place_on_the_ladder() -> None:
    assert impossible(RecoverySpec(ladder=()), Rung.MANUAL) == ""
    assert decide(RecoverySpec(ladder=()), Known(suspected=True), 0.0).rung is Rung.MANUAL


def test_one_question_for_two_rules_and_the_same_answer() -> None:
    rules = (
        Rule(Condition.STANDBY_SYNCED, Rung.HOT, max_lag=0.1),
        Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, within=60.0),
        Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, within=600.0),
        Rule(Condition.STANDBY_SYNCED, Rung.HOT, max_lag=5.0),
    )
    source = Known(synced=True, lag=2.0)
    decision = decide(RecoverySpec(standbys=1, rules=rules), source, 0.0)
    assert decision.rung is Rung.HOT
    assert source.asked == ["standby", "failed_recoveries", "failed_recoveries"]
    assert source.within == [60.0, 600.0]


class Broken(UnknownEvidence):
    def standby(self) -> StandbyEvidence:
        raise OSError(5, "disk gone")

    def volatility(self) -> VolatilityEvidence:
        raise StoreUnavailable("store is away")


def test_evidence_that_fails_for_reasons_of_the_outside_is_not_known() -> None:
    decision = decide(SPEC, Broken(), 0.0)
    assert decision.rung is Rung.COLD
    by_condition = {checked.when: checked for checked in decision.trace}
    assert by_condition[Condition.STANDBY_SYNCED].held is None
    assert "disk gone" in by_condition[Condition.STANDBY_SYNCED].why
    assert "store is away" in by_condition[Condition.VOLATILITY].why


def test_the_trace_turns_into_compact_json() -> None:
    decision = decide(RecoverySpec(), Known(valid=True, age=12.5), 3.0)
    rows = json.loads(decision.to_json())
    assert rows == [
        {"when": "standby_synced", "then": "hot", "held": None, "why": "no standby is kept"},
        {
            "when": "checkpoint_fresh",
            "then": "warm",
            "held": True,
            "saw": {"valid": True, "age": 12.5, "sequence": 7},
            "bound": {"max_age": 300.0},
        },
    ]
    assert " " not in decision.to_json().replace("no standby is kept", "")
    assert decision.because == "checkpoint_fresh: valid yes, age 12.5, sequence 7 (max_age 300)"
    assert "\n" not in decision.because
    assert decision.at == 3.0


def test_what_is_no_number_still_turns_into_json() -> None:
    decision = decide(SPEC, Known(synced=True, lag=float("nan"), ratio=float("nan")), 0.0)
    assert json.loads(decision.to_json())[0]["saw"]["lag"] is None
