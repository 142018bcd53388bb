"""OTP's supervisor on real processes: strategies, limits, orders, starts and stops that take too long."""

import json
import os
import signal
import time

import pytest

from supervisors.core.reasons import ExitKind
from supervisors.signals.messages import Ordered
from supervisors.trail.events import EventKind

from .harness import Running, cli, gone, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


def lives(system: Running, top: str) -> dict[str, int]:
    found = system.supervisor(top)
    assert found is not None
    return {child.id: child.incarnation for child in found.children}


def sequence(system: Running, top: str, since: float, *kinds: EventKind) -> list[tuple[str, str]]:
    """Who, in which order, of the given kinds below ``top``."""
    return [
        (event.kind, event.path.rpartition("/")[2])
        for event in system.trail(since=since)
        if event.kind in kinds and event.path.startswith(f"{top}/")
    ]


# ---------------------------------------------------------------- strategies


def test_one_for_all_stops_in_reverse_and_starts_in_order(healthy: Running) -> None:
    before, old, since = lives(healthy, "/all"), healthy.pids("/all/"), time.monotonic()
    os.kill(old["/all/b"], signal.SIGKILL)
    for path in old:
        healthy.ready(path, before[path.rpartition("/")[2]])
    until(lambda: all(gone(pid) for pid in old.values()), "the old processes are gone")
    assert sequence(healthy, "/all", since, EventKind.CHILD_STOPPED, EventKind.CHILD_READY) == [
        (EventKind.CHILD_STOPPED, "c"),
        (EventKind.CHILD_STOPPED, "a"),
        (EventKind.CHILD_READY, "a"),
        (EventKind.CHILD_READY, "b"),
        (EventKind.CHILD_READY, "c"),
    ]
    assert lives(healthy, "/all") == {child: life + 1 for child, life in before.items()}


def test_rest_for_one_leaves_the_earlier_ones_alone(healthy: Running) -> None:
    before, old, since = lives(healthy, "/rest"), healthy.pids("/rest/"), time.monotonic()
    os.kill(old["/rest/b"], signal.SIGKILL)
    healthy.ready("/rest/b", before["b"])
    healthy.ready("/rest/c", before["c"])
    assert healthy.pids("/rest/")["/rest/a"] == old["/rest/a"]
    assert sequence(healthy, "/rest", since, EventKind.CHILD_STOPPED, EventKind.CHILD_READY) == [
        (EventKind.CHILD_STOPPED, "c"),
        (EventKind.CHILD_READY, "b"),
        (EventKind.CHILD_READY, "c"),
    ]


# ---------------------------------------------------------------- limits


def test_a_supervisor_over_its_intensity_escalates_and_is_restarted_by_its_parent(healthy: Running) -> None:
    pid, since = healthy.supervisor_pid("/weak"), time.monotonic()
    firm = healthy.ready("/weak/firm")
    first = healthy.kill("/weak/frail")
    healthy.ready("/weak/frail", first.incarnation)
    second = healthy.kill("/weak/frail")
    gave_up = until(
        lambda: [e for e in healthy.trail(since=since) if e.kind == EventKind.GAVE_UP and e.writer == "/weak"],
        "/weak gives up",
    )[0]
    assert gave_up.data["why"] == "intensity"
    exited = healthy.event(EventKind.CHILD_EXITED, "/weak", since)
    assert exited.reason is not None
    assert exited.reason.kind is ExitKind.ESCALATED
    assert "frail" in exited.reason.message
    healthy.ready("/weak/frail", second.incarnation)
    healthy.ready("/weak/firm", firm.incarnation)
    assert healthy.supervisor_pid("/weak") != pid
    until(lambda: gone(firm.pid), "its process is gone")


