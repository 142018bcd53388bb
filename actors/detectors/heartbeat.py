"""The heartbeat detector: a second look at what a supervisor says of its children's beats.

The signal plane itself finds a missed beat within 300 ms and acts on it; this actor only watches, at a slower pace,
so that a supervisor whose own watch fails is seen by someone.

    - id: beats
      actor: actors.detectors.heartbeat:HeartbeatDetector
      config: {supervisor: /cell}
"""

import asyncio
from collections.abc import Mapping

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from actors.base import Actor
from actors.context import Context
from actors.detectors.heartbeat_core import BeatSample, ChildBeats
from actors.detectors.hysteresis import Freshness
from supervisors.core.durations import Duration
from supervisors.core.errors import CallError


class HeartbeatConfig(BaseModel):
    """Config of ``HeartbeatDetector``.

    Attributes:
        supervisor: path of the supervisor whose children are watched.
        bound: age of the last beat that is late, seconds (DET-1: 3 missed beats of 100 ms).
        interval: seconds between looks.
        count: looks in a row that change a verdict (DET-9).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    supervisor: str = Field(default="/", pattern=r"^/")
    bound: Duration = Field(default=0.3, gt=0)
    interval: Duration = Field(default=1.0, gt=0)
    count: int = Field(default=3, ge=1, le=100)


class HeartbeatDetector(Actor):
    """Tells children whose beats are late: a note ``beats_stale`` or ``beats_fresh`` on each change.

    Methods for others: ``verdicts()``.
    """

    Config = HeartbeatConfig
    config: HeartbeatConfig

    async def start(self, ctx: Context) -> None:
        """Nothing known yet."""
        self._now = ctx.clock.monotonic
        self._children: dict[str, ChildBeats] = {}
        self._failed_looks = 0

    async def run(self) -> None:
        """Look, for ever."""
        due = self._now()
        while True:
            lag = max(0.0, self._now() - due)
            await self.look(lag)
            due = max(due + self.config.interval, self._now())
            await asyncio.sleep(max(0.0, due - self._now()))

    def verdicts(self) -> dict[str, dict[str, object]]:
        """Per child: verdict, age of its last beat, incarnation and state as its supervisor says them."""
        return {
            name: {
                "verdict": str(child.verdict),
                "beat_age": child.sample.beat_age,
                "incarnation": child.sample.incarnation,
                "state": child.sample.state,
            }
            for name, child in self._children.items()
        }

    async def look(self, lag: float = 0.0) -> None:
        """Ask the supervisor once and judge; ``lag`` in seconds widens the bound."""
        try:
            children = await self.ctx.children(self.config.supervisor)
        except CallError as error:
            self._failed_looks += 1
            if self._failed_looks == self.config.count:
                self.ctx.note("supervisor_silent", supervisor=self.config.supervisor, text=str(error))
            return
        self._failed_looks = 0
        seen: set[str] = set()
        for child in children:
            sample = _sample(child)
            if sample is None:
                continue
            seen.add(sample.id)
            beats = self._children.setdefault(sample.id, ChildBeats(self.config.bound, self.config.count))
            before = beats.verdict
            if beats.observe(sample, lag):
                self._tell(sample, before, beats.verdict)
        for gone in self._children.keys() - seen:
            del self._children[gone]

    async def promoted(self) -> None:
        """Say every verdict anew: nobody heard what it said while it stood by."""
        for name, child in self._children.items():
            report = {"id": name, "verdict": str(child.verdict), "beat_age": child.sample.beat_age}
            self.ctx.publish(f"verdict.{name}", msgspec.msgpack.encode(report))

    def _tell(self, sample: BeatSample, before: Freshness, verdict: Freshness) -> None:
        report = {"id": sample.id, "verdict": str(verdict), "beat_age": sample.beat_age}
        self.ctx.publish(f"verdict.{sample.id}", msgspec.msgpack.encode(report))
        about = self.config.supervisor
        if verdict is Freshness.STALE:
            age = sample.beat_age or 0.0
            self.ctx.note(
                "beats_stale", supervisor=about, child=sample.id, incarnation=sample.incarnation, beat_age=age
            )
        elif verdict is Freshness.FRESH and before is Freshness.STALE:
            self.ctx.note("beats_fresh", supervisor=about, child=sample.id, incarnation=sample.incarnation)


def _sample(child: Mapping[str, object]) -> BeatSample | None:
    """Read one entry of ``ctx.children``; None when it has no id."""
    name, age, life = child.get("id"), child.get("beat_age"), child.get("incarnation")
    if not isinstance(name, str):
        return None
    return BeatSample(
        name,
        float(age) if isinstance(age, int | float) else None,
        life if isinstance(life, int) else 0,
        str(child.get("state", "")),
    )
