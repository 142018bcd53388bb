"""How far a hot standby is behind its primary, and how many events a second a pair carries: two processes, no Ray.

``python -m benchmarks.replication [--json] [--seconds S] [--rate R]`` (STA-3)

Primary: a process with ``ActorJournal`` on a real disk, ``ack: both``. Standby: another process with ``Follower``,
joined over ipc as in a system. Lag: from when the primary sent a batch to when the last event of that batch is in the
standby's state, counted for each event; it is what the standby itself reports. The time from ``append`` to the
standby's state is told beside it: that has the sync of the disk in it. Offered: ``--rate`` events a second, those of
each millisecond at once. Ceiling: 512 tasks that append one event after the other.

The peer is what no replication can beat: the same bytes over a bare ZeroMQ PUSH/PULL pair between the same kind of
processes, in the same run, offered in the same batches, with nothing decoded, written or applied.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zmq

from benchmarks._ledger import PATH, Ledger, Placed, open_journal
from benchmarks._report import BenchReport, Row, percentile
from benchmarks._system import measure, parser, setting
from supervisors.recovery.policy import AckMode
from supervisors.runtime.following import Follower, _Batch
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Applied, Feed, Join, Message, decode, encode

RATE = 20_000
SECONDS = 5.0
LIMIT_MS = 5.0
WRITERS = 512
#: bytes of one journalled ``Placed`` on the wire
RECORD = 88
PEER = "bare ZeroMQ PUSH/PULL of the same bytes in the same batches, nothing written or applied"
_STEP = 0.001
_LONG = 30.0


class Measured(Follower):
    """A standby that notes how old each event is once it is in the state."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.lags: list[float] = []
        self._seen: list[_Batch] = []

    def _work(self, budget: float) -> bool:
        self._seen += [batch for batch in self._inbox if isinstance(batch, _Batch) and batch not in self._seen]
        more = super()._work(budget)
        now = time.monotonic()
        while self._seen and self._seen[0].records[-1].sequence <= self._replica.sequence:
            batch = self._seen.pop(0)
            self.lags += [now - batch.since] * len(batch.records)
        return more


async def _be_standby(endpoint: str, folder: Path) -> None:
    """The other process: follow until told to end; say what was seen."""
    plane = PlaneLoop("plane", lambda error: None)
    plane.start()
    target = Ledger()
    target.lags = []
    follower = Measured(open_journal(folder, target, plane, ack=AckMode.BOTH), "standby", 0.1)
    await follower.restore()
    plane.call_soon(lambda: follower.feed(Feed(PATH, 1, 1, "primary", endpoint, "")))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    plane.stop()
    skip = len(follower.lags) // 10  # the start: imports, first connection
    found = {"sent": follower.lags[skip:], "appended": target.lags[skip:], "count": follower._replica.sequence}
    print(json.dumps({key: _summary(value) if isinstance(value, list) else value for key, value in found.items()}))


def _summary(values: list[float]) -> tuple[float, float, int]:
    return (percentile(values, 50) * 1e3, percentile(values, 99) * 1e3, len(values)) if values else (0.0, 0.0, 0)


def _be_pull(endpoint: str) -> None:
    """The peer's other process: note how old each batch is when it comes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.connect(endpoint)
    lags: list[float] = []
    count = 0
    while True:
        head, body = socket.recv_multipart()
        if not body:
            break
        size = len(body) // RECORD
        lags += [time.monotonic() - float(head)] * size
        count += size
    print(json.dumps({"sent": _summary(lags[len(lags) // 10 :]), "count": count, "ended": time.monotonic()}))


class _Other:
    """The second process."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "benchmarks.replication", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "_Other":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def result(self) -> dict[str, list[float] | float]:
        said, _ = self._process.communicate("\n", timeout=_LONG)
        found: dict[str, list[float] | float] = json.loads(said)
        return found


class _Primary:
    """The primary's process, this one."""

    def __init__(self, base: Path) -> None:
        self.plane = PlaneLoop("plane", lambda error: None)
        self._router = self.plane.router(b"primary")
        self.endpoint = f"ipc://{base}/primary"
        self._router.bind(self.endpoint)
        self.received = 0
        self.plane.on_readable(self._router, self._receive)
        self.journal = open_journal(base / "state", Ledger(), self.plane, ack=AckMode.BOTH, send=self._send)
        self.plane.start()

    def _receive(self, frames: list[bytes]) -> None:
        message = decode(frames[1])
        if isinstance(message, Join):
            self.journal.joined(frames[0], message)
        elif isinstance(message, Applied):
            self.received = message.received
            self.journal.applied(message)

    def _send(self, to: bytes, message: Message) -> None:
        self._router.send_multipart((to, encode(message)), zmq.NOBLOCK)

    async def begin(self) -> None:
        await self.journal.restore("")
        await self.journal.open(1)

    async def joined(self) -> None:
        """Wait until the standby has the first event."""
        await self.journal.append(Placed(0, "a", 1, time.monotonic()))
        async with asyncio.timeout(_LONG):
            while self.received < 1:  # noqa: ASYNC110 - it is another thread that says so
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        await self.journal.close(checkpoint=False)
        self.plane.stop()


