"""What is lost when processes are killed at the worst moment: ``python -m benchmarks.rpo [--json] [--kills N]``.

A journalling actor with a hot standby appends all the time, and a client posts to it from outside; both write down what
was acknowledged to them and when. Meanwhile its primary, its standby, both, its supervisor, a primary in the middle of
a checkpoint and a standby in the middle of its promotion are killed with SIGKILL at random moments. Afterwards a
checker that knows nothing of how it was done reads the histories of actor and client and the journal on the disk:

* no acknowledged event is missing from the journal;
* no event is in it twice, and none was applied twice;
* no two lives acted at the same time: after the first acknowledgement under an epoch none under an older one.

The peer is a counter kept in a bare Ray actor with ``max_restarts=-1``, killed alike (a tenth as often): what it has
forgotten of what it acknowledged.
"""

import os
import random
import shutil
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks._recoverable import ACKNOWLEDGED, Posted
from benchmarks._report import BenchReport, Row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from supervisors.runtime.observer import Observer
from supervisors.state.folders import journal_folder
from supervisors.state.journal import JournalReader
from supervisors.trail.status import ChildStatus

if TYPE_CHECKING:
    from supervisors.runtime.system import System

KILLS = 300
PATH = "/cell/target"
CLIENT = 1_000_000_000  #: sources of clients begin here; below are epochs of lives
_CLIENT_ROW = struct.Struct("<QQQ")
KINDS = ("primary", "standby", "both", "supervisor", "checkpoint", "promotion")


class Victims:
    """Kills what it is told to, and waits until the tree has healed.

    Args:
        system: that is up.
        poster: the client outside.
        chance: random moments.
    """

    def __init__(self, system: BenchSystem, poster: "Poster", chance: random.Random) -> None:
        self._observer = Observer(system.data)
        self._poster = poster
        self._chance = chance
        self.counts = dict.fromkeys(KINDS, 0)
        self.slowest = 0.0

    def close(self) -> None:
        self._observer.close()

    def _look(self) -> tuple[ChildStatus | None, int]:
        """The child, and its supervisor's pid."""
        pid, found = 0, None
        for supervisor in self._observer.status().supervisors:
            for child in supervisor.children:
                if child.path == PATH:
                    found = child
                if child.path == "/cell":
                    pid = child.pid
        return found, pid

    def heal(self) -> tuple[ChildStatus, int]:
        """Wait for a ready primary with a synced standby under a supervisor that answers."""
        began = time.monotonic()
        while True:
            child, supervisor = self._look()
            if child is not None and child.pid and child.state == "ready" and supervisor and _in_sync(child):
                self.slowest = max(self.slowest, time.monotonic() - began)
                return child, supervisor
            if time.monotonic() - began > 60.0:
                raise TimeoutError(f"not healed within 60 s: {child}")
            time.sleep(0.05)

    def strike(self, kind: str) -> None:
        """One of ``KINDS``, at a random moment."""
        child, supervisor = self.heal()
        time.sleep(self._chance.random() * 0.15)
        standby = next(one.pid for one in child.standbys if one.state == "synced")
        self.counts[kind] += 1
        match kind:
            case "primary":
                _kill(child.pid)
            case "standby":
                _kill(standby)
            case "both":
                first, second = self._chance.sample((child.pid, standby), 2)
                _kill(first)
                time.sleep(self._chance.choice((0.0, 0.001, 0.005)))
                _kill(second)
            case "supervisor":
                _kill(supervisor)
                if self._chance.random() < 0.5:
                    time.sleep(self._chance.random() * 0.3)
                    _kill(child.pid)
            case "checkpoint":
                self._poster.checkpoint()
                time.sleep(self._chance.random() * 0.02)
                _kill(child.pid)
            case "promotion":
                _kill(child.pid)
                time.sleep(self._chance.random() * 0.015)
                _kill(standby)


def _in_sync(child: ChildStatus) -> bool:
    return any(standby.state == "synced" for standby in child.standbys)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it was gone already


class Poster:
    """A client outside of the tree: posts, and writes down what was acknowledged; it alone uses the connection."""

    def __init__(self, client: "System", file: Path) -> None:
        self._wanted = threading.Event()
        self._client = client
        self._file = file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self.posted = 0

    def start(self) -> None:
        self._thread.start()

    def checkpoint(self) -> None:
        """Have the actor take a checkpoint now."""
        self._wanted.set()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60.0)

    def _run(self) -> None:
        number = 1
        with self._file.open("ab", buffering=0) as file:
            while not self._stop.is_set():
                try:
                    if self._wanted.is_set():
                        self._wanted.clear()
                        self._client.call(PATH, "checkpoint", timeout=1.0)
                    self._client.call(PATH, "post", CLIENT, number, timeout=5.0)
                except Exception:  # noqa: BLE001 - whatever happened, nothing was acknowledged: the same number again
                    time.sleep(0.01)
                    continue
                file.write(_CLIENT_ROW.pack(CLIENT, number, time.monotonic_ns()))
                self.posted = number
                number += 1


