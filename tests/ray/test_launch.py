"""What can go wrong with ``up``: bad input, a second one, a signal at any moment. Nothing may be left behind."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .harness import Running, cli, leftovers, spawn, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

_SMALL = """
system: small
spares: 0
metrics: {{enabled: {metrics}, port: {port}}}
tree:
  children:
    - {{id: a, actor: "tests.ray.actors:Worker"}}
    - {{id: b, actor: "tests.ray.actors:Worker", config: {{start: {start}}}}}
"""


def small(folder: Path, *, start: str = "ok", port: int | None = None) -> tuple[str, str]:
    """A topology file and a data directory."""
    file = folder / "small.yaml"
    file.write_text(_SMALL.format(metrics="false" if port is None else "true", port=port or 0, start=start))
    return str(file), str(folder / "data")


@pytest.fixture
def folder(short_folder: Path, request: pytest.FixtureRequest) -> Path:
    made = short_folder / f"t{abs(hash(request.node.name)) % 10**8}"
    made.mkdir()
    return made


def nothing_left(data: str) -> None:
    until(lambda: not leftovers(Path(data)), f"nothing is left: {leftovers(Path(data))}")


def one_error(text: str, code: str) -> None:
    assert code in text
    assert "Traceback" not in text


def test_a_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file, data = small(folder, port=port)
        done = cli("up", file, "--data-dir", data)
    assert done.returncode == 1
    one_error(done.stderr, "E2041")
    assert str(port) in done.stderr
    nothing_left(data)


def test_a_second_up_on_one_directory(healthy: Running) -> None:
    before = healthy.pids()
    done = cli("up", str(healthy.file), "--data-dir", str(healthy.data_dir))
    assert done.returncode == 1
    one_error(done.stderr, "E2005")
    assert str(healthy.warden) in done.stderr
    detached = cli("up", str(healthy.file), "--data-dir", str(healthy.data_dir), "--detach")
    assert detached.returncode == 1
    one_error(detached.stderr, "E2005")
    assert healthy.pids() == before


def test_a_topology_that_cannot_be_read(folder: Path) -> None:
    data = str(folder / "data")
    for target in (folder, folder / "missing.yaml"):
        done = cli("up", str(target), "--data-dir", data, "--detach")
        assert done.returncode == 2, done.stderr
        one_error(done.stderr, "E1")
    assert not Path(data).exists(), "nothing half-done"
    nothing_left(data)


def test_a_data_directory_that_cannot_be(folder: Path) -> None:
    file, data = small(folder)
    Path(data).write_text("in the way")
    for more in ((), ("--detach",)):
        done = cli("up", file, "--data-dir", data, *more)
        assert done.returncode == 1, done.stderr
        one_error(done.stderr, "E2002")
    assert Path(data).read_text() == "in the way"
    nothing_left(data)


def test_a_start_that_fails_at_boot_fails_up_and_names_the_child(folder: Path) -> None:
    file, data = small(folder, start="raise")
    done = cli("up", file, "--data-dir", data)
    assert done.returncode == 1
    one_error(done.stderr, "E20")
    assert "no connection to the venue" in done.stderr
    assert " b " in done.stderr or "/b" in done.stderr
    nothing_left(data)


def test_a_run_of_a_given_time_is_healthy_at_its_end(folder: Path) -> None:
    file, data = small(folder)
    done = cli("up", file, "--data-dir", data, "--for", "1s", "--json")
    assert done.returncode == 0, done.stderr
    nothing_left(data)


def test_down_after_a_launcher_that_was_killed_in_the_middle_of_its_start(folder: Path) -> None:
    file, data = small(folder)
    process = spawn("up", file, "--data-dir", data)
    try:
        until(lambda: any("/raylet/raylet" in entry for entry in leftovers(Path(data))), "Ray is coming up")
    finally:
        process.kill()
        process.communicate()
    done = cli("down", "--data-dir", data)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    nothing_left(data)


@pytest.mark.parametrize("moment", [0.2, 1.0, 2.5, 4.0, 5.0])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_at_any_moment_of_the_start(folder: Path, moment: float, number: signal.Signals) -> None:
    file, data = small(folder)
    process = spawn("up", file, "--data-dir", data)
    assert process.stdout is not None
    try:
        time.sleep(moment)  # the moment is what is tried: whatever the launcher does then
        process.send_signal(number)
        began = time.monotonic()
        try:
            text, _ = process.communicate(timeout=30.0)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGABRT)
            raise
        took = time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert took < 20.0
    assert "Traceback" not in text
    assert "SIGTERM received" not in text, "Ray's handler instead of ours"
    assert "dashboard" not in text, "a second Ray, started by a thread that was late"
    nothing_left(data)
