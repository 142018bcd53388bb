"""Rules for all tests: a test that is not marked ``ray`` must not start Ray."""

import sys
from collections.abc import Iterator

import pytest


class RayStarted(AssertionError):
    """A test without the mark ``ray`` started Ray."""


def _refuse(*args: object, **kwargs: object) -> None:
    raise RayStarted("this test starts Ray; mark it with pytest.mark.ray, or leave Ray out")


@pytest.fixture(autouse=True)
def no_ray_without_the_mark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.node.get_closest_marker("ray") is not None:
        yield
        return
    before = sys.modules.get("ray")
    if before is not None:
        monkeypatch.setattr(before, "init", _refuse)
    # a process started by the test, and Ray imported during it, find a cluster that does not exist
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    yield
    after = sys.modules.get("ray")
    if after is not None and after.is_initialized():
        after.shutdown()
        _refuse()
