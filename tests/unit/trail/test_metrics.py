from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder

from supervisors.core.reasons import NORMAL, ExitKind, ExitReason
from supervisors.trail.counters import FILE
from supervisors.trail.events import EventKind
from supervisors.trail.metrics import TrailMetrics
from supervisors.trail.status import ChildStatus, PlaneStatus, SupervisorStatus, SystemStatus
from supervisors.trail.writer import TrailWriter
from tests.unit.trail.support import pen

KILLED = ExitReason(ExitKind.KILLED, "signal 9")


def nothing() -> None:
    return None


def fail(writer: TrailWriter, life: int) -> None:
    id_ = f"/md#{life}"
    writer.write(EventKind.FIRST_SIGNAL, "/md", life, failure=id_, data={"signal": "futex", "lag_ms": 2.0})
    writer.write(EventKind.CHILD_EXITED, "/md", life, failure=id_, reason=KILLED)
    writer.write(EventKind.RESTART_DECIDED, "/md", life, failure=id_, reason=KILLED, data={"targets": 1})
    numbers = {"detect_ms": 2.0, "total_ms": 180.0}
    writer.write(EventKind.RECOVERED, "/md", life + 1, failure=id_, data=dict(numbers))


def value(metrics: TrailMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"rayvisor_{name}", labels)


def test_totals_come_from_the_trail(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    for life in (1, 2):
        fail(writer, life)
    writer.write(EventKind.CHILD_EXITED, "/x", 1, reason=NORMAL)
    writer.write(EventKind.RESTART_DECIDED, "/x", 1, reason=NORMAL, data={"targets": 0})
    writer.write(EventKind.TRAIL_GAP, "/", data={"dropped": 7})
    metrics = TrailMetrics(tmp_path, nothing)
    assert value(metrics, "restarts_total", path="/md", reason="killed") == 2
    assert value(metrics, "restarts_total", path="/x", reason="normal") is None
    assert value(metrics, "failures_total", type="system", severity="high") == 2
    assert value(metrics, "detection_seconds_count") == 2
    assert value(metrics, "detection_seconds_bucket", le="0.0025") == 2
    assert value(metrics, "detection_seconds_bucket", le="0.001") == 0
    assert value(metrics, "recovery_duration_seconds_sum") == 0.36
    assert value(metrics, "trail_events_total", kind="first_signal") == 2
    assert value(metrics, "trail_lost_events_total") == 7
    assert value(metrics, "incarnation", path="/md") == 3
    assert value(metrics, "up") == 0
    metrics.close()


def test_totals_never_go_back(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    metrics = TrailMetrics(tmp_path, nothing)
    for life in range(1, 9):
        fail(writer, life)
        metrics.poll()
        writer.rotate_if_needed(1, keep=1)
        metrics.poll()
        assert value(metrics, "restarts_total", path="/md", reason="killed") == life
    # killed, not closed: what it saved at the rotations and the segments kept make the whole
    fail(writer, 9)
    again = TrailMetrics(tmp_path, nothing)
    assert value(again, "restarts_total", path="/md", reason="killed") == 9
    assert value(again, "detection_seconds_count") == 9
    again.close()
    once_more = TrailMetrics(tmp_path, nothing)
    assert value(once_more, "restarts_total", path="/md", reason="killed") == 9
    assert once_more.counters == again.counters


def test_a_replaced_trail_comes_on_top(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    for life in range(1, 5):
        fail(writer, life)
    TrailMetrics(tmp_path, nothing).close()
    (tmp_path / "current.jsonl").unlink()
    fail(pen(tmp_path), 5)
    assert value(TrailMetrics(tmp_path, nothing), "trail_events_total", kind="recovered") == 5


def test_a_broken_file_of_totals_is_made_anew(tmp_path: Path) -> None:
    fail(pen(tmp_path), 1)
    for broken in ("{", "[]", '{"version":99}', '{"detection":{"bounds":[1.0],"counts":[0,0]}}'):
        (tmp_path / FILE).write_text(broken)
        assert value(TrailMetrics(tmp_path, nothing), "trail_events_total", kind="recovered") == 1


def test_gauges_come_from_the_status(tmp_path: Path) -> None:
    status = SystemStatus(
        "t",
        supervisors=[
            SupervisorStatus(
                "/",
                restarts_in_window=1,
                intensity=5,
                spares=2,
                plane=PlaneStatus(10, 1, 0.5, 0.01),
                children=[
                    ChildStatus(
                        "/a", "a", state="ready", beat_age=0.05, metrics={"queue depth": 3.0, "queue_depth": 4}
                    ),
                    ChildStatus(
                        "/c", "c", state="ready", metrics={'book_valid{symbol="BTCUSDT"}': 1.0, "book_valid": 0}
                    ),
                    ChildStatus("/b", "b", state="restarting"),
                ],
            )
        ],
    )
    metrics = TrailMetrics(tmp_path, lambda: status)
    assert value(metrics, "children", state="ready") == 2
    assert value(metrics, "children", state="restarting") == 1
    assert value(metrics, "beat_age_seconds", path="/a") == 0.05
    assert value(metrics, "beat_age_seconds", path="/b") is None
    assert value(metrics, "spares") == 2
    assert value(metrics, "plane_messages_total", path="/") == 10
    assert value(metrics, "plane_malformed_total", path="/") == 1
    assert value(metrics, "plane_cpu_seconds_total", path="/") == 0.5
    assert value(metrics, "actor_queue_depth", path="/a") == 3.0
    assert value(metrics, "actor_book_valid", path="/c", symbol="BTCUSDT") == 1.0
    assert value(metrics, "actor_book_valid", path="/c", symbol="") == 0.0
    assert value(metrics, "healthy") == 1
    assert b"rayvisor_spares 2.0" in generate_latest(metrics.registry)
    openmetrics, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert openmetrics(metrics.registry).endswith(b"# EOF\n")