class Findings:
    """What the checker found."""

    def __init__(self, history: Path, journal: Path, client: Path) -> None:
        rows = [row for file in sorted(history.glob("actor-*")) for row in _rows(file, ACKNOWLEDGED)]
        acknowledged = {(source, number) for _, _, source, number, _ in rows}
        acknowledged |= {(source, number) for source, number, _ in _rows(client, _CLIENT_ROW)}
        seen: dict[tuple[int, int], int] = {}
        self.events = 0
        previous_epoch = 0
        self.stale = 0
        decoder = msgspec.msgpack.Decoder(Posted)
        for record in JournalReader(journal).read():
            event = decoder.decode(record.body)
            key = event.source, event.number
            seen[key] = seen.get(key, 0) + 1
            self.events += 1
            self.stale += record.epoch < previous_epoch
            previous_epoch = record.epoch
        self.acknowledged = len(acknowledged)
        self.lost = len(acknowledged - seen.keys())
        self.twice = sum(count - 1 for count in seen.values())
        self.overlaps = _overlaps(rows)


def _rows(file: Path, layout: struct.Struct) -> list[tuple[int, ...]]:
    data = file.read_bytes() if file.exists() else b""
    return list(layout.iter_unpack(data[: len(data) - len(data) % layout.size]))


def _overlaps(rows: list[tuple[int, ...]]) -> int:
    """Acknowledgements of an epoch after a newer one had its first."""
    first: dict[int, int] = {}
    for epoch, _, _, _, at in rows:
        first[epoch] = min(first.get(epoch, at), at)
    found = 0
    newer = sorted(first.items())
    for epoch, _, _, _, at in rows:
        found += any(other > epoch and begun < at for other, begun in newer)
    return found


def run(kills: int, seed: int) -> BenchReport:
    """Kill, heal, and check: about 2 s per kill."""
    before = setting()
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="rayvisor-bench-"))
    child = {
        "id": "target",
        "actor": "benchmarks._recoverable:Witness",
        "config": {"history": str(folder)},
        "recovery": {
            "standbys": 1,
            "checkpoint": {"every": "2s", "keep": 3},
            # by default three failed attempts within an hour are a person's business: here they are the point
            "rules": [
                {"when": "standby_synced", "then": "hot"},
                {"when": "checkpoint_fresh", "then": "warm"},
                {"when": "always", "then": "cold"},
            ],
        },
    }
    cell = {"id": "cell", "intensity": 1_000_000, "period": "1s", "children": [child]}
    patient = {
        "supervisor": {"backoff": None, "max_consecutive": None},
        "child": {"backoff": None, "max_consecutive": None},
    }
    try:
        with BenchSystem({**topology([cell], spares=2), "defaults": patient}) as system:
            client = system.connect()
            poster = Poster(client, folder / "client")
            victims = Victims(system, poster, chance)
            victims.heal()
            poster.start()
            for number in range(kills):
                victims.strike(KINDS[number % len(KINDS)])
            victims.heal()
            time.sleep(1.0)
            poster.stop()
            state = client.call(PATH, "state", timeout=30.0)
            victims.close()
            ray_lost, ray_acknowledged = _ray(max(1, kills // 10), chance)
            found = Findings(folder, journal_folder(system.data, PATH), folder / "client")
        assert isinstance(state, dict)
        applied_twice = int(state["twice"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    share = ray_lost / max(1, ray_acknowledged)
    rows = [
        Row("kills", "SIGKILLs", kills, kills),
        Row("events in the journal", "events", found.events, found.events),
        Row("acknowledged to actor and client", "events", found.acknowledged, found.acknowledged),
        _zero("acknowledged events lost", found.lost, found.acknowledged, float(ray_lost)),
        _zero("events in the journal twice", found.twice, found.events),
        _zero("events applied twice", applied_twice, found.events),
        _zero("acknowledgements of an old epoch after a new one's first", found.overlaps, found.acknowledged),
        _zero("records of an old epoch after a newer one's", found.stale, found.events),
        Row("slowest to heal with a standby in sync", "s", round(victims.slowest, 3), kills),
    ]
    extra: dict[str, str | int | float] = {
        "kills by kind": " ".join(f"{kind} {count}" for kind, count in victims.counts.items()),
        "seed": seed,
    }
    extra["Ray's actor forgot"] = f"{ray_lost} of {ray_acknowledged} acknowledged ({share:.0%})"
    return BenchReport("Recovery point", tuple(rows), before | extra)


def _zero(name: str, value: int, samples: int, peer: float | None = None) -> Row:
    peer_name = "a counter in a bare Ray actor, max_restarts=-1, killed a tenth as often" if peer is not None else ""
    return Row(name, "", value, samples, None, peer, peer_name, target="0", ok=value == 0)


def _ray(kills: int, chance: random.Random) -> tuple[int, int]:
    """What a bare restarted actor forgets: (forgotten, acknowledged)."""
    import ray

    from benchmarks._bare import Counting

    actor = ray.remote(Counting).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    add: Callable[[], int] = lambda: int(ray.get(actor.add.remote(), timeout=60))  # noqa: E731
    acknowledged = lost = 0
    for _ in range(kills):
        held = 0
        for _ in range(chance.randrange(5, 50)):
            held = add()
            acknowledged += 1
        _kill(ray.get(actor.pid.remote()))
        after = add()
        acknowledged += 1
        lost += max(0, held + 1 - after)
    return lost, acknowledged


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("rpo", "what is lost when processes are killed at the worst moment", KILLS)
    options.add_argument("--kills", type=int, default=KILLS, help=f"SIGKILLs (default {KILLS})")
    options.add_argument("--seed", type=int, default=7, help="of the random moments (default 7)")
    given = options.parse_args()
    measure(lambda: run(given.kills, given.seed), as_json=given.json)


if __name__ == "__main__":
    main()
