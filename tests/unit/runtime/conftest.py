"""A world around a real supervisor's shell, for the tests of recovery; a system for those of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.recovery.policy import RecoverySpec
from supervisors.runtime.injecting import Injector

from .faulted import FakeSystem
from .shells import World


class Make:
    """Builds worlds in which everything is up."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        self.worlds: list[World] = []

    def __call__(self, children: dict[str, RecoverySpec | None], **options: object) -> World:
        world = World(self._folder, self._patch, children, **options)  # type: ignore[arg-type]
        self.worlds.append(world)
        world.boot()
        return world


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made = Make(tmp_path, monkeypatch)
    yield made
    for world in made.worlds:
        world.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeSystem]:
    made = FakeSystem(tmp_path)
    yield made
    made.close()


@pytest.fixture
def injector(system: FakeSystem) -> Iterator[Injector]:
    with Injector(system.data_dir) as made:
        yield made
