"""Who may act under a path: the port to the lease store, and the clock leases are measured by (STA-4).

Two stores: files for one machine (``lease_file``), PostgreSQL for several (``lease_postgres``). Both keep these rules:

* at most one holder at a time; a new grant's token is greater than every earlier one of its path, for ever;
* a lease ends ``ttl`` seconds after its last renewal, unless it is released, or its holder asks again itself, or is
  named as ``proved_dead``: then it is replaced at once;
* once ``acquire`` has answered, its token is never given again, also after a crash of the machine;
* no wall clock is read but for people: setting one has no effect.

PostgreSQL on asynchronous replicas can forget the newest grants when it fails over: make them synchronous, or promote
by hand. ``floor`` (a token known to have been given) protects against a store restored from a backup.
"""

import time
from pathlib import Path
from typing import Protocol

import msgspec

from supervisors.core.errors import StateError


class BootClock:
    """A ``Clock`` that also counts the time a machine sleeps (CLOCK_BOOTTIME).

    A holder that slept must find its lease over, so leases are measured with this one, never with CLOCK_MONOTONIC,
    which stands still meanwhile. A virtual machine that is halted from outside may not see the time pass at all:
    against that only the fencing token helps.
    """

    def monotonic(self) -> float:
        """Seconds since boot, sleep included, the same for every process of this machine."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        return time.time_ns()


#: the clock of leases
BOOT_CLOCK = BootClock()


class Grant(msgspec.Struct, frozen=True):
    """The lease is given.

    Attributes:
        token: the fencing token (epoch) of this hold.
        asked_at: seconds of the asker's ``BOOT_CLOCK`` just before it asked; the holder's time counts from here. It has
            no meaning on another machine.
        replaced: who held it before; empty: nobody, or the same holder.
    """

    path: str
    holder: str
    token: int
    ttl: float
    asked_at: float
    replaced: str = ""


class Held(msgspec.Struct, frozen=True):
    """Somebody else holds it, for about ``left`` seconds more unless it is renewed."""

    path: str
    holder: str
    token: int
    left: float


class LeaseRow(msgspec.Struct, frozen=True):
    """What the store knows of one path.

    Attributes:
        holder: who has it, or had it last.
        token: of the last grant.
        left: seconds as far as can be told from here; 0: over or released.
        released: given back in order.
        renewals: of this token.
        granted_utc_ns: wall clock of the grant, for people.
    """

    path: str
    holder: str
    token: int
    ttl: float
    left: float
    released: bool
    renewals: int
    granted_utc_ns: int


class LeaseStore(Protocol):
    """Where leases are kept. Safe for threads and processes; no call takes much longer than a second.

    Every method raises ``StoreUnavailable`` when the store did not answer: the request may have been carried out or
    not, and both repeating and leaving it are safe.
    """

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        """Ask for the lease of ``path``.

        Args:
            path: what is leased, e.g. the place of a child in the tree.
            holder: a name no two processes ever share.
            ttl: seconds until it ends unless renewed.
            proved_dead: a holder that acts no more for certain; if it has the lease it is replaced at once.
            floor: least token to give.
        """
        ...

    def reserve(self, path: str, count: int = 8) -> None:
        """Make the next ``acquire`` of ``path`` faster, at the price of up to ``count`` tokens that are passed over
        after a crash of the machine. It takes about what an ``acquire`` takes. Without an effect on a path that was
        never leased, and in stores that have no use for it. What was reserved is used up by the next grant.
        """
        ...

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        """Another ``ttl`` seconds from now. False: it is not this holder's under this token, and never will be again.

        A lease that ran out and that nobody else took is renewed.
        """
        ...

    def release(self, path: str, holder: str, token: int) -> None:
        """Give it back; does nothing if it is not ours. The token stays used."""
        ...

    def read(self, path: str) -> LeaseRow | None:
        """The last grant of ``path``; None: there never was one."""
        ...

    def rows(self) -> list[LeaseRow]:
        """All paths ever leased, sorted."""
        ...

    def close(self) -> None:
        """Free what is held open. Leases stay as they are."""
        ...


def check_request(holder: str, ttl: float) -> None:
    """What every store asks of a request.

    Raises:
        ValueError: no holder, a name of more than 256 bytes, or a ``ttl`` that is not above 0.
    """
    if not holder or len(holder.encode()) > 256 or ttl <= 0:
        raise ValueError(f"a lease needs a holder of 1 to 256 bytes and a ttl above 0, not {holder!r} and {ttl!r}")


def open_lease_store(url: str, data_dir: Path, *, system: str = "") -> LeaseStore:
    """The store that ``state`` of a topology names: ``file``, or a ``postgresql://`` URL.

    Opening never waits for a database; the first use does.

    Args:
        url: ``file``, or a URL as libpq understands it.
        data_dir: the system's; the files are kept in ``leases`` there, which must not be on a network file system.
        system: separates systems that share a database (the files need it not).

    Raises:
        StateError: the URL is not understood (7021), psycopg is missing (7020).
    """
    if url == "file":
        from supervisors.state.lease_file import FileLeaseStore

        return FileLeaseStore(data_dir / "leases")
    if url.startswith(("postgresql://", "postgres://")):
        from supervisors.state.lease_postgres import PostgresLeaseStore

        return PostgresLeaseStore(url, system=system)
    raise StateError(
        f"state {url.split('://', 1)[0]!r} is no lease store",
        code=7021,
        fix="`file`, or postgresql://user@host/database",
    )
