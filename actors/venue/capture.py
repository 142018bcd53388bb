"""Captures: gzip files with one received frame per line, ``<receive time, ns> <raw frame>``.

The depth snapshot the recorder fetched over REST is a line among them. ``python -m actors.venue.capture OUT`` writes a
small synthetic one in the same format.
"""

import argparse
import gzip
import random
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from actors.venue.walk import MarketWalk

_START_NS = 1_700_000_000_000_000_000


class CaptureError(ValueError):
    """The file is no capture, or is damaged; the message names file and line."""


def read_capture(path: Path) -> Iterator[tuple[int, bytes]]:
    """Receive time (ns since the epoch) and raw frame of each line.

    Raises:
        CaptureError: the file cannot be read, is damaged, or a line has another form.
    """
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                stamp, _, raw = line.rstrip(b"\r\n").partition(b" ")
                if not stamp.isdigit() or not raw:
                    raise CaptureError(f"{path}:{number}: expected '<ns> <frame>'")
                yield int(stamp), raw
    except (OSError, EOFError, zlib.error) as error:
        raise CaptureError(f"{path}: cannot be read after line {number}: {error}") from error


class CaptureWriter:
    """Writes a capture; equal input gives equal bytes."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, receive_ns: int, raw: bytes) -> None:
        """Add one frame."""
        self._file.write(b"%d %b\n" % (receive_ns, raw))

    def close(self) -> None:
        """End the file."""
        self._file.close()
        self._raw.close()


def synthetic(
    seconds: float, seed: int, *, symbol: str = "BTCUSDT", trade_rate: float = 20.0, start_ns: int = _START_NS
) -> Iterator[tuple[int, bytes]]:
    """Frames of a random walk: depth each 100 ms, trades at ``trade_rate`` per second, a quote after each trade.

    The REST snapshot is the fourth line, taken between two deltas, as in a real recording.
    """
    rng = random.Random(seed)
    walk = MarketWalk(symbol, rng, first_update_id=50_000_000_001, first_trade_id=3_700_000_001)
    next_depth, next_trade = 0.1, rng.expovariate(trade_rate)
    deltas = 0
    while min(next_depth, next_trade) <= seconds:
        now = min(next_depth, next_trade)
        stamp = start_ns + int(now * 1e9)
        ms = stamp // 1_000_000
        if now == next_depth:
            yield stamp, walk.depth(ms)
            next_depth = round(next_depth + 0.1, 9)
            deltas += 1
            if deltas == 3:
                yield stamp + 1_000_000, walk.snapshot(1000)
        else:
            yield stamp, walk.trade(ms)
            yield stamp + 1000, walk.quote()
            next_trade = now + rng.expovariate(trade_rate)


def main(arguments: list[str] | None = None) -> int:
    """Write a synthetic capture. Exit code 0, or 1 when the file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m actors.venue.capture", description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    count = 0
    try:
        with CaptureWriter(options.out) as writer:
            for stamp, raw in synthetic(options.seconds, options.seed):
                writer.write(stamp, raw)
                count += 1
    except OSError as error:
        sys.stderr.write(f"cannot write {options.out}: {error}\n")
        return 1
    sys.stdout.write(f"{count} frames, {options.out.stat().st_size} bytes in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
