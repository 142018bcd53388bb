"""A clock the tests set, and small helpers."""

from pathlib import Path

from supervisors.trail.events import TrailEvent
from supervisors.trail.writer import TrailWriter


class ManualClock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def utc_ns(self) -> int:
        return int(self.now * 1e9)


def pen(folder: Path, writer: str = "warden", **options: int) -> TrailWriter:
    return TrailWriter(folder, writer, ManualClock(), **options)


def event(kind: str, path: str = "/a", t: float = 1.0, **rest: object) -> TrailEvent:
    return TrailEvent(t, int(t * 1e9), kind, path, **rest)  # type: ignore[arg-type]
