import pytest

from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus, report


def system(*children: ChildStatus, state: str = "running", more: tuple[SupervisorStatus, ...] = ()) -> SystemStatus:
    return SystemStatus("t", supervisors=[SupervisorStatus("/", state=state, children=list(children)), *more])


@pytest.mark.parametrize(
    ("state", "verdict", "healthy", "ready"),
    [
        ("ready", "healthy", True, True),
        ("ready", "suspect", True, True),
        ("starting", "", True, False),
        ("restarting", "", True, False),
        ("stopped", "dead", True, True),
        ("ended", "", True, True),
        ("restarting", "dead", False, False),
        ("ready", "hung", False, False),
        ("gave_up", "", False, False),
        ("held", "", False, False),
    ],
)
def test_a_child(state: str, verdict: str, healthy: bool, ready: bool) -> None:
    found = report(system(ChildStatus("/a", "a", state=state, verdict=verdict)))
    assert (found.healthy, found.ready) == (healthy, ready)
    assert [one.path for one in found.components] == ["/", "/a"]


def test_the_root() -> None:
    assert report(system()).ready
    starting = report(system(state="starting"))
    assert not starting.healthy
    assert not report(None).healthy
    gone = report(SystemStatus("t", supervisors=[SupervisorStatus("/cell")]))
    assert not gone.healthy
    assert gone.components[0].path == "/"


def test_a_supervisor_below_is_told_of_once() -> None:
    below = SupervisorStatus("/cell", children=[ChildStatus("/cell/md", "md", state="ready")])
    found = report(system(ChildStatus("/cell", "cell", "supervisor", "ready"), more=(below,)))
    assert [one.path for one in found.components] == ["/", "/cell", "/cell/md"]
    assert found.ready
    # its own last word says running, the one above says it is dead
    found = report(system(ChildStatus("/cell", "cell", "supervisor", "restarting", verdict="dead"), more=(below,)))
    assert not found.healthy
