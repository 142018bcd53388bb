"""One budget of connection attempts per IP address, shared by all processes of a node and kept across restarts.

Binance allows 300 connections in 5 minutes from one IP (VENUES.md) and bans who exceeds it: a supervisor that
restarts a connector quickly would otherwise spend it in no time. Attempts are kept as records of 32 bytes in a file;
``flock`` guards the check, and the kernel frees it when its holder dies.

Ages are told by the monotonic clock, so a jump of the wall clock changes nothing. Only records written before the
present boot need the wall clock; they are at least as old as the uptime, and never negative in age.
"""

import asyncio
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from supervisors.core.clock import Clock
from supervisors.core.durations import Duration

#: wall ns, monotonic ns, boot id (8 bytes), crc of the first 24 bytes, padding
_RECORD = struct.Struct("<qq8sIxxxx")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: how long to wait for the lock; a holder that is stopped must not stop us: the record is written without it then
_LOCK_PATIENCE = 2.0
#: rewrite the file when it holds this many times more records than the budget
_COMPACT_FACTOR = 4


class BudgetConfig(BaseModel):
    """How many connections may be opened.

    Attributes:
        name: connectors with the same name on one node share the budget.
        connections: attempts per ``period`` (Binance: 300).
        period: seconds (Binance: 5 minutes).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="binance", pattern=r"^[A-Za-z0-9_.\-]{1,60}$")
    connections: int = Field(default=300, ge=1, le=100_000)
    period: Duration = Field(default=300.0, gt=0)


def wait_for(ages: list[float], limit: int, period: float) -> float:
    """Seconds until one more attempt fits into the window; 0 when it fits now. Pure.

    Args:
        ages: seconds since each attempt made.
        limit: attempts allowed in any ``period``.
        period: seconds.
    """
    inside = sorted(age for age in ages if age < period)
    if len(inside) < limit:
        return 0.0
    # the limit-th youngest has to leave the window
    return period - inside[limit - 1]


def age_of(wall_ns: int, mono_ns: int, *, same_boot: bool, now_wall_ns: int, now_mono_ns: int) -> float:
    """Age in seconds of a record. Pure.

    A record of an earlier boot is at least as old as the present uptime, whatever the wall clock says.
    """
    if same_boot:
        return max(0, now_mono_ns - mono_ns) / 1e9
    return max(now_wall_ns - wall_ns, now_mono_ns, 0) / 1e9


class ConnectionBudget:
    """The file shell of the window.

    Args:
        directory: where the file lives; made when missing. One per node.
        config: name and size.
        clock: monotonic for ages, wall for records that outlive a reboot.
    """

    def __init__(self, directory: Path, config: BudgetConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"{config.name}.attempts"
        self._lock = directory / f"{config.name}.lock"
        try:
            self._boot = bytes.fromhex(_BOOT_ID.read_text().replace("-", "").strip())[:8]
        except (OSError, ValueError):
            self._boot = b"noboot-0"

    async def acquire(self) -> float:
        """Take one attempt if there is one.

        Returns:
            0 when it is taken; else the seconds after which to ask again.
        """
        deadline = self._clock.monotonic() + _LOCK_PATIENCE
        while True:
            with self._locked() as held:
                if held or self._clock.monotonic() >= deadline:
                    return self._take(exclusive=held)
            await asyncio.sleep(0.01)

    def used(self) -> int:
        """Attempts inside the window now."""
        return sum(1 for age in self._ages() if age < self._config.period)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _take(self, *, exclusive: bool) -> float:
        ages = self._ages()
        wait = wait_for(ages, self._config.connections, self._config.period)
        if wait > 0:
            return wait
        if exclusive and len(ages) > _COMPACT_FACTOR * self._config.connections:
            self._compact()
        with self._file.open("ab", buffering=0) as file:
            # a predecessor killed in its write leaves a torn record: begin on a boundary, or all after it is lost
            torn = file.tell() % _RECORD.size
            file.write(b"\0" * (_RECORD.size - torn if torn else 0) + self._record(0.0))
        return 0.0

    def _record(self, age: float) -> bytes:
        wall = self._clock.utc_ns() - int(age * 1e9)
        mono = int((self._clock.monotonic() - age) * 1e9)
        body = struct.pack("<qq8s", wall, mono, self._boot)
        return _RECORD.pack(wall, mono, self._boot, crc32(body))

    def _ages(self) -> list[float]:
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return []
        whole = len(data) - len(data) % _RECORD.size
        now_wall, now_mono = self._clock.utc_ns(), int(self._clock.monotonic() * 1e9)
        ages: list[float] = []
        for wall, mono, boot, crc in _RECORD.iter_unpack(data[:whole]):
            if crc == crc32(struct.pack("<qq8s", wall, mono, boot)):
                ages.append(
                    age_of(wall, mono, same_boot=boot == self._boot, now_wall_ns=now_wall, now_mono_ns=now_mono)
                )
        return ages

    def _compact(self) -> None:
        kept = [age for age in self._ages() if age < self._config.period]
        fresh = self._file.with_suffix(f".{os.getpid()}.new")
        fresh.write_bytes(b"".join(self._record(age) for age in kept))
        fresh.replace(self._file)
