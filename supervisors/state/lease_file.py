"""Leases in files, for all processes and threads of one machine.

One file per path, written in place and never replaced or deleted:

    header   1024 bytes: magic, format, CRC32C, the path
    slots    4 x 512 bytes, each with length and CRC32C: two for grants, two for renewals, used in turn
    promises 2 x 512 bytes, the same way; files of earlier versions end before them

A grant goes into the older grant slot and is synced before ``acquire`` answers, so the one before it stays readable
whatever happens meanwhile; the greatest token counts. A renewal goes into the older renewal slot and is not synced:
after a crash of the machine no lease of that boot counts anyway. No write touches the newest slot of its kind, so a
process killed in the middle of one leaves the lease as it was.

``reserve`` promises that no token up to some number is given after a crash of the machine. A grant below that number
need not wait for the disk: should it be lost, its token is still passed over. One only, as the grant before it must be
durable; the next ``reserve`` makes this one so. A promise is written twice, the second time only when the first one is
synced and to say so: the copy that says it is all that is relied upon before a crash, either of them counts after it.

The lock is the kernel's (``flock`` on the file itself) and goes with the process that has it: it cannot go stale. A
process that is *stopped* within the few microseconds of a renewal keeps it until it goes on or is killed; calls for
that one path then raise ``StoreUnavailable`` after a second.

Time is CLOCK_BOOTTIME, the same for the whole machine. A row of an earlier boot of this machine is over. One written by
another machine (the folder was moved or is shared) counts from when it is first seen here, for its whole length.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import google_crc32c
import msgspec

from supervisors.core.clock import Clock
from supervisors.core.errors import StoreUnavailable
from supervisors.state.disk import REAL_DISK, Disk, make_folder, write_all
from supervisors.state.lease import may_take, next_token
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseRow, check_request

#: seconds to wait for another process before the store counts as unavailable
LOCK_TIMEOUT = 1.0

_MAGIC = b"RVLEASE\x00"
_FORMAT = 1
_HEADER = 1024
_SLOT = 512
_SLOTS = 4
_SIZE = _HEADER + _SLOTS * _SLOT
_PROMISES = (4, 5)
_WHOLE = _SIZE + len(_PROMISES) * _SLOT
_GRANTS = (0, 1)
_RENEWALS = (2, 3)
_NONE = -1

_PLAIN = re.compile(r"(/[\w.-]+)+", re.ASCII)
_SUFFIX = ".lease"


class _Slot(msgspec.Struct, array_like=True, frozen=True):
    """One grant or renewal. ``ends``: nanoseconds of CLOCK_BOOTTIME; 0 once released."""

    token: int
    renewals: int
    holder: str
    ttl: float
    ends: int
    boot: str
    machine: str
    granted_utc_ns: int


class _Promise(msgspec.Struct, array_like=True, frozen=True):
    """No token up to ``token`` is given in another boot.

    ``granted``: the grant that was the last one when it was made, and durable with it. ``kept``: it is durable.
    """

    token: int
    granted: int
    boot: str
    kept: bool


class _Header(msgspec.Struct, array_like=True, frozen=True):
    path: str


T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_slot_decoder = msgspec.msgpack.Decoder(_Slot)
_promise_decoder = msgspec.msgpack.Decoder(_Promise)
_header_decoder = msgspec.msgpack.Decoder(_Header)


def machine_id() -> str:
    """Names this machine across boots; empty where it has no name."""
    try:
        return Path("/etc/machine-id").read_text("ascii").strip()
    except OSError:
        return ""


def file_name(path: str) -> str:
    """The name of the file of ``path``: readable where that is unambiguous and short enough, else a digest."""
    if _PLAIN.fullmatch(path) and len(path) <= 200:
        return path[1:].replace("/", "~") + _SUFFIX
    return "=" + sha256(path.encode()).hexdigest() + _SUFFIX


class FileLeaseStore:
    """``LeaseStore`` in a folder on a local disk. Any number of them, in any process, may use the same folder.

    ``StoreUnavailable`` also stands for a file that is damaged (7022) or was written by a newer rayvisor (7023):
    neither is ever taken for a free lease.

    Args:
        folder: made when needed.
        clock: ``BOOT_CLOCK``; another one only in tests.
        disk: another one only to inject faults.
        boot, machine: names of this boot and this machine; None: as they are.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock = BOOT_CLOCK,
        disk: Disk = REAL_DISK,
        boot: str | None = None,
        machine: str | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._disk = disk
        self._boot = disk.boot().hex() if boot is None else boot
        self._machine = machine_id() if machine is None else machine

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        """See ``LeaseStore``."""
        check_request(holder, ttl)
        asked_at = self._clock.monotonic()
        with self._locked(path, create=True) as file:
            found = _read(self._disk, file, self._folder / file_name(path), path)
            now = self._now()
            newest = found.newest
            if newest is not None and newest.ends and self._is_foreign(newest, now):
                # no clock here says when it ends: count it all from now, once
                newest = msgspec.structs.replace(
                    newest,
                    renewals=newest.renewals + 1,
                    ends=now + _ns(newest.ttl),
                    boot=self._boot,
                    machine=self._machine,
                )
                self._write(file, found.next_renewal, newest)
            current = newest.holder if newest is not None and newest.ends else ""
            left = self._left(newest, now) if newest is not None else 0
            if newest is not None and not may_take(current, holder, proved_dead, left <= 0):
                return Held(path, newest.holder, newest.token, left / 1e9)
            promise = found.promise
            token = next_token(found.given(self._boot), floor)
            made = _Slot(token, 0, holder, ttl, now + _ns(ttl), self._boot, self._machine, self._clock.utc_ns())
            self._write(file, found.next_grant, made)
            before = newest.token if newest is not None else 0
            if not (promise is not None and promise.kept and promise.granted == before and token <= promise.token):
                self._disk.fdatasync(file)
            return Grant(path, holder, token, ttl, asked_at, current if current != holder else "")

    def reserve(self, path: str, count: int = 8) -> None:
        """See ``LeaseStore``."""
        if not self._boot.strip("0"):
            return  # starts of this machine cannot be told apart
        with self._locked(path, create=False) as file:
            if file == _NONE:
                return
            found = _read(self._disk, file, self._folder / file_name(path), path)
            if found.newest is None:
                return
            token = max(found.given(self._boot), found.promised) + count
            made = _Promise(token, found.newest.token, self._boot, kept=False)
            self._write(file, found.next_promise, made)
            self._disk.fdatasync(file)  # the last grant as well
            other = sum(_PROMISES) - found.next_promise
            self._write(file, other, msgspec.structs.replace(made, kept=True))

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        """See ``LeaseStore``."""
        check_request(holder, ttl)
        return self._rewrite(path, holder, token, ttl)

    def release(self, path: str, holder: str, token: int) -> None:
        """See ``LeaseStore``."""
        self._rewrite(path, holder, token, None)

    def _rewrite(self, path: str, holder: str, token: int, ttl: float | None) -> bool:
        """Write a renewal (without ``ttl``: the end) of a grant, if it is still the last one."""
        with self._locked(path, create=False) as file:
            if file == _NONE:
                return False
            found = _read(self._disk, file, self._folder / file_name(path), path)
            newest = found.newest
            if newest is None or newest.token != token or newest.holder != holder:
                return False
            if not newest.ends or newest.boot != self._boot:
                return False
            changed = msgspec.structs.replace(
                newest,
                renewals=newest.renewals + 1,
                ttl=newest.ttl if ttl is None else ttl,
                ends=0 if ttl is None else self._now() + _ns(ttl),
            )
            self._write(file, found.next_renewal, changed)
            return True

    def read(self, path: str) -> LeaseRow | None:
        """See ``LeaseStore``. Takes no lock."""
        return self._look(self._folder / file_name(path), path)

    def rows(self) -> list[LeaseRow]:
        """See ``LeaseStore``. Takes no lock."""
        names = sorted(self._folder.glob(f"*{_SUFFIX}"))
        return sorted((row for name in names if (row := self._look(name, None))), key=lambda row: row.path)

    def close(self) -> None:
        """See ``LeaseStore``; nothing is held open."""

    def _look(self, name: Path, path: str | None) -> LeaseRow | None:
        with _unavailable(str(name)):
            try:
                file = self._disk.open(name, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                found = _read(self._disk, file, name, path)
            finally:
                self._disk.close(file)
        slot = found.newest
        if slot is None:
            return None
        left = max(0, self._left(slot, self._now())) / 1e9
        return LeaseRow(
            found.path, slot.holder, slot.token, slot.ttl, left, not slot.ends, slot.renewals, slot.granted_utc_ns
        )

    # ------------------------------------------------------------ time

    def _now(self) -> int:
        return _ns(self._clock.monotonic())

    def _is_foreign(self, slot: _Slot, now: int) -> bool:
        """True if this machine's clock says nothing about when it ends."""
        if slot.boot == self._boot:
            return slot.ends - now > _ns(slot.ttl)  # not by this clock: a container with a boot clock of its own
        return not slot.machine or slot.machine != self._machine

    def _left(self, slot: _Slot, now: int) -> int:
        """Nanoseconds left, at most 0 when it is over."""
        if not slot.ends:
            return 0
        if self._is_foreign(slot, now):
            return _ns(slot.ttl)
        return slot.ends - now if slot.boot == self._boot else 0

    # ------------------------------------------------------------ files

    @contextmanager
    def _locked(self, path: str, *, create: bool) -> Iterator[int]:
        """The file of ``path``, open and locked; _NONE when there is none and none is to be made."""
        name = self._folder / file_name(path)
        with _unavailable(path):
            file = self._lock(name, path, create)
            if file == _NONE:
                yield file
                return
            try:
                yield file
            finally:
                # not left to close: a process forked meanwhile by another thread shares the lock
                fcntl.flock(file, fcntl.LOCK_UN)
                self._disk.close(file)

    def _lock(self, name: Path, path: str, create: bool) -> int:
        while True:
            try:
                file = self._disk.open(name, os.O_RDWR)
            except FileNotFoundError:
                if not create:
                    return _NONE
                make_folder(self._disk, self._folder)
                file = self._disk.open(name, os.O_RDWR | os.O_CREAT)
            locked = False
            try:
                _flock(file, path)
                # whoever removed the data directory meanwhile left us a file that no one else will look at
                if os.fstat(file).st_nlink:
                    if create and _is_unused(self._disk.read(file, _WHOLE, 0)):
                        self._complete(file, name, path)
                    locked = True
                    return file
            finally:
                if not locked:
                    self._disk.close(file)

    def _complete(self, file: int, name: Path, path: str) -> None:
        """Give a file its header, a new one or one whose maker died. It never held an acknowledged lease."""
        body = _encoder.encode(_Header(path))
        if len(body) > _HEADER - 16:
            raise ValueError(f"a path of {len(path)} characters is too long for a lease")
        lengths = _FORMAT.to_bytes(2, "little") + len(body).to_bytes(2, "little")
        header = _MAGIC + lengths + _crc(lengths + body) + body
        self._disk.fsync_dir(name.parent)
        write_all(self._disk, file, header.ljust(_WHOLE, b"\x00"), 0)
        self._disk.fsync(file)

    def _write(self, file: int, index: int, slot: _Slot | _Promise) -> None:
        body = _encoder.encode(slot)
        data = len(body).to_bytes(2, "little") + body
        write_all(self._disk, file, (_crc(data) + data).ljust(_SLOT, b"\x00"), _HEADER + index * _SLOT)


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """What the disk refuses is an unavailable store, with the reason."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the lease of {what} cannot be read or written: {error}", fix="space, permissions and health of that disk"
        ) from error


def _flock(file: int, path: str) -> None:
    give_up = time.monotonic() + LOCK_TIMEOUT
    pause = 0.00005
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise StoreUnavailable(
                    f"another process keeps the lease file of {path} locked for more than {LOCK_TIMEOUT:g} s",
                    fix="is one of the system's processes stopped (T in ps)? continue or kill it",
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.002)
        else:
            return


class _Found(msgspec.Struct, frozen=True):
    """What a file holds.

    Attributes:
        newest: the last grant with its last renewal.
        greatest: no token above this one was given, as far as grants tell.
        next_grant, next_renewal, next_promise: slots to write next.
        promise: the last one that is whole; the durable one of two alike.
        promised: no token up to this one may be given in a boot that is not the promise's.
    """

    path: str
    newest: _Slot | None
    greatest: int
    next_grant: int
    next_renewal: int
    next_promise: int
    promise: _Promise | None = None
    promised: int = 0

    def given(self, boot: str) -> int:
        """No token above this one was given."""
        same = self.promise is not None and self.promise.boot == boot
        return self.greatest if same else max(self.greatest, self.promised)


def _read(disk: Disk, file: int, name: Path, path: str | None) -> _Found:
    """Read a lease file; ``path`` is whose it should be.

    A reader without the lock may meet a slot half written: the one before it still tells the truth then.
    """
    data = disk.read(file, _WHOLE, 0)
    if _is_unused(data):
        return _Found(path or "", None, 0, _GRANTS[0], _RENEWALS[0], _PROMISES[0])  # never completed: its maker died
    written_for = _read_header(data, name)
    if path is not None and written_for != path:
        raise _damaged(name, f"it holds the lease of {written_for}: its name")
    slots = [_read_slot(data[at : at + _SLOT], _slot_decoder) for at in range(_HEADER, _SIZE, _SLOT)]
    newest = max((slot for slot in slots if slot is not None), key=_age, default=None)
    torn = [index for index in _GRANTS if slots[index] is None and any(data[_HEADER + index * _SLOT :][:_SLOT])]
    if len(torn) == len(_GRANTS):
        raise _damaged(name, "its record of grants")
    # a grant that the machine's crash cut short was not acknowledged; its token is passed over all the same
    greatest = (newest.token if newest is not None else 0) + len(torn)
    next_promise, promise, promised = _read_promises(data)
    return _Found(
        written_for,
        newest,
        greatest,
        _oldest(slots, _GRANTS),
        _oldest(slots, _RENEWALS),
        next_promise,
        promise,
        promised,
    )


def _is_unused(data: bytes) -> bool:
    """True when no grant was ever written to it. The power may have left a part of its header."""
    newer = data[:8] == _MAGIC and int.from_bytes(data[8:10], "little") > _FORMAT
    return len(data) < _SIZE or not (any(data[_HEADER:]) or newer)


def _read_promises(data: bytes) -> tuple[int, _Promise | None, int]:
    """Where to write the next one, the last one, and the greatest token of all."""
    data = data.ljust(_WHOLE, b"\x00")
    parts = [data[_HEADER + index * _SLOT :][:_SLOT] for index in _PROMISES]
    found = [_read_slot(part, _promise_decoder) for part in parts]
    # never over the copy that is durable while the other one is not
    order = [(2 if one is None else 1 if one.kept else 0, one.token if one else 0) for one in found]
    place = _PROMISES[0] if order[0] >= order[1] else _PROMISES[1]
    whole = [one for one in found if one is not None]
    last = max(whole, key=lambda one: (one.token, one.kept), default=None)
    return place, last, max((one.token for one in whole), default=0)


def _read_header(data: bytes, name: Path) -> str:
    form, length = int.from_bytes(data[8:10], "little"), int.from_bytes(data[10:12], "little")
    body = data[16 : 16 + length]
    if data[:8] == _MAGIC and form > _FORMAT:
        raise StoreUnavailable(
            f"{name} has format {form}; this rayvisor knows {_FORMAT}", code=7023, fix="use the newer rayvisor"
        )
    if data[:8] != _MAGIC or form != _FORMAT or length > _HEADER - 16 or _crc(data[8:12] + body) != data[12:16]:
        raise _damaged(name, "its header")
    return _header_decoder.decode(body).path


def _read_slot(data: bytes, decoder: "msgspec.msgpack.Decoder[T]") -> T | None:
    length = int.from_bytes(data[4:6], "little")
    body = data[6 : 6 + length]
    if not length or length > _SLOT - 6 or _crc(data[4:6] + body) != data[:4]:
        return None
    return decoder.decode(body)


def _age(slot: _Slot) -> tuple[int, int]:
    return slot.token, slot.renewals


def _oldest(slots: list[_Slot | None], kind: tuple[int, int]) -> int:
    return min(kind, key=lambda index: _age(slot) if (slot := slots[index]) is not None else (-1, -1))


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _damaged(name: Path, what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{name}: {what} is damaged: which tokens were given cannot be known",
        code=7022,
        fix="stop the system, look at that disk, then delete the file",
    )
