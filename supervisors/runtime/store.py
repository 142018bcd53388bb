"""Goal state: what should run, which host carries it, which hosts are spare (DESIGN.md §5).

One SQLite file in the data directory, shared by all processes of a system on this node. It is written before the act
it describes, so that after any crash the survivors know what was meant: a host that no goal claims is an orphan. It
outlives processes, not power: ``synchronous=OFF``, since after a power loss nothing it describes is left either.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from supervisors.core.errors import LaunchError
from supervisors.core.paths import TreePath, is_below
from supervisors.tree.child import ChildRecord, SupervisorRecord

FILE_NAME = "goals.sqlite"

#: bytes taken from the disk in advance, in the file and in its write-ahead log
ROOM = 2_000_000
#: pages in the log after which it is begun anew: well below what is taken, for a reader may put that off
_LOG_PAGES = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hosts (
  id TEXT PRIMARY KEY, actor TEXT NOT NULL, pid INTEGER NOT NULL DEFAULT 0, start_time INTEGER NOT NULL DEFAULT 0,
  node TEXT NOT NULL DEFAULT '', local INTEGER NOT NULL DEFAULT 1, endpoint TEXT NOT NULL DEFAULT '',
  pub TEXT NOT NULL DEFAULT '', pool TEXT NOT NULL DEFAULT '', state TEXT NOT NULL,
  path TEXT NOT NULL DEFAULT '', creator INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL DEFAULT 0,
  volume TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hosts_by_path ON hosts (path);
CREATE TABLE IF NOT EXISTS children (
  supervisor TEXT NOT NULL, id TEXT NOT NULL, path TEXT NOT NULL UNIQUE, host TEXT NOT NULL DEFAULT '',
  incarnation INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, wanted INTEGER NOT NULL,
  reason TEXT NOT NULL DEFAULT '', record BLOB NOT NULL, PRIMARY KEY (supervisor, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS supervisors (path TEXT PRIMARY KEY, part BLOB NOT NULL, head BLOB NOT NULL)
WITHOUT ROWID;
"""


class HostRow(msgspec.Struct, frozen=True):
    """One host: a Ray actor process that carries, or may carry, one child.

    Attributes:
        state: creating, spare, claimed or standby.
        local: it runs on this machine's own Ray node: pids, futexes and ipc sockets reach it.
        pool: what a spare was made for (empty: anything without placement).
        creator: pid of the process that is creating it.
        volume: the disk it journals to (``supervisors.state.volume``).
    """

    id: str
    actor: str
    pid: int = 0
    start_time: int = 0
    node: str = ""
    local: bool = True
    endpoint: str = ""
    pub: str = ""
    pool: str = ""
    state: str = "creating"
    path: str = ""
    creator: int = 0
    created: float = 0.0
    volume: str = ""


class PlaceRow(msgspec.Struct, frozen=True):
    """Who stands at a path now."""

    path: str
    supervisor: str
    host: str
    incarnation: int
    epoch: int
    state: str
    wanted: bool
    reason: str


_HOST_COLUMNS = ", ".join(HostRow.__struct_fields__)
_HOST_MARKS = ", ".join("?" for _ in HostRow.__struct_fields__)


