"""Systems shared by many tests: Ray needs 5-10 s to start. Each lives in a data directory of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import LONG, Running, until

_WORKER = 'actor: "tests.ray.actors:Worker"'

#: one branch for each thing tried, so that no test disturbs another
SHARED = f"""
system: shared
spares: 3
metrics: {{enabled: false}}
logs: {{rotate: 100KB, keep: 2, lines_per_second: 200}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
  supervisor: {{backoff: null, max_consecutive: null, intensity: 1000, period: 10s}}
tree:
  intensity: 1000
  children:
    - id: one
      children:
        - {{id: victim, {_WORKER}}}
        - {{id: sibling, {_WORKER}}}
        - {{id: transient, {_WORKER}, restart: transient}}
        - {{id: temporary, {_WORKER}, restart: temporary}}
        - {{id: brief, {_WORKER}, restart: temporary}}
        - {{id: counter, actor: "tests.ray.actors:Counter"}}
        - {{id: plain, actor: "tests.ray.actors:Plain", config: {{begin: 3}}}}
        - {{id: existing, actor: "tests.ray.actors:Existing", config: {{begin: 4}}}}
        - {{id: publisher, actor: "tests.ray.actors:Publisher"}}
        - {{id: subscriber, actor: "tests.ray.actors:Subscriber", config: {{to: /one/publisher}}}}
    - id: all
      strategy: one_for_all
      children:
        - {{id: a, {_WORKER}}}
        - {{id: b, {_WORKER}}}
        - {{id: c, {_WORKER}}}
    - id: rest
      strategy: rest_for_one
      children:
        - {{id: a, {_WORKER}}}
        - {{id: b, {_WORKER}}}
        - {{id: c, {_WORKER}}}
    - id: weak
      intensity: 1
      children:
        - {{id: frail, {_WORKER}}}
        - {{id: firm, {_WORKER}}}
    - id: team
      restart: temporary
      auto_shutdown: any_significant
      children:
        - {{id: bystander, {_WORKER}}}
        - {{id: leader, {_WORKER}, restart: transient, significant: true}}
    - id: otp
      on_supervisor_crash: terminate
      children:
        - {{id: a, {_WORKER}}}
    - id: pool
      strategy: simple_one_for_one
      max_children: 4
      template: {{{_WORKER}, restart: transient, shutdown: 500ms}}
    - id: eager
      strategy: simple_one_for_one
      template: {{{_WORKER}, restart: temporary, start_timeout: 4s, ready_timeout: 1s, shutdown: brutal_kill}}
"""

#: the smallest tree in which each kind of process can be killed
CELL = f"""
system: cell
spares: 2
metrics: {{port: 0}}
tree:
  intensity: 50
  children:
    - id: cell
      intensity: 50
      children:
        - {{id: a, {_WORKER}}}
        - {{id: b, {_WORKER}}}
    - {{id: counter, actor: "tests.ray.actors:Counter"}}
"""


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rv-") as name:
        yield Path(name)


def _run(folder: Path, name: str, topology: str) -> Iterator[Running]:
    system = Running(folder / name, topology)
    try:
        system.up()
        yield system
    finally:
        system.down()
        shutil.rmtree(system.data_dir)


class _Shared:
    """The shared system while tests are left that use it: it has forty processes, which beat ten times a second."""

    def __init__(self, folder: Path, users: int) -> None:
        self._folder = folder
        self._users = users
        self._run: Iterator[Running] | None = None
        self._system: Running | None = None

    def use(self) -> Iterator[Running]:
        if self._system is None:
            self._run = _run(self._folder, "shared", SHARED)
            self._system = next(self._run)
        yield self._system
        self._users -= 1
        if self._users == 0:
            self.close()

    def close(self) -> None:
        run, self._run, self._system = self._run, None, None
        if run is not None:
            assert next(run, None) is None


def _uses_shared(item: pytest.Item) -> bool:
    return "shared" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the shared system come first, so that it can go before the others begin."""
    here = Path(__file__).parent
    mine = [item for item in items if item.path.parent == here]
    ordered = iter(sorted(mine, key=lambda item: not _uses_shared(item)))
    items[:] = [next(ordered) if item.path.parent == here else item for item in items]


@pytest.fixture(scope="session")
def _shared(short_folder: Path, request: pytest.FixtureRequest) -> Iterator[_Shared]:
    holder = _Shared(short_folder, sum(_uses_shared(item) for item in request.session.items))
    yield holder
    holder.close()


@pytest.fixture
def shared(_shared: _Shared) -> Iterator[Running]:
    yield from _shared.use()


@pytest.fixture(scope="module")
def cell(short_folder: Path) -> Iterator[Running]:
    yield from _run(short_folder, "cell", CELL)


@pytest.fixture
def healthy(shared: Running) -> Running:
    """The shared system with all its children up and spares at hand."""
    shared.wait_up()
    until(lambda: shared.status().supervisors[0].spares >= 1, "a spare is ready", LONG)
    return shared
