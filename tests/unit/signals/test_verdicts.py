import time

import pytest

from supervisors.signals.verdicts import Change, Evidence, HeartbeatRule, PeerVerdict, Signal, Verdict

RULE = HeartbeatRule()


class Peer:
    """A verdict with a clock, ticked each 25 ms."""

    def __init__(self, local: bool = True, rule: HeartbeatRule = RULE, starting: bool = False) -> None:
        self.now = 100.0
        self.verdict = PeerVerdict(rule, self.now, local, starting)
        self.evidence = Evidence.SLEEPING
        self.asked = 0
        self.progress = 0
        self.changes: list[Change] = []

    def look(self) -> Evidence:
        self.asked += 1
        return self.evidence

    def keep(self, change: Change | None) -> Change | None:
        if change is not None:
            self.changes.append(change)
        return change

    def beat(self, advance: bool = True) -> Change | None:
        self.progress += advance
        return self.keep(self.verdict.beat(self.now, self.progress))

    def tick(self, lag: float = 0.0) -> Change | None:
        return self.keep(self.verdict.tick(self.now, lag, self.look))

    def notice(self, signal: Signal) -> Change | None:
        return self.keep(self.verdict.notice(signal, self.now))

    def silence(self, seconds: float, lag: float = 0.0) -> list[Change]:
        """Ticks only; the changes they made."""
        before = len(self.changes)
        for _ in range(round(seconds / 0.025)):
            self.now += 0.025
            self.tick(lag)
        return self.changes[before:]

    def live(self, seconds: float, advance: bool = True) -> list[Change]:
        before = len(self.changes)
        for step in range(round(seconds / 0.025)):
            self.now += 0.025
            if step % 4 == 3:
                self.beat(advance)
            self.tick()
        return self.changes[before:]

    def told(self) -> list[Verdict]:
        return [change.verdict for change in self.changes]


def test_a_peer_that_beats_is_healthy_and_never_looked_into() -> None:
    peer = Peer()
    assert peer.live(20.0) == []
    assert peer.asked == 0
    assert peer.verdict.verdict is Verdict.HEALTHY
    assert peer.verdict.first_signal is None
    assert peer.verdict.beat_age(peer.now + 0.04) == pytest.approx(0.04)


@pytest.mark.parametrize("evidence", [Evidence.SLEEPING, Evidence.RUNNING, Evidence.STARVED, Evidence.UNKNOWN])
def test_three_missed_beats_make_a_suspect(evidence: Evidence) -> None:
    peer = Peer()
    peer.evidence = evidence
    assert peer.silence(0.275) == []
    (change,) = peer.silence(0.075)
    assert (change.verdict, change.previous, change.signal) == (
        Verdict.SUSPECT,
        Verdict.HEALTHY,
        Signal.MISSED_BEATS,
    )
    assert str(evidence) in change.why
    assert "0.3" in change.why


def test_silence_of_a_local_peer_becomes_a_hang() -> None:
    peer = Peer()
    peer.live(1.0)
    began = peer.now
    suspect, hung = peer.silence(2.2)
    assert (suspect.verdict, hung.verdict) == (Verdict.SUSPECT, Verdict.HUNG)
    assert 2.0 < hung.now - began < 2.1
    assert hung.signal is Signal.MISSED_BEATS
    assert hung.at == suspect.now == suspect.at, "the first signal keeps its time"
    assert hung.previous is Verdict.SUSPECT


def test_a_stopped_process_is_hung_at_once() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.evidence = Evidence.STOPPED
    (change,) = peer.silence(0.35)
    assert change.verdict is Verdict.HUNG
    assert "stopped" in change.why
    peer.beat()
    assert peer.verdict.verdict is Verdict.HEALTHY, "it was let go on before anyone acted"


def test_the_worst_stop_is_seen_within_450_ms() -> None:
    """Stopped right after a beat, ticked each 50 ms: the whole bound of the brief, less what a real tick costs."""
    for phase in range(10):
        peer = Peer()
        peer.beat()
        stopped = peer.now
        peer.evidence = Evidence.STOPPED
        peer.now += phase * 0.005
        while not peer.changes:
            peer.now += 0.05
            peer.tick(0.05)
        assert peer.now - stopped <= 0.45


