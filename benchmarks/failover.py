"""How soon a standby acts: ``python -m benchmarks.failover [--json] [--samples N] [--live N]``.

* *hot*: from just before the SIGKILL of a journalling primary to the first event its promoted standby acknowledged
  under the new epoch (the actor appends all the time and tells the moment; one monotonic clock for all processes). The
  peer is Ray's own restart of a bare actor on the same cluster, in turns, until a call made after the kill is answered.
* *live*: the Binance connector on a replayed capture with a live standby. From just before the SIGKILL to the next
  trade at a consumer that comes from the promoted one; and over the whole run, by trade id: how many trades the
  consumer missed, how many it saw twice. At the end the promoted connector's book is compared with the venue's own.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._recoverable import CONSUMED
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from benchmarks.restart import RAY, RayTarget
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.system import System

SAMPLES = 50
LIVE = 100
PATH = "/target"
_CAPTURE = Path(__file__).parents[2] / "shared" / "captures" / "binance_spot_btcusdt.gz"
_SMALL = Path(__file__).parents[1] / "examples" / "data" / "binance_small.gz"
_PORT = 18765


def hot(samples: int) -> list[Row]:
    """A journalling actor and its journal standby."""
    child = {"id": "target", "actor": "benchmarks._recoverable:Appender", "recovery": {"standbys": 1}}
    acknowledged: list[float] = []
    promoted: list[float] = []
    peer: list[float] = []
    with BenchSystem(topology([child], spares=1)) as system:
        system.connect()
        bare = RayTarget()
        life = 1
        for _ in range(samples):
            pid = system.standby_ready(PATH, life)
            life += 1
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            told = system.trail.wait("actor_acknowledged", PATH, life)
            at = told.data["at"]
            assert isinstance(at, float)
            acknowledged.append((at - began) * 1e3)
            done = system.trail.wait(EventKind.PROMOTED, PATH, life)
            promoted.append(float(done.data["promote_ms"] or 0))
            peer.append(bare.to_answer())
    p50, p99, ray = percentile(acknowledged, 50), percentile(acknowledged, 99), percentile(peer, 50)
    return [
        timed_row(
            "hot: SIGKILL to the first event acknowledged under the new epoch",
            "ms",
            acknowledged,
            peer=peer,
            peer_name=RAY,
            target="p50 <= 10, p99 <= 50, Ray / ours >= 200",
            ok=p50 <= 10 and p99 <= 50 and ray / p50 >= 200,
        ),
        timed_row("hot: of that, order to promoted (in the standby)", "ms", promoted),
        Row("hot: Ray / ours", "times", ray / p50, samples, target=">= 200", ok=ray / p50 >= 200),
    ]


def live(kills: int) -> list[Row]:
    """The connector, its shadow, and a consumer that writes down what it gets."""
    capture = str(_CAPTURE if _CAPTURE.exists() else _SMALL)
    found: list[float] = []
    folder = Path(tempfile.mkdtemp(prefix="rayvisor-bench-"))
    history = folder / "trades"
    declared = topology(
        [
            {
                "id": "venue",
                "actor": "actors.venue.replay:ReplayVenue",
                "config": {"capture": capture, "port": _PORT, "speed": "20x", "loop": True},
            },
            {
                "id": "target",
                "actor": "actors.connectors.binance:BinanceConnector",
                "config": {
                    "symbols": ["BTCUSDT"],
                    "url": f"ws://127.0.0.1:{_PORT}",
                    "rest_url": f"http://127.0.0.1:{_PORT}",
                    "budget": {"connections": 100_000},
                },
                "ready_timeout": "30s",
                "recovery": {"standbys": 1},
            },
            {
                "id": "consumer",
                "actor": "benchmarks._recoverable:Consumer",
                "config": {"target": PATH, "topic": "trade.", "history": str(history)},
            },
        ],
        spares=1,
    )
    with BenchSystem(declared) as system:
        life = 1
        for _ in range(kills):
            pid = system.standby_ready(PATH, life)
            life += 1
            began = time.monotonic_ns()
            os.kill(pid, signal.SIGKILL)
            found.append(_next_trade(history, life, began))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:  # one process joins one Ray cluster
            same = other.submit(_books_agree, system.data).result()
        trades = _read(history)
    shutil.rmtree(folder)
    ids = [trade[0] for trade in trades]
    missed = sum(b - a - 1 for a, b in pairwise(ids) if b > a + 1)
    twice = len(ids) - len(set(ids))
    disorder = sum(1 for a, b in pairwise(ids) if b <= a) - twice
    p50 = percentile(found, 50)
    return [
        timed_row(
            "live: SIGKILL to the next trade at the consumer", "ms", found, target="p50 <= 15 (feed permitting)",
            ok=p50 <= 15,
        ),
        Row("live: trades missed by the consumer", "trades", missed, len(ids), target="0", ok=missed == 0),
        Row("live: trades it saw twice", "trades", twice, len(ids), target="0", ok=twice == 0),
        Row("live: trades out of order", "trades", max(0, disorder), len(ids), target="0", ok=disorder <= 0),
        Row("live: books compared with the venue's that differ", "books", 1 - same, 1, target="0", ok=bool(same)),
    ]  # fmt: skip


def _read(history: Path) -> list[tuple[int, int, int]]:
    data = history.read_bytes() if history.exists() else b""
    return [(row[0], row[1], row[2]) for row in CONSUMED.iter_unpack(data[: len(data) - len(data) % CONSUMED.size])]


def _next_trade(history: Path, life: int, began: int) -> float:
    """Milliseconds from ``began`` to the first trade that the consumer has from ``life``."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        size = history.stat().st_size if history.exists() else 0
        tail = 4096 * CONSUMED.size
        with history.open("rb") as file:
            file.seek(max(0, size - size % CONSUMED.size - tail))
            rows = list(CONSUMED.iter_unpack(file.read(min(tail, size - size % CONSUMED.size))))
        for _, incarnation, at in rows:
            if incarnation == life:
                return float(at - began) / 1e6
        time.sleep(0.005)
    raise TimeoutError(f"no trade of life {life} within 30 s")


def _books_agree(data: Path) -> bool:
    """The connector's book and the venue's, once both stand at the same update."""
    from supervisors.runtime.system import System

    with System.connect(data) as client:
        time.sleep(1.0)
        for _ in range(200):
            mine, theirs = _digest(client, PATH), _digest(client, "/venue")
            if mine["last_update_id"] == theirs["last_update_id"]:
                return mine["digest"] == theirs["digest"]
            time.sleep(0.01)
    return False


def _digest(client: "System", path: str) -> Mapping[str, object]:
    found = client.call(path, "digest")
    assert isinstance(found, Mapping)
    return found


def run(samples: int, kills: int) -> BenchReport:
    """Measure both kinds: about 3 s per sample."""
    before = setting()
    rows = [*hot(samples), *live(kills)]
    return BenchReport("Failover", tuple(rows), before | {"load average at the end": setting()["load average"]})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("failover", "how soon a standby acts", SAMPLES)
    options.add_argument("--live", type=int, default=LIVE, help=f"kills of the live connector (default {LIVE})")
    given = options.parse_args()
    measure(lambda: run(given.samples, given.live), as_json=given.json)


if __name__ == "__main__":
    main()
