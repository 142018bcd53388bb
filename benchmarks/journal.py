"""How fast events become durable, and how fast they are read back.

``python -m benchmarks.journal [--json] [--samples N] [--quick] [--folder F]`` (STA-1)

Durable events: 64 asyncio writers, each awaiting the acknowledgement of its own event of 200 bytes before it writes
the next, through ``GroupCommitter`` and one ``call_soon_threadsafe`` per batch, as the journal of an actor does.
Figures are of windows of at least half a second. The peer is SQLite in the same folder and run: WAL, synchronous=FULL,
one commit per event, which is what a caller gets who must know that its event is durable; a second row shows what
SQLite does when 64 events share a commit, which gives up answering each event for itself. They take turns.

One append: from ``append`` to its acknowledgement in the loop, one at a time, with two changes of thread; the peer is
one write and fdatasync of as many bytes to a plain file. They take turns, too.

Replay: a reader goes over a million records of 200 bytes, checks each CRC and makes each record; the peer is
``SELECT`` of as many rows from SQLite. The files were just written, so they come from memory.
"""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections import deque
from pathlib import Path

from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import measure, parser, setting
from supervisors.core.errors import StateError
from supervisors.runtime.clock import SystemClock
from supervisors.state.journal import GroupCommitter, JournalReader, JournalWriter

SAMPLES = 2_000
WRITERS = 64
BODY = os.urandom(200)
#: ours and the peers' take turns this often
TURNS = 6
WINDOW = 0.5
REPLAYED = 1_000_000
MIN_RATE = 50_000
MIN_RATIO = 5.0
MAX_APPEND = 2.0
MAX_REPLAY = 3.0
SQLITE = "SQLite: WAL, synchronous=FULL, one commit per event"
SQLITE_64 = "SQLite: WAL, synchronous=FULL, one commit per 64 events, none acknowledged by itself"
BARE = "one write and fdatasync to a plain file"
SQLITE_READ = "SQLite: SELECT of as many rows"


class Bridge:
    """Acknowledgements from the committer's thread to futures of the loop: the least a journal of an actor needs."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        writer = JournalWriter.open(folder, 1, clock=SystemClock())
        self._committer = GroupCommitter(writer, committed=self._committed, failed=self._failed)
        self.batches = 0

    def append(self, body: bytes) -> "asyncio.Future[None]":
        """Done when ``body`` is durable."""
        future = self._loop.create_future()
        self._waiting.append((self._committer.submit(body), future))
        return future

    def close(self) -> None:
        assert self._committer.close()

    def _committed(self, first: int, last: int, frames: bytes) -> None:
        self._loop.call_soon_threadsafe(self._acknowledge, last)

    def _failed(self, first: int, error: StateError) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _acknowledge(self, last: int) -> None:
        self.batches += 1
        waiting = self._waiting
        while waiting and waiting[0][0] <= last:
            waiting.popleft()[1].set_result(None)


class Database:
    """The peer: a table of events in SQLite."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    def rate(self, seconds: float, each: int) -> float:
        """Durable events per second, ``each`` per commit."""
        execute, count = self._db.execute, 0
        begin = time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            if each == 1:
                execute("INSERT INTO events (body) VALUES (?)", (BODY,))
            else:
                execute("BEGIN")
                for _ in range(each):
                    execute("INSERT INTO events (body) VALUES (?)", (BODY,))
                execute("COMMIT")
            count += each
        return count / spent

    def fill(self, rows: int) -> None:
        """Make the table hold exactly ``rows``."""
        self._db.execute("DELETE FROM events")
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO events (body) VALUES (?)", ((BODY,) for _ in range(rows)))
        self._db.execute("COMMIT")

    def read(self) -> float:
        """Seconds to get all rows."""
        begin = time.perf_counter()
        count = sum(1 for _ in self._db.execute("SELECT sequence, body FROM events ORDER BY sequence"))
        assert count
        return time.perf_counter() - begin

    def close(self) -> None:
        self._db.close()


async def window(bridge: Bridge, seconds: float) -> tuple[float, list[float]]:
    """Durable events per second of all writers together, and milliseconds each waited."""
    waits: list[float] = []
    begin = time.perf_counter()
    until = begin + seconds

    async def write() -> None:
        now = time.perf_counter()
        while now < until:
            await bridge.append(BODY)
            then, now = now, time.perf_counter()
            waits.append((now - then) * 1e3)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return len(waits) / (time.perf_counter() - begin), waits


