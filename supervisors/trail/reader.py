"""Reads the trail: all of it once, or following it as it grows, across rotations, losing and repeating nothing."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from supervisors.trail.events import SequencedEvent, TrailError, TrailEvent, decode, salvage
from supervisors.trail.segments import CURRENT, SEAL_LINE, base_after, list_sealed, read_header

_CHUNK = 1 << 18


class _Segment:
    """An open segment and how far it was read. ``seq`` is the number of the next line."""

    def __init__(self, fd: int, number: int, seq: int, offset: int) -> None:
        self.fd = fd
        self.number = number
        self.seq = seq
        self.offset = offset
        self.rest = b""
        self.sealed = False

    def read_lines(self) -> list[bytes]:
        """The next whole non-empty lines before the seal; empty at the present end of the file."""
        while not self.sealed:
            chunk = os.pread(self.fd, _CHUNK, self.offset)
            if not chunk:
                break
            self.offset += len(chunk)
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            if SEAL_LINE in lines:
                del lines[lines.index(SEAL_LINE) :]
                self.sealed = True
                self.rest = b""
            whole = [line for line in lines if line]
            if whole:
                return whole
        return []


class Follower:
    """Follows the trail. Not thread-safe; any number of followers may follow one folder.

    Args:
        folder: ``data_dir/trail``; it need not exist yet.
        from_start: begin at the oldest event kept; otherwise behind the newest.
        since: begin at the event with this number, when it is kept; wins over ``from_start``.

    Attributes:
        malformed: lines that were no event of this version.
        missed: events that were deleted with their segment before this reader came to them.

    Raises:
        TrailError: the trail was written by a newer version (on construction or in ``poll``).
    """

    def __init__(self, folder: Path, *, from_start: bool = True, since: int = 0) -> None:
        self._folder = folder
        self._since = since
        self._segment: _Segment | None = None
        self.malformed = 0
        self.missed = 0
        if not from_start and not since:
            self._segment = self._open_current(None)
            self._skip_to_end()
        else:
            self._segment = self._open_first()

    @property
    def segment(self) -> int:
        """Number of the segment being read; 0 before there is any."""
        return self._segment.number if self._segment else 0

    @property
    def next_seq(self) -> int:
        """Number of the next line to come."""
        return self._segment.seq if self._segment else 0

    def poll(self, limit: int = 10_000) -> list[SequencedEvent]:
        """The events that came since the last call, about ``limit`` of them at most. Never waits.

        An empty list means that there is no more for now.
        """
        found: list[SequencedEvent] = []
        while len(found) < limit:
            lines = self._next_lines()
            segment = self._segment
            if not lines or segment is None:
                break
            for line in lines:
                event = self._decode(line) if segment.seq >= self._since else None
                if event is not None:
                    found.append(SequencedEvent(segment.seq, event))
                segment.seq += 1
        return found

    def close(self) -> None:
        """Close the file. ``poll`` must not be called again."""
        if self._segment is not None:
            os.close(self._segment.fd)
            self._segment = None

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self, line: bytes) -> TrailEvent | None:
        try:
            return decode(line)
        except ValueError:
            self.malformed += 1
            return salvage(line)

    def _next_lines(self, *, past_unsealed: bool = False) -> list[bytes]:
        """Lines of the present segment, or of the next one that has any."""
        if self._segment is None:
            self._segment = self._open_first()
        while self._segment is not None:
            lines = self._segment.read_lines()
            if lines:
                return lines
            if not (self._segment.sealed or past_unsealed):
                break
            following = self._open_after(self._segment)
            if following is None:
                break
            os.close(self._segment.fd)
            self._segment = following
        return []

    def drain(self, limit: int | None = None) -> Iterator[SequencedEvent]:
        """All events to the present end, also past a rotation that was cut short: for readers that read once."""
        left = limit
        while (lines := self._next_lines(past_unsealed=True)) and (segment := self._segment):
            for line in lines:
                event = self._decode(line) if segment.seq >= self._since else None
                if event is not None:
                    if left is not None:
                        if left <= 0:
                            return
                        left -= 1
                    yield SequencedEvent(segment.seq, event)
                segment.seq += 1
        if self._segment is not None and self._segment.rest and not self._segment.sealed:
            self.malformed += 1

    def _skip_to_end(self) -> None:
        while lines := self._next_lines():
            if self._segment is not None:
                self._segment.seq += len(lines)

    def _open_first(self) -> _Segment | None:
        """The segment that holds ``since``, or the oldest kept."""
        while True:
            sealed = list_sealed(self._folder)
            chosen = next((one for one in reversed(sealed) if one.base <= self._since), sealed[0] if sealed else None)
            if chosen is None:
                return self._open_current(None)
            if self._since and chosen is sealed[-1]:
                after = self._open_current(None)
                if after is not None and after.number > chosen.segment and after.seq <= self._since:
                    return after
                if after is not None:
                    os.close(after.fd)
            with suppress(FileNotFoundError):  # deleted by a rotation just now
                return _open(chosen.path, chosen.base)

    def _open_current(self, base: int | None) -> _Segment | None:
        """The current segment with ``base``; without it the exact one is found from the segment before.

        Between a switch and its seal that is not known yet: then the segment before, which still takes late lines.
        """
        while True:
            try:
                segment = _open(self._folder / CURRENT, base)
            except FileNotFoundError:
                return None
            if base is not None:
                return segment
            sealed = {one.segment: one for one in list_sealed(self._folder)}
            same, before = sealed.get(segment.number), sealed.get(segment.number - 1)
            if same is not None:  # rotated just now, or a rotation was cut short before it switched
                segment.seq = same.base
            elif before is not None:
                try:
                    segment.seq, exact = base_after(before)
                    if not exact:
                        os.close(segment.fd)
                        return _open(before.path, before.base)
                except FileNotFoundError:  # deleted by yet another rotation
                    os.close(segment.fd)
                    continue
            return segment

    def _open_after(self, done: _Segment) -> _Segment | None:
        """The segment behind ``done``; a later one when that was deleted; None when there is none yet."""
        while True:
            # the current one first: it may be rotated meanwhile, then it is found among the sealed
            following = self._open_current(done.seq)
            if following is not None:
                if following.number == done.number + 1:
                    return following
                os.close(following.fd)
                if following.number <= done.number:
                    return None
            later = [one for one in list_sealed(self._folder) if one.segment > done.number]
            if not later:
                if following is None:
                    return None
                # segments were deleted by hand: go on with what there is
                following = self._open_current(None)
                self.missed += max(following.seq - done.seq, 0) if following else 0
                return following
            if later[0].segment > done.number + 1:
                self.missed += max(later[0].base - done.seq, 0)
            with suppress(FileNotFoundError):
                return _open(later[0].path, later[0].base)


def _open(path: str | Path, base: int | None) -> _Segment:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header, offset = read_header(fd)
    except (TrailError, OSError):
        os.close(fd)
        raise
    return _Segment(fd, header.segment, header.base if base is None else base, offset)


def read_all(folder: Path, *, since: int = 0, limit: int | None = None) -> Iterator[SequencedEvent]:
    """All events kept, oldest first, from number ``since`` on, at most ``limit``.

    Raises:
        TrailError: the trail was written by a newer version.
    """
    follower = Follower(folder, since=since)
    try:
        yield from follower.drain(limit)
    finally:
        follower.close()
