"""How long it takes to have a state back: warm (checkpoint and tail) and cold (every event).

``python -m benchmarks.warm [--json] [--samples N] [--tree N] [--events N]`` (REC-1, STA-2)

On a real tree: from just before the SIGKILL of an actor with 100,000 events in its checkpoint and 1,000 behind it to
*ready* in a spare process; the peer is Ray's own restart of a bare actor, which has no state to bring back.

Without Ray, the restore alone. Warm: the checkpoint of a state after 100,000 events and a tail of 1,000. Cold:
1,000,000 events replayed. Both through ``ActorJournal.restore`` in an asyncio loop, as a host does it: files read and
every CRC checked, events decoded as the class's types, applied in slices by a simple ledger; the longest the loop was
held is told. The peer is the least that any replay has to do: the same events from one msgpack file without checksums,
decoded and applied in one go.
"""

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks._ledger import Ledger, event, open_journal, write_journal
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from benchmarks.restart import RAY, RayTarget
from supervisors.signals.loop import PlaneLoop
from supervisors.trail.events import EventKind

SAMPLES = 5
KILLS = 50
PATH = "/target"
CHECKPOINT = 100_000
TAIL = 1_000
COLD = 1_000_000
COLD_LIMIT = 6.0
WARM_LIMIT = 1.0
PEER = "one msgpack file of the same events, no checksums, decoded and applied in one go"


class _Turns:
    """Measures the longest time the loop was not free."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now

    def stop(self) -> float:
        self._task.cancel()
        return self.longest


async def _restore(folder: Path, rung: str) -> tuple[float, float, int]:
    """Seconds, longest hold of the loop, sequence reached."""
    plane = PlaneLoop("plane", lambda error: None)
    plane.start()
    journal = open_journal(folder, Ledger(), plane)
    turns = _Turns()
    began = time.perf_counter()
    restored = await journal.restore(rung)
    seconds = time.perf_counter() - began
    longest = turns.stop()
    await journal.close()
    plane.stop()
    return seconds, longest, restored.sequence


async def _checkpoint(folder: Path) -> None:
    plane = PlaneLoop("plane", lambda error: None)
    plane.start()
    journal = open_journal(folder, Ledger(), plane)
    await journal.restore("")
    await journal.open(2)
    await journal.checkpoint()
    await journal.close(checkpoint=False)
    plane.stop()


def _plain(file: Path) -> float:
    """The peer: seconds."""
    began = time.perf_counter()
    target = Ledger()
    for one in msgspec.msgpack.decode(file.read_bytes(), type=list[Ledger.Event]):
        target.apply(one)
    return time.perf_counter() - began


def restores(samples: int, events: int) -> list[Row]:
    """The rows of warm and cold restores."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as name:
        folder = Path(name)
        for rung, count, limit in (("warm", CHECKPOINT + TAIL, WARM_LIMIT), ("cold", events, COLD_LIMIT)):
            state, plain = folder / rung, folder / f"{rung}.msgpack"
            if rung == "warm":
                write_journal(state, CHECKPOINT)
                asyncio.run(_checkpoint(state))
                write_journal(state, count, epoch=3)
            else:
                write_journal(state, count)
            # the peer has no checkpoint: it is given the tail alone
            first = CHECKPOINT if rung == "warm" else 0
            plain.write_bytes(msgspec.msgpack.encode([event(number) for number in range(first, count)]))
            ours, held, peer = [], [], []
            for _ in range(samples):
                seconds, longest, sequence = asyncio.run(_restore(state, rung))
                assert sequence == count
                ours.append(seconds)
                held.append(longest * 1e3)
                peer.append(_plain(plain))
            what = f"warm: state of {CHECKPOINT:,} events + {TAIL:,}" if rung == "warm" else f"cold: {count:,} events"
            ok = percentile(ours, 50) <= limit if count >= COLD or rung == "warm" else None
            target = f"<= {limit:g} s"
            rows.append(timed_row(what, "s", ours, peer=peer, peer_name=PEER, target=target, ok=ok))
            rows.append(timed_row(f"{rung}: longest hold of the actor's loop", "ms", held))
    return rows


def on_a_tree(kills: int) -> list[Row]:
    """SIGKILL to ready with a spare, warm."""
    child = {
        "id": "target",
        "actor": "benchmarks._recoverable:Appender",
        "config": {"every": 1.0},
        "recovery": {"ladder": ["warm"], "checkpoint": {"every": "10h", "events": 100_000_000, "fresh_for": "10h"}},
    }
    found: list[float] = []
    restored: list[float] = []
    peer: list[float] = []
    with BenchSystem(topology([child], spares=2)) as system:
        client = system.connect()
        bare = RayTarget()
        system.settle(PATH, 1, 2)
        client.call(PATH, "fill", CHECKPOINT, timeout=60.0)
        client.call(PATH, "checkpoint", timeout=60.0)
        client.call(PATH, "fill", TAIL, timeout=60.0)
        for life in range(1, kills + 1):
            pid = system.settle(PATH, life, 2).pid
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            ready = system.trail.wait(EventKind.CHILD_READY, PATH, life + 1)
            found.append((ready.t - began) * 1e3)
            told = system.trail.wait(EventKind.JOURNAL, PATH, life + 1)
            assert told.data["checkpoint"]
            restored.append(float(told.data["ms"] or 0))
            peer.append(bare.to_answer())
        count = client.call(PATH, "count", timeout=10.0)
        assert isinstance(count, int)
        assert count > CHECKPOINT + TAIL
    p50 = percentile(found, 50)
    return [
        timed_row(
            f"warm on a tree: SIGKILL to ready, checkpoint of {CHECKPOINT:,} events and {TAIL:,} behind it",
            "ms",
            found,
            peer=peer,
            peer_name=RAY,
            target="p50 <= 300 ms",
            ok=p50 <= 300,
        ),
        timed_row("warm on a tree: of that, the restore", "ms", restored),
    ]


def run(samples: int, kills: int, events: int) -> BenchReport:
    """Measure: about 10 s a sample, and 3 s a kill."""
    before = setting()
    rows = [*on_a_tree(kills), *restores(samples, events)]
    return BenchReport("Warm and cold", tuple(rows), before | {"load average at the end": setting()["load average"]})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("warm", "how long a state takes to be back", SAMPLES)
    options.add_argument("--events", type=int, default=COLD, help=f"events of the cold replay (default {COLD:,})")
    options.add_argument("--tree", type=int, default=KILLS, help=f"kills on a real tree (default {KILLS})")
    chosen = options.parse_args()
    measure(lambda: run(chosen.samples, chosen.tree, chosen.events), as_json=chosen.json)


if __name__ == "__main__":
    main()