async def throughput(folder: Path, seconds: float) -> list[Row]:
    bridge, database = Bridge(folder / "journal-a"), Database(folder / "events.sqlite")
    ours: list[float] = []
    waits: list[float] = []
    single: list[float] = []
    grouped: list[float] = []
    try:
        await window(bridge, seconds / 2)
        for _ in range(TURNS):
            rate, some = await window(bridge, seconds)
            ours.append(rate)
            waits += some
            single.append(database.rate(seconds, 1))
            grouped.append(database.rate(seconds, WRITERS))
    finally:
        bridge.close()
        database.close()
    rate, peer, peer_64 = (percentile(rates, 50) for rates in (ours, single, grouped))
    name = f"durable events, {WRITERS} writers, {len(BODY)} B"
    ok = rate >= MIN_RATE and rate >= MIN_RATIO * peer
    target = f">= {MIN_RATE:,}/s and >= {MIN_RATIO:g} x"
    return [
        Row(name, "1/s", rate, len(ours), None, peer, SQLITE, target, ok),
        Row(name, "1/s", rate, len(ours), None, peer_64, SQLITE_64),
        timed_row("an event's acknowledgement among them", "ms", waits),
        Row("events in a batch among them", "", len(waits) / max(1, bridge.batches), len(waits)),
    ]


async def single_appends(folder: Path, samples: int) -> Row:
    bridge = Bridge(folder / "journal-b")
    fd = os.open(folder / "plain", os.O_RDWR | os.O_CREAT)
    data = bytes(len(BODY) + 44)
    ours: list[float] = []
    bare: list[float] = []
    offset = 0
    try:
        for number in range(samples + 50):
            begin = time.perf_counter()
            await bridge.append(BODY)
            middle = time.perf_counter()
            os.pwrite(fd, data, offset)
            os.fdatasync(fd)
            end = time.perf_counter()
            offset += len(data)
            if number >= 50:
                ours.append((middle - begin) * 1e3)
                bare.append((end - middle) * 1e3)
    finally:
        bridge.close()
        os.close(fd)
    ok = percentile(ours, 50) <= MAX_APPEND * percentile(bare, 50)
    target = f"<= {MAX_APPEND:g} x"
    return timed_row("one append, acknowledged", "ms", ours, peer=bare, peer_name=BARE, target=target, ok=ok)


def replay(folder: Path, records: int) -> Row:
    journal = folder / "journal-c"
    writer = JournalWriter.open(journal, 1, clock=SystemClock())
    batch = [BODY] * 1_000
    for _ in range(records // len(batch)):
        writer.append(batch)
    writer.close()
    database = Database(folder / "rows.sqlite")
    ours: list[float] = []
    peer: list[float] = []
    try:
        database.fill(records)
        for _ in range(3):
            begin = time.perf_counter()
            with JournalReader(journal) as reader:
                count = sum(1 for _ in reader.read())
            ours.append(time.perf_counter() - begin)
            assert count == records
            peer.append(database.read())
    finally:
        database.close()
    limit = MAX_REPLAY * records / REPLAYED
    ok = percentile(ours, 50) < limit
    target = f"< {limit:g} s"
    return timed_row(
        f"replay of {records:,} records", "s", ours, peer=peer, peer_name=SQLITE_READ, target=target, ok=ok
    )


def run(samples: int, quick: bool, folder: Path) -> BenchReport:
    with tempfile.TemporaryDirectory(dir=folder, prefix="rayvisor-bench-") as name:
        home = Path(name)
        rows = asyncio.run(throughput(home, WINDOW / 5 if quick else WINDOW))
        rows.append(asyncio.run(single_appends(home, samples // 10 if quick else samples)))
        rows.append(replay(home, REPLAYED // 10 if quick else REPLAYED))
    return BenchReport("journal", tuple(rows), setting())


def main() -> None:
    """Read the command line, measure, print."""
    made = parser("journal", "durable events, one append, replay", SAMPLES)
    made.add_argument("--quick", action="store_true", help="a tenth of it")
    made.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure (default: here)")
    options = made.parse_args()
    measure(lambda: run(options.samples, options.quick, options.folder), as_json=options.json)


if __name__ == "__main__":
    main()
