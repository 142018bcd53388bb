"""One contract over each way to see a death, through a real supervised child (``auto`` chooses futex, see tests/ray).

The methods themselves are tried one by one in tests/unit/signals/test_deathwatch.py.
"""

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from supervisors.trail.events import EventKind
from tests.ray.harness import Running

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

_TOPOLOGY = """
system: watched
spares: 1
plane: {{death_watch: {method}}}
metrics: {{enabled: false}}
defaults:
  child: {{heartbeat: {{interval: 1s, missed: 10, hang_after: 30s}}}}  # a method may wait for the memory to be freed
tree:
  children:
    - {{id: a, actor: "tests.ray.actors:Worker"}}
    - {{id: b, actor: "tests.ray.actors:Worker"}}
"""


@pytest.mark.parametrize("method", ["pidfd", "socket"])
def test_a_death_is_seen_first_by_the_method_chosen(method: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rv-"))
    system = Running(folder / method, _TOPOLOGY.format(method=method))
    try:
        system.up()
        b, since = system.ready("/b"), time.monotonic()
        before = system.kill("/a")
        system.ready("/a", before.incarnation)
        told = system.event(EventKind.FIRST_SIGNAL, "/a", since)
        recovered = system.event(EventKind.RECOVERED, "/a", since)
        assert told.data["signal"] == method
        # killed after ``since``, so this bounds the detection too
        assert told.t - since < 2.0
        assert recovered.failure == told.failure
        assert system.ready("/b").pid == b.pid
    finally:
        system.down()
        shutil.rmtree(folder)