def test_a_process_that_is_gone_is_dead_without_any_notice() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.evidence = Evidence.GONE
    (change,) = peer.silence(0.35)
    assert (change.verdict, change.signal) == (Verdict.DEAD, Signal.MISSED_BEATS)


def test_evidence_that_changes_later_counts() -> None:
    peer = Peer()
    peer.silence(0.4)
    peer.evidence = Evidence.STOPPED
    assert [change.verdict for change in peer.silence(0.1)] == [Verdict.HUNG]
    peer.evidence = Evidence.GONE
    assert [change.verdict for change in peer.silence(0.3)] == [Verdict.DEAD]
    assert peer.changes[-1].signal is Signal.MISSED_BEATS


def test_evidence_is_not_asked_at_each_tick() -> None:
    peer = Peer()
    peer.silence(0.3)
    for _ in range(1000):
        peer.now += 0.001
        peer.tick()
    assert 15 <= peer.asked <= 21


def test_a_starved_process_gets_three_times_as_long() -> None:
    peer = Peer()
    peer.evidence = Evidence.STARVED
    assert [change.verdict for change in peer.silence(5.9)] == [Verdict.SUSPECT]
    assert [change.verdict for change in peer.silence(0.3)] == [Verdict.HUNG]


def test_a_starved_process_that_starves_no_more_hangs() -> None:
    peer = Peer()
    peer.evidence = Evidence.STARVED
    peer.silence(3.0)
    peer.evidence = Evidence.SLEEPING
    assert [change.verdict for change in peer.silence(0.1)] == [Verdict.HUNG]


@pytest.mark.parametrize("evidence", [Evidence.RUNNING, Evidence.SLEEPING, Evidence.STARVED, Evidence.UNKNOWN])
def test_who_starts_may_be_silent_for_as_long_as_an_import_holds_the_interpreter(evidence: Evidence) -> None:
    peer = Peer(starting=True)
    peer.evidence = evidence
    assert [change.verdict for change in peer.silence(19.9)] == [Verdict.SUSPECT]
    (hung,) = peer.silence(0.3)
    assert hung.verdict is Verdict.HUNG, "also where start_timeout is infinity"
    assert "0.3/20 s" in hung.why


@pytest.mark.parametrize(("evidence", "verdict"), [(Evidence.STOPPED, Verdict.HUNG), (Evidence.GONE, Verdict.DEAD)])
def test_a_start_hides_neither_a_stop_nor_an_end(evidence: Evidence, verdict: Verdict) -> None:
    peer = Peer(starting=True)
    peer.evidence = evidence
    assert [change.verdict for change in peer.silence(0.35)] == [verdict]


def test_a_loop_may_stand_still_in_a_start_and_its_time_begins_anew_after_it() -> None:
    peer = Peer(starting=True)
    assert peer.live(19.5, advance=False) == []
    peer.verdict.started(peer.now)
    assert peer.live(1.5, advance=False) == []
    (change,) = peer.live(1.0, advance=False)
    assert (change.verdict, change.signal) == (Verdict.HUNG, Signal.STALLED_LOOP)


def test_the_word_that_it_started_is_a_sign_of_life() -> None:
    peer = Peer(starting=True)
    peer.silence(5.0)
    peer.verdict.started(peer.now)
    assert peer.silence(1.9) == []
    assert [change.verdict for change in peer.silence(0.3)] == [Verdict.HUNG]


def test_a_standby_that_takes_over_starts_once_more() -> None:
    peer = Peer(starting=True)
    peer.live(1.0)
    peer.verdict.started(peer.now)
    peer.verdict.starts()
    assert [change.verdict for change in peer.silence(10.0)] == [Verdict.SUSPECT]
    peer.beat()
    peer.verdict.started(peer.now)
    assert [change.verdict for change in peer.silence(2.2)] == [Verdict.SUSPECT, Verdict.HUNG]


def test_a_start_that_stands_still_is_a_hang_in_the_end() -> None:
    peer = Peer(starting=True)
    assert [change.verdict for change in peer.live(21.0, advance=False)] == [Verdict.HUNG]


def test_after_its_start_a_peer_has_no_more_time_than_others() -> None:
    peer = Peer(starting=True)
    peer.live(5.0, advance=False)
    peer.verdict.started(peer.now)
    assert [change.verdict for change in peer.silence(2.1)] == [Verdict.SUSPECT, Verdict.HUNG]


