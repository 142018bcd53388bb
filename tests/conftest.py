"""Rules for all tests: a test that is not marked ``ray`` must not start Ray."""

import sys

import pytest


class RayStarted(AssertionError):
    """A test without the mark ``ray`` started Ray."""


def _refuse(*args: object, **kwargs: object) -> None:
    raise RayStarted("this test starts Ray; mark it with pytest.mark.ray, or leave Ray out")


@pytest.fixture(autouse=True)
def no_ray_without_the_mark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("ray") is not None:
        return
    # what imports ray later in this process meets the address of a cluster that does not exist
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    module = sys.modules.get("ray")
    if module is not None:
        monkeypatch.setattr(module, "init", _refuse)
