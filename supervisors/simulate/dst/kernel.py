"""Time, chance and the digest of a run: one heap of callbacks, one stream of numbers for each purpose.

Equal seeds and plans give equal runs, bit for bit: callbacks of one instant run in the order they were asked for,
nothing depends on hashes or addresses, and every stream of chance belongs to one purpose and one target, so that what
is drawn for one fault does not shift what is drawn for another.
"""

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple
from zlib import crc32

#: callbacks after which a run is taken to turn in circles
MOST = 5_000_000


class Moment(NamedTuple):
    """One line of a trace: simulated seconds, where, what, and words for people."""

    t: float
    path: str
    kind: str
    text: str


class RunStuck(RuntimeError):
    """So many callbacks that time would never come to an end: a defect of the simulation or of a machine."""


class Kernel:
    """Simulated time.

    Args:
        seed: of all streams.
        tracing: keep what is noted, for people; a run without it is faster and has the same digest.
    """

    __slots__ = ("_heap", "_sequence", "_streams", "crc", "halted", "now", "ran", "seed", "trace", "tracing")

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        #: simulated seconds since the beginning
        self.now = 0.0
        #: rolling CRC over what was noted: (time, kind, path)
        self.crc = 0
        #: callbacks so far
        self.ran = 0
        #: a run is to come to its end
        self.halted = False
        self.tracing = tracing
        self.trace: list[Moment] = []
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._sequence = 0
        self._streams: dict[tuple[str, str], Random] = {}

    def at(self, when: float, call: Callable[..., Any], *args: Any) -> None:
        """Call it at ``when`` (never before now)."""
        self._sequence += 1
        heappush(self._heap, (when if when > self.now else self.now, self._sequence, call, args))

    def after(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        """Call it in ``delay`` seconds."""
        self._sequence += 1
        heappush(self._heap, (self.now + delay, self._sequence, call, args))

    def run(self, until: float) -> None:
        """Let time pass until ``until``, or until it is ``halted``.

        Raises:
            RunStuck: it does not come to an end.
        """
        heap = self._heap
        ran = self.ran
        while heap and heap[0][0] <= until and not self.halted:
            self.now, _, call, args = heappop(heap)
            call(*args)
            ran += 1
            if ran > MOST:
                raise RunStuck(f"seed {self.seed}: {MOST} callbacks by {self.now:.3f} s")
        self.ran = ran
        if not self.halted:
            self.now = max(self.now, until)

    def note(self, kind: str, path: str, text: str = "") -> None:
        """Something happened that two runs of the same seed have in common."""
        self.crc = crc32(f"{self.now:.9f} {kind} {path}".encode(), self.crc)
        if self.tracing:
            self.trace.append(Moment(self.now, path, kind, text))

    def stream(self, purpose: str, target: str = "") -> Random:
        """Numbers for one purpose and one target."""
        found = self._streams.get((purpose, target))
        if found is None:
            found = self._streams[purpose, target] = Random(derive(self.seed, purpose, target))
        return found


def derive(seed: int, purpose: str, target: str = "") -> int:
    """The seed of one stream."""
    return int.from_bytes(blake2b(f"{seed}/{purpose}/{target}".encode(), digest_size=8).digest(), "big")
