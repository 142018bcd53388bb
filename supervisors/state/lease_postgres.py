"""Leases in PostgreSQL, for the machines of one system or several.

One row per path in ``rayvisor_leases``, locked with ``SELECT ... FOR UPDATE`` while it is decided upon and changed.

The database is asked *who* has a lease and how often it was renewed, never *what time it is*: its only clock is the
wall clock, which people and NTP set. A lease is over once this store has itself seen the row unchanged for the lease's
length, by its own clock. So no clock of any machine can be set in a way that makes two act, and a database that fails
over to a machine with another time changes nothing. The price: one that meets a row for the first time waits for the
lease's whole length; ``rows`` each second keeps all rows watched.

Every call ends within ``TIMEOUT`` whatever the server or the network does (libpq's own bounds begin at 2 s and do not
cover a server that stopped): the connection is driven with a deadline and thrown away when that passes. A connection
that broke since the last call is made anew within the same deadline. Only looking up a host's name is not bounded; use
an address where that matters. ``SET LOCAL`` alone is used, so a pooler in transaction mode may stand between.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from supervisors.core.clock import Clock
from supervisors.core.errors import StateError, StoreUnavailable
from supervisors.state.lease import may_take, next_token
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseRow, check_request

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

T = TypeVar("T")

#: seconds a call may take
TIMEOUT = 1.0

_CREATE = b"""
CREATE TABLE IF NOT EXISTS rayvisor_leases (
  system text NOT NULL, path text NOT NULL, holder text NOT NULL, token bigint NOT NULL, renewals bigint NOT NULL,
  ttl double precision NOT NULL, released boolean NOT NULL,
  granted_at timestamptz NOT NULL, renewed_at timestamptz NOT NULL,
  PRIMARY KEY (system, path)
) WITH (fillfactor = 50)
"""
# a client that stops in the middle must not keep the row from the others; an acknowledged token must outlast a crash
_BEGIN = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 1000; SET LOCAL lock_timeout = 900"
    b"; SET LOCAL idle_in_transaction_session_timeout = 1000; SET LOCAL synchronous_commit = on"
)
_FIELDS = b"path, holder, token, renewals, ttl, released, (extract(epoch FROM granted_at) * 1000000)::bigint"
_LOCK = b"SELECT " + _FIELDS + b" FROM rayvisor_leases WHERE system = $1 AND path = $2 FOR UPDATE"
_READ = b"SELECT " + _FIELDS + b" FROM rayvisor_leases WHERE system = $1 AND path = $2"
_ROWS = b"SELECT " + _FIELDS + b' FROM rayvisor_leases WHERE system = $1 ORDER BY path COLLATE "C"'
_INSERT = b"""
INSERT INTO rayvisor_leases (system, path, holder, token, renewals, ttl, released, granted_at, renewed_at)
VALUES ($1, $2, '', 0, 0, 0, true, clock_timestamp(), clock_timestamp()) ON CONFLICT DO NOTHING
"""
_GRANT = b"""
UPDATE rayvisor_leases SET holder = $3, token = $4, renewals = 0, ttl = $5, released = false,
  granted_at = clock_timestamp(), renewed_at = clock_timestamp() WHERE system = $1 AND path = $2