async def _lag(rate: int, seconds: float) -> dict[str, list[float] | float]:
    """Steady load; what the standby saw."""
    with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as name:
        base = Path(name)
        primary = _Primary(base)
        await primary.begin()
        with _Other("--standby", primary.endpoint, "--folder", str(base / "other")) as other:
            await primary.joined()
            tasks: set[asyncio.Task[object]] = set()
            began = due = time.monotonic()
            offered = 0
            while due < began + seconds:
                now = time.monotonic()
                wanted = int((now - began) * rate)
                for number in range(offered, wanted):
                    task = asyncio.ensure_future(primary.journal.append(Placed(number % 10_000, "a", 1, now)))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                offered = max(offered, wanted)
                due = max(due + _STEP, now)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            elapsed = time.monotonic() - began
            if tasks:
                await asyncio.wait(tasks)
            found = other.result()
            await primary.end()
        found["rate"] = offered / elapsed
        return found


async def _ceiling(seconds: float) -> float:
    """Events a second, acknowledged by disk and standby."""
    with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as name:
        base = Path(name)
        primary = _Primary(base)
        await primary.begin()
        with _Other("--standby", primary.endpoint, "--folder", str(base / "other")) as other:
            await primary.joined()
            until = time.monotonic() + seconds

            async def writer() -> int:
                count = 0
                while (now := time.monotonic()) < until:
                    await primary.journal.append(Placed(count, "a", 1, now))
                    count += 1
                return count

            began = time.monotonic()
            counts = await asyncio.gather(*(writer() for _ in range(WRITERS)))
            elapsed = time.monotonic() - began
            if primary.received < sum(counts):
                raise RuntimeError("the standby fell behind and was not waited for: this is no figure of a pair")
            other.result()
            await primary.end()
    return sum(counts) / elapsed


def _bare(rate: int, seconds: float) -> tuple[list[float], float]:
    """The peer: (p50, p99, samples) of its lag in ms at ``rate``, and events a second at full speed."""
    batch = max(1, int(rate * _STEP))
    found: list[list[float]] = []
    speed = 0.0
    for paced in (True, False):
        with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as name:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            socket = context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, 1000)
            endpoint = f"ipc://{name}/push"
            socket.bind(endpoint)
            with _Other("--pull", endpoint) as other:
                # at full speed as many events a batch as there are writers
                body = b"x" * RECORD * (batch if paced else WRITERS)
                socket.send_multipart((str(time.monotonic()).encode(), body))
                time.sleep(1.0)
                began = due = time.monotonic()
                while due < began + seconds:
                    socket.send_multipart((str(time.monotonic()).encode(), body))
                    due = due + _STEP if paced else time.monotonic()
                    if paced:
                        time.sleep(max(0.0, due - time.monotonic()))
                socket.send_multipart((b"0", b""))
                said = other.result()
                summary, count, ended = said["sent"], said["count"], said["ended"]
                assert isinstance(summary, list)
                assert isinstance(count, int)
                assert isinstance(ended, float)
                found.append(summary)
                speed = count / (ended - began)
            socket.close(linger=0)
            context.term()
    return found[0], speed


def run(rate: int, seconds: float) -> BenchReport:
    """Measure: four times ``seconds`` and some more."""
    lag = asyncio.run(_lag(rate, seconds))
    ceiling = asyncio.run(_ceiling(seconds))
    bare, bare_speed = _bare(rate, seconds)
    sent, appended, offered = lag["sent"], lag["appended"], lag["rate"]
    assert isinstance(sent, list)
    assert isinstance(appended, list)
    assert isinstance(offered, float)
    at = f"at {offered:,.0f} events/s"
    rows = (
        Row(
            f"lag {at}",
            "ms",
            sent[0],
            int(sent[2]),
            sent[1],
            bare[0],
            PEER,
            f"p99 <= {LIMIT_MS:g} ms at {rate:,}",
            sent[1] <= LIMIT_MS,
        ),
        Row("the peer's p99 of the same", "ms", bare[1], int(bare[2])),
        Row(f"append to the standby's state {at}", "ms", appended[0], int(appended[2]), appended[1]),
        Row("ceiling, acknowledged by disk and standby", "events/s", ceiling, 1, None, bare_speed, PEER),
    )
    return BenchReport("Replication to a hot standby, two processes, without Ray", rows, setting())


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("replication", "how far a hot standby is behind", 1)
    options.add_argument("--seconds", type=float, default=SECONDS, help=f"of each load (default {SECONDS:g})")
    options.add_argument("--rate", type=int, default=RATE, help=f"events a second (default {RATE:,})")
    for role in ("--standby", "--folder", "--pull"):
        options.add_argument(role, default="", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.standby:
        asyncio.run(_be_standby(chosen.standby, Path(chosen.folder)))
    elif chosen.pull:
        _be_pull(chosen.pull)
    else:
        measure(lambda: run(chosen.rate, chosen.seconds), as_json=chosen.json)


if __name__ == "__main__":
    main()
