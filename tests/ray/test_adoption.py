"""SUP-8: no healthy child dies for its supervisor's crash, nor for its launcher's. And metrics across all that."""

import os
import re
import signal
import time
import urllib.error
import urllib.request

import pytest

from supervisors.runtime.chaos_leftovers import leftovers_of
from supervisors.runtime.store import GoalStore
from supervisors.trail.events import EventKind

from .harness import LONG, Running, cli, gone, leftovers, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


def get(system: Running, page: str) -> tuple[int, str]:
    """Status code and body of a page; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"{system.url}/{page}", timeout=LONG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def total(system: Running, name: str) -> float:
    """Sum of all samples of a metric."""
    code, text = get(system, "metrics")
    assert code == 200
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


def test_a_supervisor_that_is_killed_is_replaced_and_its_children_adopted(cell: Running) -> None:
    cell.wait_up()
    workers = {path: pid for path, pid in cell.pids().items() if path != "/cell"}
    supervisor, since = cell.supervisor_pid("/cell"), time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    adopted = cell.event(EventKind.SUPERVISOR_ADOPTED, "/cell", since)
    assert (adopted.data["adopted"], adopted.data["lost"]) == (2, 0)
    cell.wait_up()
    assert cell.supervisor_pid("/cell") != supervisor
    now = cell.pids()
    assert {path: now[path] for path in workers} == workers
    # the new one supervises them
    victim = cell.kill("/cell/a")
    cell.ready("/cell/a", victim.incarnation)
    assert cell.pids()["/cell/b"] == workers["/cell/b"]


def test_a_child_that_died_with_its_supervisor_is_restarted(cell: Running) -> None:
    cell.wait_up()
    a, b, supervisor = cell.ready("/cell/a"), cell.ready("/cell/b"), cell.supervisor_pid("/cell")
    os.kill(supervisor, signal.SIGKILL)
    os.kill(a.pid, signal.SIGKILL)
    cell.ready("/cell/a", a.incarnation)
    cell.wait_up()
    assert cell.ready("/cell/b").pid == b.pid


def test_a_root_that_is_killed_is_replaced_and_its_children_adopted(cell: Running) -> None:
    cell.wait_up()
    before, root = cell.pids(), cell.supervisor_pid("/")
    since = time.monotonic()
    os.kill(root, signal.SIGKILL)
    cell.event(EventKind.SUPERVISOR_ADOPTED, "/", since)
    cell.wait_up()
    assert cell.supervisor_pid("/") != root
    assert cell.pids() == before
    victim = cell.kill("/counter")
    cell.ready("/counter", victim.incarnation)


def test_a_supervisor_killed_while_it_starts_a_child_leaves_no_process_and_no_name(cell: Running) -> None:
    """A child's process is claimed, assigned, or half started when its supervisor goes, by chance."""
    store = GoalStore(cell.data_dir)
    for pause in (0.0, 0.004, 0.008, 0.015, 0.03):
        cell.wait_up()
        a, supervisor = cell.ready("/cell/a"), cell.supervisor_pid("/cell")
        os.kill(a.pid, signal.SIGKILL)
        time.sleep(pause)  # the moment is what is tried
        os.kill(supervisor, signal.SIGKILL)
        cell.ready("/cell/a", a.incarnation)
    cell.wait_up()
    left = leftovers_of(cell.data_dir, store, frozenset)
    assert not left.any, left
    assert len(store.hosts("path='/cell/a' AND state='claimed'")) == 1
    store.close()


def test_pages_tell_of_a_child_that_is_down(cell: Running) -> None:
    cell.wait_up()
    until(lambda: get(cell, "health")[0] == get(cell, "ready")[0] == 200, "healthy and ready")
    restarts = total(cell, "rayvisor_restarts_total")
    cell.ask("/counter", "add")
    until(lambda: total(cell, "rayvisor_actor_added") == 1.0, "the actor's gauge is exported")
    # while its supervisor is stopped too, nobody restarts the child: long enough to be seen as down
    supervisor, a = cell.supervisor_pid("/cell"), cell.ready("/cell/a")
    before = cell.ready("/cell/b")
    os.kill(a.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGSTOP)
    until(lambda: get(cell, "ready")[0] == 503, "not ready while a supervisor is down")
    cell.ready("/cell/a", a.incarnation)
    until(lambda: get(cell, "health")[0] == get(cell, "ready")[0] == 200, "healthy and ready again")
    assert cell.ready("/cell/b").pid == before.pid
    until(lambda: total(cell, "rayvisor_restarts_total") >= restarts + 2, "both restarts are counted")
    assert get(cell, "nothing")[0] == 404


def test_children_outlive_their_launcher_and_the_next_one_adopts_them(cell: Running) -> None:
    cell.wait_up()
    before, root = cell.pids(), cell.supervisor_pid("/")
    restarts, failures = total(cell, "rayvisor_restarts_total"), total(cell, "rayvisor_failures_total")
    assert restarts
    assert failures
    cell.close()
    os.kill(cell.warden, signal.SIGKILL)
    until(lambda: gone(cell.warden), "the launcher is gone")
    # nobody launches: calls are answered, failures are healed
    assert cell.ask("/counter", "count") is not None
    victim = cell.kill("/cell/b")
    cell.ready("/cell/b", victim.incarnation)
    before["/cell/b"] = cell.ready("/cell/b").pid

    cell.up()

    cell.wait_up()
    assert cell.pids() == before
    assert cell.supervisor_pid("/") == root
    until(lambda: total(cell, "rayvisor_restarts_total") == restarts + 1, "totals go on from where they were")
    assert total(cell, "rayvisor_failures_total") == failures + 1
    victim = cell.kill("/counter")
    cell.ready("/counter", victim.incarnation)
    assert total(cell, "rayvisor_restarts_total") == restarts + 2


def test_down_without_a_launcher_ends_everything(cell: Running) -> None:
    cell.wait_up()
    pids = cell.pids()
    cell.close()
    os.kill(cell.warden, signal.SIGKILL)
    until(lambda: gone(cell.warden), "the launcher is gone")
    since = time.monotonic()
    done = cli("down", "--data-dir", str(cell.data_dir))
    assert done.returncode == 0, done.stderr
    assert all(gone(pid) for pid in pids.values())
    until(lambda: not leftovers(cell.data_dir), f"nothing is left: {leftovers(cell.data_dir)}")
    stopped = [event.path for event in cell.trail(since=since) if event.kind == EventKind.CHILD_STOPPED]
    assert stopped == ["/counter", "/cell/b", "/cell/a", "/cell", "/"], "in reverse order of their start"
    again = cli("down", "--data-dir", str(cell.data_dir))
    assert again.returncode == 0
    assert "nothing runs" in again.stdout


def test_terminate_ends_the_children_of_a_crashed_supervisor(healthy: Running) -> None:
    child, supervisor, since = healthy.ready("/otp/a"), healthy.supervisor_pid("/otp"), time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: gone(child.pid), "its child is ended")
    healthy.ready("/otp/a", child.incarnation)
    assert EventKind.SUPERVISOR_ADOPTED not in healthy.kinds("/otp", since)
