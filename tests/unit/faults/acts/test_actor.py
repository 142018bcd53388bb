"""Faults that keep an actor from running leave nothing behind in its process."""

import subprocess
import sys
import textwrap

#: bytes: half a million objects in one list made the process some 4 MB larger with each pause
_MOST = 6e6

_PAUSES = """
    import threading, time
    from pathlib import Path
    from supervisors.faults.acts.actor import ACTS
    from tests.unit.faults.acts.test_resource import Stage, order
    from supervisors.faults.board import Armed

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def pause() -> None:
        asked = order("gc_pause", "f-1", probability=1.0, first=0, objects=5_000_000)
        armed = Armed(asked, time.monotonic() + 60, lambda armed: None, 0, 0)
        stage = Stage()
        ACTS["gc_pause"](armed, stage)
        while resident() < before + 20_000_000:
            time.sleep(0.01)
        armed.end()
        stage.threads[0].join()

    for turn in range(4):
        before = resident()
        pause()
        if turn == 0:
            first = resident()
    print(resident() - first)
"""


def test_pauses_of_the_collector_leave_the_memory_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PAUSES)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < _MOST