def test_the_end_of_a_significant_child_ends_its_supervisor(healthy: Running) -> None:
    bystander, since = healthy.ready("/team/bystander"), time.monotonic()
    healthy.end("/team/leader", "finish")
    exited = healthy.event(EventKind.CHILD_EXITED, "/team", since)
    assert exited.reason is not None
    assert exited.reason.kind is ExitKind.SHUTDOWN
    until(lambda: gone(bystander.pid), "the bystander is stopped")
    until(lambda: not healthy.is_known("/team"), "a temporary supervisor is forgotten")


# ---------------------------------------------------------------- dynamic children


def order(system: Running, call: str, path: str, config: str = "{}") -> Ordered:
    """Give an order and wait for its answer."""
    top, _, child = path.rpartition("/")
    return system.observer.order(top or "/", call, child, config if call == "start_child" else "")


def by_hand(system: Running, *words: str) -> dict[str, object]:
    """The same on the command line."""
    done = cli("child", *words, "--data-dir", str(system.data_dir), "--json")
    answer: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (1 if answer["error"] else 0), done.stderr
    return answer


def test_dynamic_children_come_and_go(healthy: Running) -> None:
    first = by_hand(healthy, "start", "/pool", "--config", '{"name": "first"}')
    second = by_hand(healthy, "start", "/pool", "--id", "second", "--config", "{}")
    assert second["id"] == "second"
    child = healthy.ready(f"/pool/{first['id']}")
    healthy.kill("/pool/second")
    healthy.ready("/pool/second", 1)
    assert healthy.ready(f"/pool/{first['id']}").pid == child.pid
    assert by_hand(healthy, "start", "/pool", "--id", "second")["error"] == "already_started"
    for name in (first["id"], "second"):
        assert not by_hand(healthy, "stop", f"/pool/{name}")["error"]
    assert healthy.pids("/pool/") == {}
    assert by_hand(healthy, "stop", "/pool/second")["error"] == "not_found"


def test_max_children_and_bad_config(healthy: Running) -> None:
    started = [order(healthy, "start_child", "/pool/") for _ in range(4)]
    assert [answer.error for answer in started] == [""] * 4
    names = [answer.id for answer in started]
    assert order(healthy, "start_child", "/pool/").error
    assert len(healthy.pids("/pool/")) == 4
    for name in names:
        order(healthy, "terminate_child", f"/pool/{name}")
    assert order(healthy, "start_child", "/pool/", "[1]").error == "bad_arguments"
    refused = order(healthy, "start_child", "/pool/", '{"colour": "red"}')
    assert refused.error, "a key its Config does not know"
    assert "colour" in refused.detail
    assert healthy.pids("/pool/") == {}


def test_static_children_are_stopped_and_restarted_by_hand(healthy: Running) -> None:
    before = healthy.ready("/one/sibling")
    assert order(healthy, "restart_child", "/one/sibling").error == "running"
    assert order(healthy, "delete_child", "/one/sibling").error == "running"
    assert order(healthy, "terminate_child", "/one/sibling").error == ""
    until(lambda: gone(before.pid), "its process is gone")
    stopped = healthy.find("/one/sibling")
    assert stopped is not None
    assert (stopped.state, stopped.pid) == ("stopped", 0)
    assert order(healthy, "restart_child", "/one/sibling").error == ""
    healthy.ready("/one/sibling", before.incarnation)
    assert order(healthy, "start_child", "/one/").error == "static_supervisor"
    assert order(healthy, "terminate_child", "/one/nobody").error == "not_found"


# ---------------------------------------------------------------- stops and starts that take too long


def test_a_child_that_will_not_stop_is_killed_at_its_time(healthy: Running) -> None:
    order(healthy, "start_child", "/pool/deaf", '{"stop": "deaf"}')
    child, since = healthy.ready("/pool/deaf"), time.monotonic()
    order(healthy, "terminate_child", "/pool/deaf")
    until(lambda: gone(child.pid), "its process is gone")
    stopping = healthy.event(EventKind.CHILD_STOPPING, "/pool/deaf", since)
    killed = healthy.event(EventKind.CHILD_KILLED, "/pool/deaf", since)
    assert 0.4 < killed.t - stopping.t < 10.0


