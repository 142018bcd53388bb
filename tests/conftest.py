"""Rules for all tests: a test that is not marked ``ray`` must not start Ray."""

import resource
import sys
from collections.abc import Iterator

import pytest

#: files that tests may have open at once: what stands for a process that was killed closes none of its own
_OPEN_FILES = 8192


def pytest_configure() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
