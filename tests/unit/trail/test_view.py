from rich.console import Console

from supervisors.core.reasons import crash
from supervisors.trail.events import EventKind
from supervisors.trail.failures import FailureFold
from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus
from supervisors.trail.view import render, render_plain
from tests.unit.trail.support import event

STATUS = SystemStatus(
    "demo",
    warden_pid=1,
    supervisors=[
        SupervisorStatus(
            "/",
            10,
            1,
            children=[
                ChildStatus("/cell", "cell", "supervisor", "ready", 11),
                ChildStatus("/a", "a", state="ready", pid=12, verdict="healthy", beat_age=0.04, restarts=2),
                ChildStatus("/b", "b", state="restarting", next_at=101.5, last_reason="crash: [red] boom\nmore"),
                ChildStatus("/c", "c", state="ready", verdict="hung", beat_age=3.21),
            ],
        ),
        SupervisorStatus("/cell", 11, 1, "rest_for_one", children=[ChildStatus("/cell/md", "md", state="ended")]),
        SupervisorStatus("/lost/cell", 13, 1),
    ],
)


def failures() -> FailureFold:
    fold = FailureFold()
    for life in range(1, 9):
        fold.add(event(EventKind.CHILD_EXITED, "/b", float(life), incarnation=life, reason=crash("boom")))
    return fold


def test_plain() -> None:
    text = render_plain(STATUS, failures().failures, 100.0, shown=2)
    rows = text.splitlines()
    assert rows[0].startswith("demo  warden 1  spares 0")
    assert [row.split()[0] for row in rows[2:9]] == ["/", "cell/", "md", "a", "b", "c", "/lost/cell"]
    assert "restarting in 1.5 s" in rows[6]
    assert "crash: [red] boom" in rows[6]
    assert "more" not in text
    assert "ready, hung" in rows[7]
    assert "40 ms" in rows[5]
    assert "/b#8" in text
    assert "/b#6" not in text
    assert "\x1b" not in text


def test_rich_shows_the_same_cells() -> None:
    console = Console(width=140, record=True, file=None, force_terminal=True, color_system="truecolor", quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(render(STATUS, failures().failures, 100.0))
    shown = capture.get()
    for word in ("[red] boom", "restarting in 1.5 s", "cell/", "/b#8", "\x1b["):
        assert word in shown


def test_nobody_answers() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(render(None, [], 0.0))
    assert "no status" in capture.get()
    assert "no status" in render_plain(None, [], 0.0)