"""
_RENEW = b"""
UPDATE rayvisor_leases SET renewals = renewals + 1, ttl = $5, renewed_at = clock_timestamp()
WHERE system = $1 AND path = $2 AND holder = $3 AND token = $4 AND NOT released
"""
_RELEASE = b"""
UPDATE rayvisor_leases SET renewals = renewals + 1, released = true, renewed_at = clock_timestamp()
WHERE system = $1 AND path = $2 AND holder = $3 AND token = $4 AND NOT released
"""


class _Row:
    """One row as the database has it."""

    def __init__(self, result: "PGresult", index: int) -> None:
        cells = [(result.get_value(index, column) or b"").decode() for column in range(7)]
        self.path, self.holder = cells[0], cells[1]
        self.token, self.renewals, self.ttl = int(cells[2]), int(cells[3]), float(cells[4])
        self.released, self.granted_utc_ns = cells[5] == "t", int(cells[6]) * 1000


class PostgresLeaseStore:
    """``LeaseStore`` in a database. Calls from several threads take turns on one connection.

    Args:
        url: ``postgresql://...``; whatever libpq understands.
        system: keeps the paths of systems apart that share the database.
        clock: ``BOOT_CLOCK``; another one only in tests.

    Raises:
        StateError: psycopg is missing (7020), or the URL is not understood (7021).
    """

    def __init__(self, url: str, *, system: str = "", clock: Clock = BOOT_CLOCK) -> None:
        self._conninfo = _conninfo(url)
        self._system = system
        self._clock = clock
        self._lock = threading.Lock()
        self._link: _Link | None = None
        #: path: token and renewals as last seen, and when they were first seen so
        self._seen: dict[str, tuple[int, int, float]] = {}

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        """See ``LeaseStore``."""
        check_request(holder, ttl)
        asked_at = self._clock.monotonic()

        def decide(link: "_Link") -> Grant | Held:
            key = (self._system, path)
            found = link.ask(_LOCK, key)
            if not found.ntuples:
                link.ask(_INSERT, key)
                found = link.ask(_LOCK, key)
            row = _Row(found, 0)
            left = self._left(row, asked_at)
            current = "" if row.released else row.holder
            if not may_take(current, holder, proved_dead, left <= 0):
                return Held(path, row.holder, row.token, min(row.ttl, left))
            token = next_token(row.token, floor)
            link.ask(_GRANT, (*key, holder, str(token), repr(ttl)))
            return Grant(path, holder, token, ttl, asked_at, current if current != holder else "")

        return self._call(decide)

    def reserve(self, path: str, count: int = 8) -> None:
        """See ``LeaseStore``. A grant is a transaction, which waits for the disk in any case."""

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        """See ``LeaseStore``."""
        check_request(holder, ttl)
        key = (self._system, path, holder, str(token), repr(ttl))
        return self._call(lambda link: link.ask(_RENEW, key).command_tuples == 1)

    def release(self, path: str, holder: str, token: int) -> None:
        """See ``LeaseStore``."""
        self._call(lambda link: link.ask(_RELEASE, (self._system, path, holder, str(token))))

    def read(self, path: str) -> LeaseRow | None:
        """See ``LeaseStore``. From here on the row is watched."""
        rows = self._rows(_READ, (self._system, path))
        return rows[0] if rows else None

    def rows(self) -> list[LeaseRow]:
        """See ``LeaseStore``. From here on all rows are watched."""
        return self._rows(_ROWS, (self._system,))

    def close(self) -> None:
        """See ``LeaseStore``. A later call opens it again."""
        with self._turn():
            self._drop()

    # ------------------------------------------------------------ time

    def _left(self, row: _Row, asked_at: float) -> float:
        """Seconds until the lease is over if the row stays as it is; it has to be, or the watch begins anew.

        The watch begins after the row was read (a renewal in it is older) and is measured up to ``asked_at``, before.
        """
        if row.released:
            return 0.0
        token, renewals, since = self._seen.get(row.path, (-1, -1, 0.0))
        if (token, renewals) != (row.token, row.renewals):
            since = self._clock.monotonic()
            self._seen[row.path] = (row.token, row.renewals, since)
        return row.ttl - (asked_at - since)

    def _rows(self, sql: bytes, key: Sequence[str]) -> list[LeaseRow]:
        asked_at = self._clock.monotonic()

        def look(link: "_Link") -> list[LeaseRow]:
            result = link.ask(sql, key)
            return [
                LeaseRow(
                    row.path,
                    row.holder,
                    row.token,
                    row.ttl,
                    min(row.ttl, max(0.0, self._left(row, asked_at))),
                    row.released,
                    row.renewals,
                    row.granted_utc_ns,
                )
                for row in (_Row(result, index) for index in range(result.ntuples))
                if row.token
            ]

        return self._call(look)

    # ------------------------------------------------------------ the connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=TIMEOUT):
            raise _unavailable("another thread's call is still waiting for it")
        try:
            yield
        finally:
            self._lock.release()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _call(self, work: "Callable[[_Link], T]") -> T:
        """Carry out ``work`` in a transaction. Repeating one whose end is unknown is safe for all we do."""
        give_up = time.monotonic() + TIMEOUT
        with self._turn():
            created = False
            while True:
                reused = self._link is not None
                try:
                    return self._transact(work, give_up)
                except _Broken as error:
                    if not reused or time.monotonic() >= give_up:
                        raise _unavailable(str(error)) from error
                except _NoTable as error:
                    if created:
                        raise _unavailable(str(error)) from error
                    created = True
                    self._create(give_up)

    def _transact(self, work: "Callable[[_Link], T]", give_up: float) -> T:
        if self._link is None:
            self._link = _Link(self._conninfo, give_up)
        link = self._link
        link.give_up = give_up
        done = False
        try:
            link.run(_BEGIN)
            answer = work(link)
            if link.ask(b"COMMIT", ()).command_status != b"COMMIT":
                raise _Broken("the transaction was rolled back")
            done = True
            return answer
        finally:
            if not done:
                self._drop()  # no telling what is still on its way there

    def _create(self, give_up: float) -> None:
        link = _Link(self._conninfo, give_up)
        try:
            with suppress(_NoTable):  # another process made it in the same moment
                link.run(_CREATE)
        except _Broken as error:
            raise _unavailable(str(error)) from error
        finally:
            link.close()


class _Broken(Exception):
    """The connection is lost, or was never made."""


class _NoTable(Exception):
    """The table is not there, or two are making it."""


#: SQLSTATEs by which the server says that this connection, or for now every connection, is over
_GONE = ("08", "57P", "25P03", "53")
#: undefined table; two at once making the same one
_TABLE = ("42P01", "42P07", "23505")


class _Link:
    """One connection, driven without ever waiting past ``give_up`` (``time.monotonic``)."""

    def __init__(self, conninfo: bytes, give_up: float) -> None:
        from psycopg import Error, pq

        self._pq = pq
        self._error = Error
        self.give_up = give_up
        try:
            self._conn: PGconn = pq.PGconn.connect_start(conninfo)
            self._connect()
        except Error as error:
            raise _Broken(_first_line(str(error))) from error

    def _connect(self) -> None:
        status = self._pq.PollingStatus
        while True:
            polled = self._conn.connect_poll() if self._conn.status != self._pq.ConnStatus.BAD else status.FAILED
            if polled == status.OK:
                self._conn.nonblocking = 1
                return
            if polled == status.FAILED:
                why = _first_line(self._conn.get_error_message())
                self.close()
                raise _Broken(why)
            self._wait(select.POLLIN if polled == status.READING else select.POLLOUT)

    def run(self, sql: bytes) -> None:
        """Carry out statements without parameters."""
        self._results(lambda: self._conn.send_query(sql))

    def ask(self, sql: bytes, values: Sequence[str]) -> "PGresult":
        """Carry out one statement; gives its result."""
        return self._results(lambda: self._conn.send_query_params(sql, [value.encode() for value in values]))[-1]

    def close(self) -> None:
        """End it without waiting."""
        self._conn.finish()

    def _results(self, send: Callable[[], None]) -> "list[PGresult]":
        try:
            send()
            while self._conn.flush():
                self._wait(select.POLLIN | select.POLLOUT)
                self._conn.consume_input()
            results: list[PGresult] = []
            while True:
                while self._conn.is_busy():
                    self._wait(select.POLLIN)
                    self._conn.consume_input()
                result = self._conn.get_result()
                if result is None:
                    return results
                self._check(result)
                results.append(result)
        except self._error as error:
            raise _Broken(_first_line(str(error))) from error

    def _check(self, result: "PGresult") -> None:
        if result.status in {self._pq.ExecStatus.COMMAND_OK, self._pq.ExecStatus.TUPLES_OK}:
            return
        state = (result.error_field(self._pq.DiagnosticField.SQLSTATE) or b"").decode()
        why = _first_line(result.get_error_message())
        if not state or state.startswith(_GONE):
            raise _Broken(why)
        if state in _TABLE:
            raise _NoTable(why)
        if state in {"55P03", "57014", "40001", "40P01"}:
            raise _unavailable(f"another client keeps the row locked: {why}")
        raise StoreUnavailable(
            f"the database refuses what the lease store needs: {why} (SQLSTATE {state})",
            code=7024,
            fix="let that user create, or read and change, the table rayvisor_leases; drop it if it is not ours",
        )

    def _wait(self, what: int) -> None:
        poll = select.poll()
        poll.register(self._conn.socket, what)
        left = self.give_up - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            self.close()
            raise _unavailable(f"no answer within {TIMEOUT:g} s")


def _conninfo(url: str) -> bytes:
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError as error:
        raise StateError(
            f"leases in PostgreSQL need psycopg: {error}", code=7020, fix="pip install 'rayvisor[postgres]'"
        ) from error
    try:
        given = conninfo_to_dict(url)
        wanted = {"application_name": "rayvisor", "target_session_attrs": "read-write"}
        return make_conninfo(url, **{key: value for key, value in wanted.items() if key not in given}).encode()
    except ProgrammingError as error:
        raise StateError(
            f"the PostgreSQL URL is not understood: {_first_line(str(error))}",
            code=7021,
            fix="postgresql://user:password@host:port/database",
        ) from error


def _first_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _unavailable(why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"PostgreSQL did not answer: {why}", fix="is it up and reachable, and does it accept this user and database?"
    )
