"""The host's side of the death watch: what a process leaves behind so that its end is seen at once."""

import os
import re
import socket
import struct
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisors.core.errors import PlaneError
from supervisors.signals import futex
from supervisors.signals.proc import process_start_time

_MAGIC = b"RVB1"
_WORD_AT = 0
#: after the word: magic, pid, start time
_HEADER = struct.Struct("<4xI4sQ")
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,96}")
#: how many watchers may have connected to one life of a host, over all its time (the kernel's own limit may be lower)
_BACKLOG = 4096
#: longest path a unix socket address holds
_LONGEST_ADDRESS = 107


class BeaconId(NamedTuple):
    """Which process a beacon speaks of."""

    pid: int
    start_time: int


def futex_path(directory: Path, name: str) -> Path:
    """Where the futex of beacon ``name`` stands."""
    return directory / f"{_checked(name)}.futex"


def socket_path(directory: Path, name: str) -> Path:
    """Where the socket of beacon ``name`` stands."""
    return directory / f"{_checked(name)}.sock"


def read_id(descriptor: int) -> BeaconId | None:
    """Read whose futex file this is; None when it is no beacon."""
    content = os.pread(descriptor, _HEADER.size, _WORD_AT)
    if len(content) < _HEADER.size:
        return None
    pid, magic, start_time = _HEADER.unpack(content)
    return BeaconId(pid, start_time) if magic == _MAGIC else None


class DeathBeacon:
    """Makes the end of **this** process visible to every ``DeathWatch`` on the machine.

    Make one in each host and keep it to the very end: do **not** close it on the way out, since the kernel then
    tells of the end by itself. ``close`` is for a process that goes on living without being watched; it also removes
    the files. After a crash the files stay, and whoever replaces the host removes them (``remove_files``).

    A forked child is not watched and does not disturb: the futex thread is not copied, and the child's copy of the
    socket is closed by Python's fork hook. (A fork made by foreign C code keeps the socket open; the futex and the
    pidfd do not mind.) A process that replaces itself by ``exec`` ends its beacon and is reported, and killed.

    Args:
        directory: where watchers look for it, normally below ``/dev/shm``. It must exist.
        name: unique among living hosts, for example path and incarnation; letters, digits, ``_ . -``, at most 96.
        methods: what to create: ``"futex"``, ``"socket"``; ``"pidfd"`` needs nothing of the host.

    Raises:
        PlaneError: 5010, the beacon cannot be made (name, directory, room, or the kernel refuses).
    """

    def __init__(self, directory: Path, name: str, methods: frozenset[str]) -> None:
        self._pid = os.getpid()
        self._holder: futex.WordHolder | None = None
        self._listener = -1  # a bare descriptor: open until the very end, whatever the interpreter collects before
        self._word = 0
        self._files: list[Path] = []
        try:
            if "futex" in methods:
                self._light_futex(futex_path(directory, name))
            if "socket" in methods:
                self._light_socket(socket_path(directory, name))
        except OSError as error:
            self.close()
            raise PlaneError(
                f"no death beacon {name} in {directory}: {error}",
                code=5010,
                fix="the directory must exist, be writable and have room; check /dev/shm",
            ) from error
        _beacons.add(self)

    def close(self) -> None:
        """Take the beacon down in order; watchers fall back on the pidfd and report nothing. May be called twice."""
        if os.getpid() != self._pid:
            self._drop_listener()
            return
        files, self._files = self._files, []
        for path in files:
            path.unlink(missing_ok=True)
        if self._holder is not None:
            self._holder.release()
            self._holder = None
        if self._word:
            futex.unmap(self._word)
            self._word = 0
        self._drop_listener()

    def _light_futex(self, path: Path) -> None:
        # watchers must never see a beacon that is not lit: it gets its name when the word is held
        dark = path.with_name(f".{path.name}.{self._pid}")
        dark.unlink(missing_ok=True)
        start_time = process_start_time(self._pid) or 0
        self._word, descriptor = futex.create_words(dark, _HEADER.pack(self._pid, _MAGIC, start_time))
        try:
            self._holder = futex.WordHolder(self._word, "death-beacon")
            dark.rename(path)
        except OSError:
            dark.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._files.append(path)

    def _light_socket(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with _Address(path) as address:
                listener.bind(address)
            self._files.append(path)
            path.chmod(0o600)
            # nobody accepts: a connection that waits in the queue is reset when the last listener is gone
            listener.listen(_BACKLOG)
            self._listener = listener.detach()

    def _drop_listener(self) -> None:
        if self._listener >= 0:
            os.close(self._listener)
            self._listener = -1

    def after_fork_in_child(self) -> None:
        """Let go of what would keep the parent's beacon alight (called by Python's fork hook)."""
        self._drop_listener()


def connect(directory: Path, name: str) -> socket.socket:
    """Connect to the socket of beacon ``name``: the connection ends with the host.

    Raises:
        OSError: nobody listens there.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.setblocking(False)
        with _Address(socket_path(directory, name)) as address:
            client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def peer_pid(client: socket.socket) -> int:
    """The process that listened at the other end of a ``connect``."""
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(pid)


def remove_files(directory: Path, name: str) -> None:
    """Remove what a dead host's beacon left behind. Watchers that still hold it are not disturbed."""
    for path in (futex_path(directory, name), socket_path(directory, name)):
        with suppress(FileNotFoundError):
            path.unlink()


class _Address:
    """The address of a unix socket, by way of an open directory when the path is too long for one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _LONGEST_ADDRESS:
            return str(self._path)
        self._directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._directory >= 0:
            os.close(self._directory)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise PlaneError(
            f"{name!r} is no name for a death beacon",
            code=5010,
            fix="use letters, digits, '_', '.' and '-', at most 96, not beginning with '.'",
        )
    return name


_beacons: "weakref.WeakSet[DeathBeacon]" = weakref.WeakSet()


def _after_fork() -> None:
    for beacon in list(_beacons):
        beacon.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
