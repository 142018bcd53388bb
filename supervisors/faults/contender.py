"""A rival that asks for somebody's lease again and again: whoever holds it must never lose it to the rival (FLT-1).

It asks as any process may, naming nobody as dead. So it may be given the lease only when that is over by the store's
own rules: never taken, given back, or run out because its holder did not renew it. It gives back at once what it got,
and its token stays used, so a holder that had let its lease run out finds it lost. A grant while the lease was still
running is a violation of INV-3, and counted as one.

``python -m supervisors.faults.contender CONTEST ORDER DATA_DIR SECONDS PARENT`` runs one by itself (the first two in
JSON); it ends after so many seconds, on SIGTERM, and when the process PARENT is gone. The injector runs it in
``supervisors.runtime.helper``.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from supervisors.core.errors import StoreUnavailable
from supervisors.faults.order import FaultOrder
from supervisors.state.leases import BOOT_CLOCK, Grant, LeaseRow, LeaseStore, open_lease_store

#: how the rival's names begin
RIVAL = "contender:"
#: below the data directory: what rivals saw, a file for each fault
SEEN = Path("faults") / "seen"
#: seconds between two writings of what it saw
_TELL = 0.25


class Contest(msgspec.Struct, frozen=True):
    """Whose lease, and where it is kept.

    Attributes:
        path: whose.
        url: of the store (``SystemSpec.state``). system: the system's name.
        ttl: seconds a grant lasts unless given back; the target's own ``expire``.
    """

    path: str
    url: str
    system: str
    ttl: float


class Seen(msgspec.Struct):
    """What a rival saw.

    Attributes:
        asked: requests. refused: somebody had it. silent: the store did not answer.
        granted: the lease was over, and the rival got it. tokens: of the last grants.
        alive: of these, how often the process that had held it was still there (stopped, cut off, or just fenced).
        violations: grants while the lease of another was running. why: in words, of the first.
    """

    asked: int = 0
    refused: int = 0
    silent: int = 0
    granted: int = 0
    alive: int = 0
    violations: int = 0
    tokens: list[int] = []
    why: str = ""


def run(order: FaultOrder, data_dir: Path, contest: Contest, stop: Callable[[], bool]) -> Seen:
    """Ask until ``stop()``; give back what was got, write down what was seen.

    Args:
        order: of kind ``contend``.
        data_dir: of the system.
        contest: whose lease.
        stop: asked before each request and while it waits.

    Raises:
        StateError: there is no such store.
        OSError: what it saw cannot be written.
    """
    store = open_lease_store(contest.url, data_dir, system=contest.system)
    rival = Rival(store, contest, f"{RIVAL}{order.id}")
    told = BOOT_CLOCK.monotonic()
    try:
        while not stop():
            rival.ask()
            now = BOOT_CLOCK.monotonic()
            if now - told >= _TELL:
                told = now
                _write(data_dir, order.id, rival.seen)
            _pause(order.number("every"), stop)
    finally:
        store.close()
        with suppress(StoreUnavailable):
            clean(order, data_dir, contest)  # also what it was given without being told
        _write(data_dir, order.id, rival.seen)
    return rival.seen


class Rival:
    """Asks, and counts. It has a lease only while ``ask`` runs, unless the store does not take it back.

    Args:
        store: where.
        contest: whose lease.
        name: the holder's name it asks under.
    """

    def __init__(self, store: LeaseStore, contest: Contest, name: str) -> None:
        self._store = store
        self._contest = contest
        self._name = name
        self._token = 0
        self.seen = Seen()

    def ask(self) -> None:
        """One request."""
        path, seen = self._contest.path, self.seen
        self.give_back()
        seen.asked += 1
        try:
            before = self._store.read(path)
            looked = BOOT_CLOCK.monotonic()
            answer = self._store.acquire(path, self._name, self._contest.ttl)
        except StoreUnavailable:
            seen.silent += 1
            return
        if not isinstance(answer, Grant):
            seen.refused += 1
            return
        took = BOOT_CLOCK.monotonic() - looked
        self._token = answer.token
        self._count(answer, before, took)
        self.give_back()

    def _count(self, grant: Grant, before: LeaseRow | None, took: float) -> None:
        seen = self.seen
        seen.granted += 1
        seen.tokens = [*seen.tokens[-9:], grant.token]
        if before is None or before.holder == self._name:
            return
        seen.alive += is_alive(before.holder)
        if not before.released and before.left > took:
            # it may have been given back, or begun anew, between our two looks: then this is no grant over it
            same = grant.token == before.token + 1 and grant.replaced == before.holder
            if same:
                seen.violations += 1
                left = f"{before.left:.3f} s left of {before.token}"
                seen.why = seen.why or f"token {grant.token} was given while {before.holder} had {left}"

    def give_back(self) -> None:
        """Release what it may have."""
        if self._token:
            with suppress(StoreUnavailable):
                self._store.release(self._contest.path, self._name, self._token)
                self._token = 0


def clean(order: FaultOrder, data_dir: Path, contest: Contest) -> None:
    """Give back what a rival that was killed has left; twice is harmless.

    Raises:
        StoreUnavailable: the store does not answer; try again.
    """
    store = open_lease_store(contest.url, data_dir, system=contest.system)
    try:
        row = store.read(contest.path)
        if row is not None and row.holder == f"{RIVAL}{order.id}" and not row.released:
            store.release(contest.path, row.holder, row.token)
    finally:
        store.close()


def probe(order: FaultOrder, data_dir: Path, contest: Contest) -> bool:
    """True when the rival has nothing.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    store = open_lease_store(contest.url, data_dir, system=contest.system)
    try:
        row = store.read(contest.path)
    finally:
        store.close()
    return row is None or row.holder != f"{RIVAL}{order.id}" or row.released


def read_seen(data_dir: Path, fault_id: str) -> Seen | None:
    """What the rival of a fault saw; None: nothing was written, or it is gone."""
    try:
        return msgspec.json.decode((data_dir / SEEN / f"{fault_id}.json").read_bytes(), type=Seen)
    except (OSError, msgspec.MsgspecError):
        return None


def is_alive(holder: str) -> bool:
    """True if the holder's name is that of a process of this machine which is there (``host@node/pid/start/boot``)."""
    words = holder.partition("@")[2].split("/")
    if len(words) != 4 or not words[1].isdigit():
        return False
    try:
        fields = (Path("/proc") / words[1] / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == words[2] and fields[0] not in "ZX"


def _write(data_dir: Path, fault_id: str, seen: Seen) -> None:
    folder = data_dir / SEEN
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{fault_id}.part"
    fresh.write_bytes(msgspec.json.encode(seen))
    fresh.replace(folder / f"{fault_id}.json")


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    until = BOOT_CLOCK.monotonic() + seconds
    while (left := until - BOOT_CLOCK.monotonic()) > 0 and not stop():
        time.sleep(min(left, 0.05))


def main(contest: str, order: str, data_dir: str, seconds: str, parent: str) -> None:
    """See the module."""
    until = BOOT_CLOCK.monotonic() + float(seconds)
    asked = False

    def ask_to_stop(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask_to_stop)
    try:
        handle = os.pidfd_open(int(parent))
    except OSError:
        return  # it is gone already
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    run(
        msgspec.json.decode(order, type=FaultOrder),
        Path(data_dir),
        msgspec.json.decode(contest, type=Contest),
        lambda: asked or BOOT_CLOCK.monotonic() >= until or bool(poller.poll(0)),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
