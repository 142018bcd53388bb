"""The holder of a lease, step by step; the rules for its times (STA-4)."""

import math

import pytest

from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.state.lease import (
    MAX_SKEW,
    AskPeers,
    Granted,
    HolderState,
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

SPEC = LeaseSpec()  # renew 1, expire 5, margin 1: acts for 4 s after the sending
PEERS = LeaseSpec(on_store_loss=StoreLoss.CONTINUE)


def holding(spec: LeaseSpec = SPEC) -> LeaseHolder:
    machine = LeaseHolder(spec, 0.0)
    assert machine.step(Granted(7, 0.0), 0.0) == []
    return machine


# ---------------------------------------------------------------- the times


def test_the_default_times_pass_and_how_much_they_stand() -> None:
    assert check_timing(SPEC.renew, SPEC.expire, SPEC.margin) == ""
    assert check_timing(1.0, 5.0, 1.0, skew=1 / 9 - 1e-9) == ""
    assert "margin 1 s is too short" in check_timing(1.0, 5.0, 1.0, skew=1 / 9 + 1e-6)
    assert MAX_SKEW > 83_333e-6


@pytest.mark.parametrize(
    ("renew", "expire", "margin", "says"),
    [
        (1.0, 5.0, 0.769, "margin"),
        (1.0, 5.0, 0.0, "at least 0.769 s"),
        (2.1, 5.0, 1.0, "at most 2 s"),
        (5.0, 5.0, 1.0, "renew 5 s is too long"),
        (1.0, 5.0, 5.0, "renew"),
        (1.0, 5.0, 6.0, "renew"),
        (0.0, 5.0, 1.0, "more than 0"),
        (1.0, 0.0, 1.0, "more than 0"),
        (1.0, 5.0, -1.0, "more than 0"),
    ],
)
def test_times_that_are_not_safe_are_named(renew: float, expire: float, margin: float, says: str) -> None:
    assert says in check_timing(renew, expire, margin)


def test_times_at_the_bounds_pass() -> None:
    assert check_timing(2.0, 5.0, 1.0) == ""
    assert check_timing(1.0, 5.0, 0.77) == ""
    assert check_timing(0.02, 0.1, 0.02) == ""


def test_who_may_take_it() -> None:
    assert may_take("", "b", "", over=False)
    assert may_take("b", "b", "", over=False)
    assert may_take("a", "b", "a", over=False)
    assert may_take("a", "b", "", over=True)
    assert not may_take("a", "b", "", over=False)
    assert not may_take("a", "b", "c", over=False)


def test_tokens_grow() -> None:
    assert [next_token(0, 0), next_token(7, 0), next_token(7, 8), next_token(7, 100)] == [1, 8, 8, 100]


# ---------------------------------------------------------------- holding


def test_it_may_act_for_expire_less_margin_from_the_sending() -> None:
    machine = LeaseHolder(SPEC, 10.0)
    assert not machine.may_act(10.0)
    machine.step(Granted(7, 10.0), 12.5)
    assert (machine.state, machine.token) == (HolderState.HOLDING, 7)
    assert machine.may_act(13.999)
    assert not machine.may_act(14.0)


def test_it_renews_each_second_and_lives_on() -> None:
    machine = holding()
    for second in range(1, 50):
        assert machine.wake_at == second
        assert machine.step(Ticked(), float(second)) == [Renew(float(second))]
        assert machine.step(Ticked(), second + 0.1) == []
        assert machine.step(Renewed(float(second)), second + 0.2) == []
        assert machine.until == second + 4


def test_nothing_is_asked_while_an_answer_is_awaited() -> None:
    machine = holding()
    assert machine.step(Ticked(), 1.0) == [Renew(1.0)]
    assert machine.step(Ticked(), 1.9) == []
    assert machine.step(Ticked(), 2.0) == [StoreDown("no answer for 1 s")]
    assert machine.step(Ticked(), 3.9) == []
    assert machine.step(Renewed(1.0), 4.0 - 1 / 16) == [StoreBack(2.0 - 1 / 16), Renew(4.0 - 1 / 16)]
    assert machine.until == 5.0


def test_an_old_answer_never_shortens_and_a_repeated_one_does_nothing() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    machine.step(Renewed(1.0), 1.1)
    machine.step(Ticked(), 2.0)
    machine.step(Renewed(2.0), 2.1)
    for old in (Renewed(1.0), Granted(7, 0.0), Renewed(2.0), StoreFailed(1.0, "late")):
        assert machine.step(old, 2.2) == []
    assert machine.until == 6.0
    assert machine.wake_at == 3.0


def test_it_ends_at_the_deadline_once_and_for_good() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    assert machine.step(Ticked(), 4.0) == [StopActing("the lease ran out: not renewed in time")]
    assert machine.state is HolderState.LOST
    assert machine.wake_at == math.inf
    for event in (Renewed(3.9), Granted(9, 4.0), Ticked(), Refused("x"), StoreFailed(1.0, "x"), PeersSaid(True, 4.0)):
        assert machine.step(event, 4.1) == []
        assert not machine.may_act(4.1)


def test_an_answer_that_comes_after_the_deadline_comes_too_late() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    assert isinstance(machine.step(Renewed(1.0), 4.5)[0], StopActing)
    late = LeaseHolder(SPEC, 0.0)
    assert isinstance(late.step(Granted(1, -10.0), 0.5)[0], StopActing)
    assert not late.may_act(0.5)


def test_a_refusal_ends_it_at_once() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    assert machine.step(Refused("somebody else"), 1.1) == [StopActing("somebody else")]
    assert not machine.may_act(1.1)


def test_what_was_never_confirmed_ends_too() -> None:
    machine = LeaseHolder(SPEC, 0.0)
    assert machine.step(Ticked(), 0.0) == [Renew(0.0)]
    machine.step(StoreFailed(0.0, "down"), 0.5)
    assert not machine.may_act(0.5)
    machine.step(Ticked(), 3.0)
    assert machine.step(Ticked(), 4.0) == [StopActing("the lease was never confirmed")]


# ---------------------------------------------------------------- the store is lost


def test_down_and_back_are_told_once_each() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    assert machine.step(StoreFailed(1.0, "refused"), 1.1) == [StoreDown("refused")]
    assert machine.wake_at == pytest.approx(1.35)
    assert machine.step(Ticked(), 1.35) == [Renew(1.35)]
    assert machine.step(StoreFailed(1.35, "refused"), 1.4) == []
    assert machine.step(Ticked(), 2.0) == [Renew(2.0)]
    assert machine.step(Renewed(2.0), 2.1) == [StoreBack(1.0)]
    assert machine.wake_at == 3.0
    machine.step(Ticked(), 3.0)
    assert machine.step(StoreFailed(3.0, "again"), 3.1) == [StoreDown("again")]


def test_with_hold_acting_ends_at_the_deadline() -> None:
    machine = holding()
    machine.step(Ticked(), 1.0)
    machine.step(StoreFailed(1.0, "down"), 1.1)
    assert machine.step(PeersSaid(True, 3.9), 3.9) == [Renew(3.9)]  # nobody was asked
    assert machine.until == 4.0
    assert machine.step(Ticked(), 4.0) == [StopActing("the lease ran out: the store does not answer")]


def down_with_peers() -> LeaseHolder:
    machine = holding(PEERS)
    machine.step(Ticked(), 1.0)
    assert machine.step(StoreFailed(1.0, "down"), 1.1) == [StoreDown("down"), AskPeers()]
    return machine


def test_with_peers_acting_goes_on_while_they_agree() -> None:
    machine = down_with_peers()
    now = 1.1
    while now < 60:
        effects = machine.step(PeersSaid(True, now), now)
        assert machine.may_act(now)
        assert machine.until == max(4.0, now + 1.0)
        now = max(now + 0.001, machine.wake_at)
        effects = machine.step(Ticked(), now)
        assert StopActing not in map(type, effects)
        machine.step(StoreFailed(now, "down"), now)
    assert machine.step(PeersSaid(False, now), now) == [
        StopActing("the lease ran out: the store does not answer, and not all peers agree")
    ]


def test_peers_that_do_not_agree_end_it_at_the_deadline_only() -> None:
    machine = down_with_peers()
    machine.step(PeersSaid(False, 1.1), 1.1)
    assert machine.may_act(3.9)
    assert isinstance(machine.step(Ticked(), 4.0)[0], StopActing)


def test_peers_that_say_nothing_any_more_end_it_after_a_second() -> None:
    machine = down_with_peers()
    machine.step(PeersSaid(True, 3.8), 3.8)
    assert machine.may_act(4.79)
    assert not machine.may_act(4.8)
    assert isinstance(machine.step(Ticked(), 4.8)[0], StopActing)


def test_the_store_is_believed_before_the_peers() -> None:
    machine = down_with_peers()
    machine.step(PeersSaid(True, 3.8), 3.8)
    assert machine.step(Refused("taken"), 4.2) == [StopActing("taken")]
    back = down_with_peers()
    back.step(PeersSaid(True, 3.9), 3.9)
    assert isinstance(back.step(Renewed(1.0), 3.95)[0], StoreBack)
    assert back.until == 5.0  # not what the peers said
    assert back.step(Ticked(), 4.0) == []


def test_peers_are_not_asked_while_the_store_answers() -> None:
    machine = holding(PEERS)
    machine.step(PeersSaid(True, 0.0), 0.5)
    for second in range(1, 5):
        assert machine.step(Ticked(), float(second)) == [Renew(float(second))]
        assert machine.step(Renewed(float(second)), second + 0.1) == []
    assert machine.until == 8.0