def test_a_child_that_stops_is_put_away_first_and_one_killed_brutally_is_not(healthy: Running) -> None:
    since = time.monotonic()
    config = '{"stop": "note", "start": "ready", "name": "x"}'
    for pool in ("/pool", "/eager"):
        order(healthy, "start_child", f"{pool}/noted", config)
        order(healthy, "terminate_child", f"{pool}/noted")
    healthy.event(EventKind.CHILD_STOPPED, "/pool/noted", since)
    assert "actor_put_away" in healthy.kinds("/pool/noted", since)
    assert EventKind.CHILD_KILLED not in healthy.kinds("/pool/noted", since)
    assert "actor_put_away" not in healthy.kinds("/eager/noted", since)
    assert EventKind.CHILD_KILLED in healthy.kinds("/eager/noted", since)


@pytest.mark.parametrize(
    ("path", "config", "limit"),
    [("/eager/stuck", '{"start": "never"}', 4.0), ("/eager/unready", '{"start": "never_ready"}', 1.0)],
    ids=["start_timeout", "ready_timeout"],
)
def test_a_start_that_takes_too_long_is_killed(healthy: Running, path: str, config: str, limit: float) -> None:
    since = time.monotonic()
    assert order(healthy, "start_child", path, config).error
    failed = healthy.event(EventKind.CHILD_START_FAILED, path, since)
    assert failed.reason is not None
    assert failed.reason.kind is ExitKind.INIT_ERROR
    starting = healthy.event(EventKind.CHILD_STARTING, path, since)
    assert limit - 0.1 < failed.t - starting.t < limit + 10.0
    assert not healthy.is_known(path)
    assert path not in {row.path for row in healthy.observer._store.hosts("state='claimed'")}


def test_a_start_that_raises_says_why(healthy: Running) -> None:
    answer = order(healthy, "start_child", "/pool/bad", '{"start": "raise"}')
    assert "no connection to the venue" in answer.detail
    assert not healthy.is_known("/pool/bad")


# ---------------------------------------------------------------- what runs beside actors


def test_a_plain_class_and_a_ray_class_are_children_unchanged(healthy: Running) -> None:
    assert healthy.ask("/one/plain", "add", 4) == 7
    assert healthy.ask("/one/existing", "double") == 8
    plain, existing = healthy.kill("/one/plain"), healthy.kill("/one/existing")
    assert healthy.ask("/one/plain", "add", 1) == 4, "begins again from its config"
    assert healthy.ask("/one/existing", "double") == 8
    healthy.ready("/one/plain", plain.incarnation)
    healthy.ready("/one/existing", existing.incarnation)


def test_a_slow_method_of_a_plain_class_is_no_hang(healthy: Running) -> None:
    before = healthy.ready("/one/plain")
    assert healthy.ask("/one/plain", "sleep", 2.5) == before.pid
    assert healthy.ready("/one/plain").pid == before.pid


def test_a_child_that_floods_its_log_is_bounded(healthy: Running) -> None:
    order(healthy, "start_child", "/pool/loud", '{"flood": true}')
    folder = healthy.data_dir / "logs"
    child = healthy.ready("/pool/loud")

    def written() -> bool:
        return any("loud" in str(file) for file in folder.rglob("*") if file.is_file() and file.stat().st_size)

    until(written, "it logs")
    # long enough for 200 lines a second to be exceeded many times over
    assert healthy.ask("/pool/loud", "wait", 2.0, timeout=20.0) == child.incarnation
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and "loud" in str(file))
    order(healthy, "terminate_child", "/pool/loud")
    assert size < 3 * 150_000, "keep 2, rotate at 100KB"
    assert not healthy.is_known("/pool/loud")
    # it runs no more; the kernel may still be taking its memory apart
    until(lambda: gone(child.pid), "its process is gone")