class GoalStore:
    """The goal state of one system. Safe from several threads and processes.

    Args:
        data_dir: the system's data directory; must exist.

    Raises:
        LaunchError: the file cannot be opened or is not ours.
    """

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / FILE_NAME
        self._local = threading.local()
        try:
            self._connection().executescript(_SCHEMA)
            self._mend()
        except sqlite3.Error as error:
            raise LaunchError(f"{self._file}: {error}", code=2010, fix="is the directory writable?") from error

    def _mend(self) -> None:
        """Bring a file of an earlier version to this one's shape."""
        columns = [str(row[1]) for row in self._connection().execute("PRAGMA table_info(hosts)").fetchall()]
        if "volume" not in columns:
            with suppress(sqlite3.OperationalError):  # another process was first
                self._connection().execute("ALTER TABLE hosts ADD COLUMN volume TEXT NOT NULL DEFAULT ''")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._file, timeout=5.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
            self._local.connection = connection
        return connection

    def take_room(self) -> None:
        """Take ``ROOM`` from the disk now: supervision has to go on when the disk is full, and writes this file then.

        What is taken is written over again and again, for as long as somebody has the file open. Does nothing when
        the disk has no room any more.
        """
        with suppress(sqlite3.OperationalError):
            with self.transaction() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS room (bytes BLOB)")
                connection.execute("INSERT INTO room VALUES (zeroblob(?))", (ROOM,))
            self._connection().execute("DELETE FROM room")
            self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, also against other processes."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    # ------------------------------------------------------------ meta

    def get(self, key: str, default: str = "") -> str:
        """One setting of the system."""
        row = self._connection().execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return str(row[0]) if row else default

    def like(self, prefix: str) -> list[tuple[str, str]]:
        """All settings whose key begins with ``prefix``."""
        rows = self._connection().execute(
            "SELECT key, value FROM meta WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
        )
        return [(str(row[0]), str(row[1])) for row in rows.fetchall()]

    def paths(self, prefix: str, top: TreePath) -> list[TreePath]:
        """Of settings kept by path, ``prefix`` before it: those of ``top`` and of all below it."""
        paths = [TreePath(key.removeprefix(prefix)) for key, _ in self.like(prefix + top)]
        return [path for path in paths if path == top or is_below(path, top)]

    def forget(self, key: str) -> None:
        """Drop one setting."""
        self._connection().execute("DELETE FROM meta WHERE key=?", (key,))

    def put(self, **values: str) -> None:
        """Set settings of the system."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def clear(self) -> None:
        """Forget hosts, children and supervisors of an earlier run; epochs keep growing."""
        with self.transaction() as connection:
            for table in ("hosts", "children", "supervisors"):
                connection.execute(f"DELETE FROM {table}")

    # ------------------------------------------------------------ hosts

    def add_host(self, row: HostRow) -> None:
        """Write one host down, or replace what was written."""
        with self.transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO hosts ({_HOST_COLUMNS}) VALUES ({_HOST_MARKS})", msgspec.structs.astuple(row)
            )

    def drop_host(self, host: str) -> None:
        """Forget one host."""
        self._connection().execute("DELETE FROM hosts WHERE id=?", (host,))

    def set_host_state(self, host: str, state: str) -> None:
        """A host changes its part: a standby is promoted, a new host stands by."""
        self._connection().execute("UPDATE hosts SET state=? WHERE id=?", (state, host))

    def standbys(self, path: str) -> list[HostRow]:
        """Hosts that stand by for ``path``."""
        return self.hosts("state='standby' AND path=?", (path,))

    def claim_spare(self, path: str, pool: str) -> HostRow | None:
        """Take one spare of ``pool`` for ``path``; no two callers ever get the same one."""
        row = (
            self._connection()
            .execute(
                "UPDATE hosts SET state='claimed', path=? WHERE id=(SELECT id FROM hosts WHERE state='spare'"
                f" AND pool=? ORDER BY created LIMIT 1) RETURNING {_HOST_COLUMNS}",
                (path, pool),
            )
            .fetchall()
        )
        return _host(row[0]) if row else None

    def hosts(self, where: str = "1", values: tuple[str | int, ...] = ()) -> list[HostRow]:
        """Hosts that satisfy a condition."""
        rows = self._connection().execute(f"SELECT {_HOST_COLUMNS} FROM hosts WHERE {where}", values)
        return [_host(row) for row in rows.fetchall()]

    def host(self, host: str) -> HostRow | None:
        """One host."""
        rows = self.hosts("id=?", (host,))
        return rows[0] if rows else None

    def hosts_below(self, path: str) -> list[HostRow]:
        """Claimed hosts and standbys in the subtree under ``path``, itself excluded."""
        prefix = "/" if path == "/" else f"{path}/"
        rows = self.hosts("state IN ('claimed', 'standby')")
        return [h for h in rows if h.path.startswith(prefix) and h.path != path]

    # ------------------------------------------------------------ places

    def next_epoch(self) -> int:
        """A number greater than every one given before in this data directory: the fencing token."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', '0')")
            row = connection.execute("UPDATE meta SET value=value+1 WHERE key='epoch' RETURNING value").fetchall()
        return int(row[0][0])

    def place(self, path: str) -> PlaceRow | None:
        """Who stands at ``path``."""
        rows = self._places("path=?", (path,))
        return rows[0] if rows else None

    def places(self) -> list[PlaceRow]:
        """All paths but the root, in no order."""
        return self._places("1", ())

    def _places(self, where: str, values: tuple[str, ...]) -> list[PlaceRow]:
        rows = self._connection().execute(
            "SELECT path, supervisor, host, incarnation, epoch, state, wanted, reason FROM children WHERE " + where,
            values,
        )
        return [PlaceRow(r[0], r[1], r[2], r[3], r[4], r[5], bool(r[6]), r[7]) for r in rows.fetchall()]

    def save(
        self,
        supervisor: str,
        head: SupervisorRecord,
        changed: Sequence[tuple[str, ChildRecord, str, int, str]],
        gone: list[str],
    ) -> None:
        """Write down a supervisor and its changed children: (path, record, host, epoch, last reason) each.

        Of ``head`` only what is not children is read.
        """
        with self.transaction() as connection:
            connection.execute("UPDATE supervisors SET head=? WHERE path=?", (_pack(head), supervisor))
            connection.executemany(
                "INSERT OR REPLACE INTO children (supervisor, id, path, host, incarnation, epoch, state, wanted,"
                " reason, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (supervisor, row.id, path, host, row.incarnation, epoch, row.state, row.wanted, why, _pack(row))
                    for path, row, host, epoch, why in changed
                ],
            )
            connection.executemany(
                "DELETE FROM children WHERE supervisor=? AND id=?", [(supervisor, child) for child in gone]
            )

    def declare(self, parts: dict[str, bytes]) -> None:
        """Write down the supervisors of a topology and what each of them is told."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO supervisors VALUES (?, ?, x'')", list(parts.items()))

    def redeclare(self, parts: dict[str, bytes]) -> None:
        """Write down what supervisors are told from now on; what they know of their children stays (TOP-5)."""
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO supervisors VALUES (?, ?, x'') ON CONFLICT (path) DO UPDATE SET part=excluded.part",
                list(parts.items()),
            )

    def undeclare(self, top: str) -> None:
        """Forget the child at ``top`` and all below it: it is in the topology no more, and nothing of it runs."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM supervisors WHERE path=? OR path LIKE ? ESCAPE '!'", (top, _below(top)))
            connection.execute("DELETE FROM children WHERE path=? OR path LIKE ? ESCAPE '!'", (top, _below(top)))

    def claim(self, key: str, value: str, free: Callable[[str], bool]) -> str:
        """Set a setting unless it is set; one that ``free`` says is stale is taken over.

        Returns:
            The value that stands in the way, empty when ``value`` was set.
        """
        with self.transaction() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
            if row and row[0] and not free(str(row[0])):
                return str(row[0])
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        return ""

    def supervisors(self) -> list[str]:
        """Paths of all declared supervisors, parents before children."""
        rows = self._connection().execute("SELECT path FROM supervisors WHERE path LIKE '/%'").fetchall()
        return sorted((str(row[0]) for row in rows), key=lambda path: (path.count("/") if path != "/" else 0, path))

    def part(self, path: str) -> bytes:
        """What the supervisor at ``path`` is told.

        Raises:
            LaunchError: no such supervisor was declared.
        """
        row = self._connection().execute("SELECT part FROM supervisors WHERE path=?", (path,)).fetchone()
        if row is None:
            raise LaunchError(f"no supervisor {path} in the goal state", code=2011)
        return bytes(row[0])

    def begin_supervisor(self, path: str) -> dict[str, int]:
        """A supervisor starts afresh: forget its window, keep how many lives its children have had (by id)."""
        with self.transaction() as connection:
            connection.execute("UPDATE supervisors SET head=x'' WHERE path=?", (path,))
            connection.execute("UPDATE children SET state='starting', host='' WHERE supervisor=?", (path,))
            rows = connection.execute("SELECT id, incarnation FROM children WHERE supervisor=?", (path,)).fetchall()
        return {str(child): int(incarnation) for child, incarnation in rows}

    def forget_below(self, path: str) -> None:
        """All processes in the subtree under ``path`` are gone."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE children SET state='undefined', host='' WHERE path LIKE ? ESCAPE '!'", (_below(path),)
            )

    def record(self, supervisor: str) -> tuple[SupervisorRecord, dict[str, PlaceRow]]:
        """What a replaced supervisor inherits: its record, and the place of each child by id."""
        connection = self._connection()
        row = connection.execute("SELECT head FROM supervisors WHERE path=?", (supervisor,)).fetchone()
        head = SupervisorRecord((), ())
        if row and row[0]:
            head = msgspec.msgpack.decode(row[0], type=SupervisorRecord)
        children: list[ChildRecord] = []
        places: dict[str, PlaceRow] = {}
        for place in self._places("supervisor=?", (supervisor,)):
            blob = connection.execute("SELECT record FROM children WHERE path=?", (place.path,)).fetchone()
            if blob is None:
                continue
            record = msgspec.msgpack.decode(blob[0], type=ChildRecord)
            children.append(record)
            places[record.id] = place
        return msgspec.structs.replace(head, children=tuple(children)), places


def _host(row: tuple[str | int | float, ...]) -> HostRow:
    return msgspec.convert(dict(zip(HostRow.__struct_fields__, row, strict=True)), HostRow, strict=False)


def _pack(record: ChildRecord | SupervisorRecord) -> bytes:
    return msgspec.msgpack.encode(record)


def _below(path: str) -> str:
    escaped = path.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return "/%" if path == "/" else f"{escaped}/%"
