"""A venue that serves a recorded capture.

    - id: venue
      actor: actors.venue.replay:ReplayVenue
      config:
        capture: examples/data/binance_small.gz
        port: 8765
        loop: true

It keeps no state: after a restart the replay begins anew, as a venue that was restored from a backup would. Its
clients lose their connections with the old process, so nothing they hold of the old feed can mix with the new.
"""

import asyncio
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, FilePath, field_validator, model_validator

from actors.venue.base import ServerConfig, VenueActor
from actors.venue.capture import read_capture
from actors.venue.replay_core import Recording, ReplayMarket
from actors.venue.server import Market

_TIMES = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")


def _speed(value: object) -> object:
    """Read ``10x`` as 10."""
    match = _TIMES.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) if match else value


class ReplayConfig(ServerConfig):
    """Config of ``ReplayVenue``.

    Attributes:
        capture: the file (see ``actors.venue.capture``); relative to the directory the system was started in.
        fallback: served where ``capture`` is absent.
        speed: 1 is as recorded; ``10`` or ``10x`` is ten times as fast.
        loop: repeat for ever, as one feed without a break.
    """

    capture: Path
    fallback: FilePath | None = None
    speed: Annotated[float, BeforeValidator(_speed), Field(gt=0, le=10_000)] = 1.0
    loop: bool = False

    @field_validator("capture")
    @classmethod
    def _is_a_file_or_absent(cls, capture: Path) -> Path:
        if capture.exists() and not capture.is_file():
            raise ValueError(f"{capture} is no file")
        return capture

    @model_validator(mode="after")
    def _one_is_there(self) -> Self:
        if self.fallback is None and not self.capture.is_file():
            raise ValueError(f"capture: there is no file {self.capture}, and no fallback is given")
        return self

    @property
    def served(self) -> Path:
        """The file that is served."""
        return self.capture if self.capture.is_file() or self.fallback is None else self.fallback


class _Served:
    """The replayed market as the server wants it."""

    def __init__(self, replay: ReplayMarket) -> None:
        self._replay = replay

    def knows(self, symbol: str) -> bool:
        return symbol == self._replay.recording.symbol

    def snapshot(self, limit: int) -> bytes:
        return self._replay.snapshot(limit)


def load_recording(path: Path) -> Recording:
    """Read a capture.

    Raises:
        CaptureError: it cannot be read.
        ReplayError: it cannot be replayed.
    """
    return Recording(list(read_capture(path)))


class ReplayVenue(VenueActor):
    """Serves a capture over a real WebSocket, in the venue's own protocol. See ``VenueActor`` for its methods."""

    Config = ReplayConfig
    config: ReplayConfig
    market: ReplayMarket

    async def open_market(self) -> Market:
        """Read the capture, beside the loop.

        Raises:
            CaptureError: it cannot be read.
            ReplayError: it cannot be replayed.
        """
        recording = await asyncio.to_thread(load_recording, self.config.served)
        self.market = ReplayMarket(recording, loop=self.config.loop, speed=self.config.speed)
        return _Served(self.market)

    async def play(self) -> None:
        """Send each frame when it is due, to the millisecond."""
        market, publish = self.market, self.server.publish
        market.start(self._now())
        while not market.finished:
            frames = market.take(self._now())
            for stream, raw in frames:
                publish(stream, raw)
            due = market.due_at()
            if due is not None:
                await asyncio.sleep(max(0.0 if frames else 0.001, due - self._now()))

    def status(self) -> dict[str, object]:
        """The server's state, and the position: round, frame of the round, frames sent, the book's update id."""
        status = super().status()
        market: ReplayMarket | None = getattr(self, "market", None)
        if market is not None:
            status |= {
                "symbol": market.recording.symbol,
                "round": market.round,
                "frame": market.index,
                "frames": len(market.recording.frames),
                "played": market.sent,
                "finished": market.finished,
                "last_update_id": market.book.last_id,
            }
        return status

    def digest(self, depth: int = 100) -> dict[str, object]:
        """Hash of the best ``depth`` levels of the venue's own book, with its update id; to compare a client's with."""
        return {"last_update_id": self.market.book.last_id, "digest": self.market.book.digest(depth)}
