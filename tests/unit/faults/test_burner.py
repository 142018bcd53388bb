"""Processor time is burnt by as many processes as asked, and none outlives its parent or its deadline."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisors.faults import burner, node
from supervisors.faults.order import FaultOrder
from tests.unit.faults.network.orders import order

HERE = Path("/")


def burning(fault_id: str) -> list[int]:
    return burner._running(fault_id)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def burn_order(name: str, **params: int) -> FaultOrder:
    return order("burn_cpu", f"f-{name}-{os.getpid()}", **params)


def cpu_of(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_run_burns_until_it_is_stopped_and_leaves_nothing() -> None:
    asked = burn_order("a", workers=2, nice=19)
    seen: list[list[int]] = []
    spent: list[float] = []

    def stop() -> bool:
        seen.append(burning(asked.id))
        spent.append(sum(cpu_of(pid) for pid in seen[-1]))
        return spent[-1] > 0.1

    node.run(asked, HERE, stop)
    assert len(seen[0]) == 2, "they run when it is first asked"
    assert os.getpid() not in seen[0]
    until(lambda: node.probe(asked, HERE))


def test_niceness() -> None:
    asked = burn_order("n", workers=1, nice=7)
    found: list[int] = []

    def stop() -> bool:
        found.extend(os.getpriority(os.PRIO_PROCESS, pid) for pid in burning(asked.id))
        return True

    node.run(asked, HERE, stop)
    assert found == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)], "on top of our own"


def test_none_outlives_its_parent() -> None:
    asked = burn_order("k", workers=3, nice=19)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import msgspec; from pathlib import Path; from supervisors.faults import burner\n"
            f"from supervisors.faults.order import FaultOrder\n"
            f"burner.run(FaultOrder({asked.id!r}, 'burn_cpu', '/', {asked.params!r}), Path('/'), lambda: False)",
        ]
    )
    until(lambda: len(burning(asked.id)) == 3)
    assert not node.probe(asked, HERE)
    parent.send_signal(signal.SIGKILL)
    parent.wait(5)
    until(lambda: node.probe(asked, HERE), 20.0)


def test_none_outlives_its_deadline() -> None:
    command = [sys.executable, "-m", "supervisors.faults.burner", "--seconds", "0.2", "--workers", "2"]
    began = time.monotonic()
    done = subprocess.run([*command, "--parent", str(os.getpid())], check=False, timeout=10, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"burning\n")
    assert time.monotonic() - began >= 0.2


def test_a_parent_that_is_gone_already() -> None:
    command = [sys.executable, "-m", "supervisors.faults.burner", "--seconds", "60", "--parent", "1"]
    assert subprocess.run(command, check=False, timeout=10, stdout=subprocess.PIPE).returncode == 1


def test_clean_ends_what_is_left() -> None:
    asked = burn_order("c", workers=1, nice=19)
    command = [sys.executable, "-m", "supervisors.faults.burner", "--seconds", "60", "--parent", str(os.getpid())]
    left = subprocess.Popen([*command, "--id", asked.id], stdout=subprocess.PIPE)
    assert left.stdout is not None
    left.stdout.readline()
    node.clean(asked, HERE)
    assert left.wait(5) == -signal.SIGKILL
    left.stdout.close()
    assert node.probe(asked, HERE)
    node.clean(asked, HERE)


def test_a_kind_no_helper_knows() -> None:
    with pytest.raises(Exception, match="no helper carries out hang") as caught:
        node.run(order("hang"), HERE, lambda: True)
    assert getattr(caught.value, "code", 0) == 9025