def test_a_remote_peer_is_unavailable_and_never_dead_by_silence() -> None:
    peer = Peer(local=False)
    suspect, unavailable = peer.silence(600.0)
    assert (suspect.verdict, unavailable.verdict) == (Verdict.SUSPECT, Verdict.UNAVAILABLE)
    assert 1.0 < unavailable.now - 100.0 < 1.05
    assert peer.asked == 0
    change = peer.beat()
    assert change is not None
    assert (change.verdict, change.previous) == (Verdict.HEALTHY, Verdict.UNAVAILABLE)


@pytest.mark.parametrize("signal", [Signal.EXIT_NOTICE, Signal.FUTEX, Signal.PIDFD, Signal.RAY])
def test_certain_signals_make_dead_at_once_and_for_good(signal: Signal) -> None:
    peer = Peer()
    change = peer.notice(signal)
    assert change is not None
    assert (change.verdict, change.signal, change.at) == (Verdict.DEAD, signal, 100.0)
    assert peer.live(5.0) == []
    assert peer.notice(Signal.RAY) is None
    assert peer.beat() is None
    assert peer.verdict.clear(signal, peer.now) is None
    assert peer.silence(5.0) == []
    assert peer.asked == 0


@pytest.mark.parametrize("signal", [Signal.FUTEX, Signal.PIDFD])
def test_the_kernel_of_this_machine_says_nothing_of_a_remote_peer(signal: Signal) -> None:
    peer = Peer(local=False)
    peer.notice(signal)
    assert peer.told() == [Verdict.SUSPECT]
    peer.live(0.3)
    assert peer.told() == [Verdict.SUSPECT, Verdict.HEALTHY]


@pytest.mark.parametrize("signal", [Signal.SOCKET, Signal.CONNECTION_LOST, Signal.HEALTH, Signal.MISSED_BEATS])
def test_weak_signals_alone_make_a_suspect(signal: Signal) -> None:
    peer = Peer()
    peer.live(1.0)
    peer.notice(signal)
    peer.silence(0.2)
    assert peer.told() == [Verdict.SUSPECT]
    assert peer.asked == 1
    assert peer.verdict.first_signal is signal


def test_a_weak_signal_of_a_process_that_is_gone_is_death_at_the_next_tick() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.notice(Signal.SOCKET)
    peer.beat()  # one that was under way when the process ended
    peer.evidence = Evidence.GONE
    peer.now += 0.025
    peer.tick()
    assert peer.told() == [Verdict.SUSPECT, Verdict.HEALTHY, Verdict.DEAD]
    assert peer.changes[-1].now == peer.now


def test_the_first_signal_stays_through_the_episode() -> None:
    peer = Peer()
    peer.live(1.0)
    first = peer.notice(Signal.CONNECTION_LOST)
    assert first is not None
    peer.silence(2.5)
    peer.notice(Signal.PIDFD)
    assert peer.told() == [Verdict.SUSPECT, Verdict.HUNG, Verdict.DEAD]
    assert {(change.signal, change.at) for change in peer.changes} == {(Signal.CONNECTION_LOST, first.now)}
    assert "pidfd" in peer.changes[-1].why


def test_a_new_episode_has_a_first_signal_of_its_own() -> None:
    peer = Peer()
    peer.silence(0.5)
    healed = peer.beat()
    assert healed is not None
    assert (healed.verdict, healed.signal) == (Verdict.HEALTHY, Signal.MISSED_BEATS)
    assert peer.verdict.first_signal is None
    change = peer.notice(Signal.FUTEX)
    assert change is not None
    assert (change.signal, change.previous) == (Signal.FUTEX, Verdict.HEALTHY)


def test_a_failed_health_check_is_not_healed_by_beats() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.notice(Signal.HEALTH)
    assert peer.live(5.0) == []
    assert peer.verdict.clear(Signal.SOCKET, peer.now) is None
    change = peer.verdict.clear(Signal.HEALTH, peer.now)
    assert change is not None
    assert change.verdict is Verdict.HEALTHY
    assert peer.verdict.clear(Signal.HEALTH, peer.now) is None


def test_an_unhealthy_peer_whose_loop_stands_still_is_hung() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.notice(Signal.HEALTH)
    (change,) = peer.live(2.5, advance=False)
    assert (change.verdict, change.signal) == (Verdict.HUNG, Signal.HEALTH)


