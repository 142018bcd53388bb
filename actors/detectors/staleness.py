"""The staleness detector: watches what a connector publishes, channel by channel.

- id: staleness
  actor: actors.detectors.staleness:StalenessDetector
  config:
    target: /cell/md
    channels: {book.btcusdt: 1s, trade.btcusdt: 10s}
"""

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from actors.base import Actor
from actors.context import Context
from actors.detectors.hysteresis import Freshness
from actors.detectors.staleness_core import ChannelVerdict
from supervisors.core.durations import Duration
from supervisors.core.errors import CallError


class StalenessConfig(BaseModel):
    """Config of ``StalenessDetector``.

    Attributes:
        target: path of the connector.
        channels: bound per channel in seconds; these are expected to speak. Channels are topics (``book.btcusdt``),
            or with ``source: status`` the names in the connector's ``ages`` (``btcusdt@trade``).
        bound: for channels not named above, which are judged once they have spoken (DET-4: 1 s).
        source: ``publish`` listens to the data itself; ``status`` asks the connector each ``interval``, which costs
            less and sees less.
        interval: seconds between judgements.
        count: judgements in a row that change a verdict (DET-9).
        quiet_factor: a channel is late only past this many times its usual interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field(pattern=r"^/")
    channels: dict[str, Duration] = {}
    bound: Duration = Field(default=1.0, gt=0)
    source: Literal["publish", "status"] = "publish"
    interval: Duration = Field(default=0.2, gt=0)
    count: int = Field(default=3, ge=1, le=100)
    quiet_factor: float = Field(default=3.0, ge=1)


class ChannelReport(msgspec.Struct, frozen=True):
    """What is published under ``verdict.<channel>`` when a verdict changes; seconds."""

    channel: str
    verdict: str
    age: float
    allowed: float


class StalenessDetector(Actor):
    """Tells stale channels: a note ``stale`` or ``fresh`` on each change, and ``verdict.<channel>`` published.

    Methods for others: ``verdicts()``.
    """

    Config = StalenessConfig
    config: StalenessConfig

    async def start(self, ctx: Context) -> None:
        """Expect the channels named."""
        self._now = ctx.clock.monotonic
        self._channels: dict[str, ChannelVerdict] = {}
        for name in self.config.channels:
            self._channel(name).expect(self._now())

    async def run(self) -> None:
        """Listen and judge, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._judge_each())
            if self.config.source == "publish":
                group.create_task(self._listen())

    def verdicts(self) -> dict[str, dict[str, object]]:
        """Per channel: verdict, age, seconds allowed and the usual interval."""
        now = self._now()
        return {
            name: {
                "verdict": str(channel.verdict),
                "age": channel.age(now),
                "allowed": channel.allowed,
                "usual": channel.usual,
                "items": channel.items,
            }
            for name, channel in self._channels.items()
        }

    def _channel(self, name: str) -> ChannelVerdict:
        channel = self._channels.get(name)
        if channel is None:
            bound = self.config.channels.get(name, self.config.bound)
            channel = ChannelVerdict(bound, count=self.config.count, quiet_factor=self.config.quiet_factor)
            self._channels[name] = channel
        return channel

    async def _listen(self) -> None:
        subscription = self.ctx.subscribe(self.config.target)
        try:
            async for message in subscription:
                self._channel(message.topic).arrived(self._now(), message.incarnation)
        finally:
            subscription.close()

    async def _ask(self) -> None:
        """Take the ages the connector says. No answer is no news: the ages known so far go on growing."""
        try:
            status = await self.ctx.call(self.config.target, "status", timeout=self.config.interval)
        except CallError:
            return
        if not isinstance(status, Mapping):
            return
        ages, incarnation, now = status.get("ages"), status.get("incarnation"), self._now()
        if not isinstance(ages, Mapping):
            return
        for name, age in ages.items():
            if not isinstance(name, str) or not isinstance(age, int | float):
                continue
            channel, at = self._channel(name), now - float(age)
            # rounding moves an unchanged age a little
            if channel.last is None or at > channel.last + 0.002:
                channel.arrived(at, incarnation if isinstance(incarnation, int) else 0)

    async def _judge_each(self) -> None:
        due = self._now() + self.config.interval
        while True:
            await asyncio.sleep(max(0.0, due - self._now()))
            lag = max(0.0, self._now() - due)
            if self.config.source == "publish":
                self.judge(lag)
            elif self.ctx.acting:  # a standby may not ask, and what it does not see it does not judge
                await self._ask()
                self.judge(lag)
            due = max(due + self.config.interval, self._now())

    def judge(self, lag: float = 0.0) -> None:
        """Judge every channel once; the detector's own ``lag`` in seconds widens the bounds."""
        now = self._now()
        for name, channel in self._channels.items():
            before = channel.verdict
            changed = channel.observe(now, lag)
            age = channel.age(now)
            if age is not None:
                self.ctx.metric("staleness_seconds", age, channel=name)
            if changed and age is not None:
                self._tell(name, channel, before, age)

    async def promoted(self) -> None:
        """Say every verdict anew: nobody heard what it said while it stood by."""
        now = self._now()
        if self.config.source == "status":
            for channel in self._channels.values():
                channel.forgive(now)
            return
        for name, channel in self._channels.items():
            age = channel.age(now)
            if age is not None:
                report = ChannelReport(name, str(channel.verdict), age, channel.allowed)
                self.ctx.publish(f"verdict.{name}", msgspec.msgpack.encode(report))

    def _tell(self, name: str, channel: ChannelVerdict, before: Freshness, age: float) -> None:
        verdict = channel.verdict
        report = ChannelReport(name, str(verdict), age, channel.allowed)
        self.ctx.publish(f"verdict.{name}", msgspec.msgpack.encode(report))
        if verdict is Freshness.STALE:
            self.ctx.note("stale", target=self.config.target, channel=name, age=age, allowed=channel.allowed)
        elif verdict is Freshness.FRESH and before is Freshness.STALE:
            self.ctx.note("fresh", target=self.config.target, channel=name, age=age)
