"""Time, chance and the digest; clocks, network and processes of the simulation."""

import pytest

from supervisors.simulate.dst.clocks import NodeClock
from supervisors.simulate.dst.kernel import Kernel, RunStuck, derive
from supervisors.simulate.dst.network import Network
from supervisors.simulate.dst.process import Proc


def test_callbacks_of_one_instant_run_in_the_order_they_were_asked_for() -> None:
    kernel, seen = Kernel(0), list[str]()
    kernel.at(2.0, seen.append, "later")
    kernel.at(1.0, seen.append, "first")
    kernel.at(1.0, seen.append, "second")
    kernel.run(3.0)
    assert seen == ["first", "second", "later"]
    assert kernel.now == 3.0


def test_a_run_that_is_halted_stands_where_it_was() -> None:
    kernel, seen = Kernel(0), list[int]()
    for number in range(3):
        kernel.at(float(number), seen.append, number)
    kernel.at(1.5, setattr, kernel, "halted", True)
    kernel.run(9.0)
    assert seen == [0, 1]
    assert kernel.now == 1.5


def test_a_run_that_turns_in_circles_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisors.simulate.dst.kernel.MOST", 100)
    kernel = Kernel(3)

    def again() -> None:
        kernel.after(0.0, again)

    again()
    with pytest.raises(RunStuck, match="seed 3"):
        kernel.run(1.0)


def test_the_digest_tells_time_kind_and_path_apart_and_nothing_else() -> None:
    def digest(at: float, kind: str, path: str, text: str, *, tracing: bool = False) -> int:
        kernel = Kernel(0, tracing=tracing)
        kernel.at(at, kernel.note, kind, path, text)
        kernel.run(9.0)
        return kernel.crc

    one = digest(1.0, "died", "/a", "x")
    assert one == digest(1.0, "died", "/a", "y", tracing=True)
    assert len({one, digest(1.1, "died", "/a", ""), digest(1.0, "acts", "/a", ""), digest(1.0, "died", "/b", "")}) == 4


def test_streams_stand_for_themselves() -> None:
    one, other = Kernel(1), Kernel(1)
    other.stream("faults").random()
    assert one.stream("net", "a").random() == other.stream("net", "a").random()
    assert derive(1, "net", "a") != derive(2, "net", "a") != derive(2, "net", "b")


def test_a_clock_drifts_and_jumps_and_never_goes_back() -> None:
    kernel = Kernel(0)
    clock = NodeClock(kernel, 10.0, 1.0)
    kernel.run(5.0)
    clock.drift(1.1)
    kernel.run(6.0)
    assert clock.now() == pytest.approx(16.1)
    assert clock.when(17.2) == pytest.approx(7.0)
    clock.jump(3.0)
    assert clock.now() == pytest.approx(19.1)


def _network() -> tuple[Kernel, Network, list[str]]:
    kernel = Kernel(5)
    return kernel, Network(kernel, ("a", "b")), []


def test_messages_arrive_in_order_unless_a_fault_mixes_them() -> None:
    kernel, net, seen = _network()
    for number in range(50):
        net.send("a", "b", None, seen.append, f"{number:02}")
    kernel.run(1.0)
    assert seen == sorted(seen)
    assert len(seen) == 50
    net.links["a", "b"].mixed = 1.0
    seen.clear()
    for number in range(50):
        net.send("a", "b", None, seen.append, f"{number:02}")
    kernel.run(2.0)
    assert len(seen) == 50
    assert seen != sorted(seen)


def test_faults_of_messages() -> None:
    kernel, net, seen = _network()
    net.links["a", "b"].loss = 1.0
    net.send("a", "b", None, seen.append, "lost")
    net.links["a", "b"].loss = 0.0
    net.links["a", "b"].doubled = 1.0
    net.send("a", "b", None, seen.append, "twice")
    net.call("a", "b", None, seen.append, "once")
    kernel.run(1.0)
    assert seen == ["twice", "twice", "once"]


def test_a_partition_loses_messages_or_holds_them_until_it_is_over() -> None:
    kernel, net, seen = _network()
    net.cut("a", "b")
    assert not net.reaches("a", "b")
    assert net.reaches("b", "a")
    for number in range(100):
        net.send("a", "b", None, seen.append, str(number))
    kernel.run(1.0)
    assert seen == []
    net.mend("a", "b")
    kernel.run(2.0)
    assert 10 < len(seen) < 60
    assert len(seen) + net.lost == 100


def test_two_partitions_of_one_link_are_over_when_both_are() -> None:
    _, net, _ = _network()
    net.cut("a", "b")
    net.cut("a", "b")
    net.mend("a", "b")
    assert not net.reaches("a", "b")
    net.mend("a", "b")
    assert net.reaches("a", "b")


def test_a_stopped_process_does_everything_when_it_goes_on() -> None:
    proc, seen = Proc(1, "n0", "/a"), list[int]()
    proc.stopped = True
    proc.deliver(seen.append, (1,))
    proc.deliver(seen.append, (2,))
    assert seen == []
    proc.go_on()
    assert seen == [1, 2]


def test_what_it_does_then_may_stop_or_end_it() -> None:
    def stop() -> None:
        proc.stopped = True

    def die() -> None:
        proc.alive = False

    proc, seen = Proc(1, "n0", "/a"), list[int]()
    proc.stopped = True
    for call, args in ((stop, ()), (seen.append, (1,)), (die, ()), (seen.append, (2,))):
        proc.deliver(call, args)
    proc.go_on()
    assert seen == []
    proc.go_on()
    assert seen == [1]
    proc.go_on()
    assert seen == [1]