def test_a_loop_that_stands_still_is_a_hang() -> None:
    peer = Peer()
    peer.live(1.0)
    began = peer.now
    (change,) = peer.live(3.0, advance=False)
    assert (change.verdict, change.signal) == (Verdict.HUNG, Signal.STALLED_LOOP)
    assert 1.9 < change.now - began < 2.3
    assert peer.asked == 0
    assert peer.live(1.0, advance=False) == [], "beats without progress heal nothing"
    assert [change.verdict for change in peer.live(0.2)] == [Verdict.HEALTHY]


def test_a_hang_told_by_the_host_ends_with_progress() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.notice(Signal.STALLED_LOOP)
    assert peer.told() == [Verdict.HUNG]
    assert peer.live(0.5, advance=False) == []
    assert [change.verdict for change in peer.live(0.2)] == [Verdict.HEALTHY]


def test_only_time_in_which_beats_arrive_counts_as_standing_still() -> None:
    peer = Peer()
    peer.live(1.0)
    for _ in range(4):
        peer.live(0.4, advance=False)
        peer.silence(1.0)  # stopped, or cut off: nothing is known of its loop
    assert Verdict.HUNG not in peer.told()


def test_a_hang_by_silence_heals_though_the_counter_stood_before() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.live(1.0, advance=False)
    peer.silence(2.5)
    assert peer.verdict.verdict is Verdict.HUNG
    change = peer.beat(advance=False)
    assert change is not None
    assert change.verdict is Verdict.HEALTHY


def test_the_observers_lag_widens_each_time_out() -> None:
    """DET-9: an observer that runs 200 ms late gives 200 ms more, everywhere."""
    peer = Peer()
    assert peer.silence(0.475, lag=0.2) == []
    assert [change.verdict for change in peer.silence(0.05, lag=0.2)] == [Verdict.SUSPECT]
    assert peer.silence(1.65, lag=0.2) == []
    assert [change.verdict for change in peer.silence(0.1, lag=0.2)] == [Verdict.HUNG]
    remote = Peer(local=False)
    assert [change.verdict for change in remote.silence(1.175, lag=0.2)] == [Verdict.SUSPECT]
    assert [change.verdict for change in remote.silence(0.05, lag=0.2)] == [Verdict.UNAVAILABLE]


def test_an_observer_that_slept_blames_nobody() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.now += 5.0
    assert peer.tick(lag=5.0) is None
    peer.beat()
    assert peer.live(1.0) == []


def test_lag_is_remembered_a_while_and_then_forgotten() -> None:
    peer = Peer()
    peer.live(1.0)
    peer.tick(lag=0.5)
    peer.live(0.9)
    assert peer.verdict.lag == 0.5
    peer.live(1.2)
    assert peer.verdict.lag == 0.0
    (change,) = peer.silence(0.35)
    assert change.verdict is Verdict.SUSPECT


def test_lag_before_a_long_pause_is_forgotten() -> None:
    peer = Peer()
    peer.tick(lag=0.5)
    peer.now += 10.0
    peer.tick(lag=0.1)
    assert peer.verdict.lag == 0.1


@pytest.mark.parametrize(
    "bad",
    [{"interval": 0.0}, {"interval": -1.0}, {"missed": 0}, {"hang_after": 0.29}, {"unavailable_after": 0.1}],
)
def test_rules_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least"):
        HeartbeatRule(**bad)  # type: ignore[arg-type]


def test_node_level_rule() -> None:
    peer = Peer(local=False, rule=HeartbeatRule(interval=1.0, missed=3, hang_after=10.0, unavailable_after=5.0))
    assert [round(change.now - 100.0, 1) for change in peer.silence(6.0)] == [3.0, 5.0]


def test_a_healthy_tick_is_cheap() -> None:
    """1,000 peers, 50 ticks per second: 2 us each are 10 % of a core; the least of several runs is judged."""
    peer = Peer()

    def run() -> float:
        tick, look, now = peer.verdict.tick, peer.look, peer.now
        before = time.perf_counter()
        for _ in range(10_000):
            tick(now, 0.001, look)
        return (time.perf_counter() - before) / 10_000

    assert min(run() for _ in range(7)) < 2e-6
