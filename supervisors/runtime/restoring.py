"""Bringing an actor to the state its journal tells: newest valid checkpoint and tail (warm), or from nothing (cold).

Files are read and events decoded in a helper thread, one chunk ahead; events are applied in the actor's loop in slices,
so that its progress counter moves and a long replay is not taken for a hang.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from supervisors.core.errors import CheckpointError, JournalCorrupt, RecoveryError
from supervisors.recovery.policy import Rung
from supervisors.runtime.codec import StateCodec
from supervisors.runtime.replica import Replica
from supervisors.state.checkpoints import CheckpointInfo, CheckpointStore
from supervisors.state.disk import Disk
from supervisors.state.journal import JournalReader, Record

#: seconds ``apply`` may hold the actor's loop in one go
SLICE = 0.01
#: events read and decoded at once
CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        sequence: of the last event in the state.
        from_checkpoint: the sequence of the checkpoint it began with; 0: none.
        events: applied after that.
        seconds: in all.
        findings: what was not as it should be, in words.
    """

    sequence: int
    from_checkpoint: int
    events: int
    seconds: float
    findings: tuple[str, ...]


class Chunk(NamedTuple):
    """Some events of the journal, decoded; ``epoch`` wrote the last of them."""

    events: list[object]
    epoch: int


class _Beginning(NamedTuple):
    """A checkpoint's sequence (0: none) and its state, decoded; ``head``: where the journal ends."""

    sequence: int
    state: object
    head: int


class Tail:
    """The events behind a sequence, chunk by chunk. Of one thread at a time."""

    def __init__(self, reader: JournalReader, codec: StateCodec, after: int) -> None:
        self._reader = reader
        self._codec = codec
        self._after = after
        self._records: Iterator[Record] | None = None

    def next(self) -> Chunk | None:
        """The next events; None at the journal's end.

        Raises:
            JournalCorrupt, JournalFailed: the journal is damaged or cannot be read.
            RecoveryError: an event is none of this class.
        """
        if self._records is None:
            self._records = self._reader.read(self._after)
        records = list(islice(self._records, CHUNK))
        if not records:
            self._records = None
            return None
        first, self._after = self._after + 1, records[-1].sequence
        return Chunk(self._codec.decode_events([record.body for record in records], first), records[-1].epoch)


async def replay(replica: Replica, following: Callable[[], Chunk | None], helper: Executor) -> int:
    """Apply what ``following`` gives (called in ``helper``) until it gives None; how many events that were.

    Raises:
        JournalCorrupt, JournalFailed, RecoveryError: see ``Tail.next`` and ``Replica.replay``.
    """
    loop = asyncio.get_running_loop()
    count = 0
    coming = loop.run_in_executor(helper, following)
    while (chunk := await coming) is not None:
        coming = loop.run_in_executor(helper, following)
        try:
            at = 0
            while (at := replica.replay(chunk.events, at, SLICE)) < len(chunk.events):  # noqa: ASYNC110 - others run
                await asyncio.sleep(0)
        except BaseException:
            await asyncio.wait({coming})
            coming.cancelled() or coming.exception()  # looked at: nobody else will
            raise
        replica.epoch = chunk.epoch
        count += len(chunk.events)
    return count


def superseded(reader: JournalReader) -> Callable[[CheckpointInfo], str]:
    """Why not to use a checkpoint: a fenced life took it, of events that its successor never had."""
    plan = reader.plan()
    began = [(one.epoch, one.first) for one in plan.segments] if plan else []

    def late(info: CheckpointInfo) -> str:
        for epoch, first in began:
            if epoch > info.epoch and first <= info.sequence:
                return f"it is of epoch {info.epoch} and stands behind event {first}, where epoch {epoch} began"
        return ""

    return late


class Restorer:
    """Restores one replica from the files of one folder.

    Args:
        replica: blank.
        journal, checkpoints: the folders.
        disk: reads them.
        helper: one thread.
    """

    def __init__(self, replica: Replica, journal: Path, checkpoints: Path, disk: Disk, helper: Executor) -> None:
        self._replica = replica
        self._codec = replica.codec
        self._journal = journal
        self._store = CheckpointStore(checkpoints, disk)
        self._disk = disk
        self._helper = helper
        self._findings: list[str] = []

    async def restore(self, rung: str) -> Restored:
        """``cold``: the whole journal; everything else: newest valid checkpoint and tail.

        Raises:
            JournalCorrupt: what was acknowledged is damaged or missing.
            CheckpointError: no checkpoint is valid and the journal no longer holds the events before it.
            JournalFailed: the disk refused.
            RecoveryError: the class cannot take an event or a state.
        """
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        reader = await loop.run_in_executor(self._helper, lambda: JournalReader(self._journal, disk=self._disk))
        try:
            choose = self._from_nothing if rung == Rung.COLD else self._from_newest
            begin, state, head = await loop.run_in_executor(self._helper, choose, reader)
            if begin:
                self._replica.take(begin, state)
            tail = Tail(reader, self._codec, begin)
            events = await replay(self._replica, tail.next, self._helper) if head > begin else 0
            self._findings += [f"{found.kind}: {found.text or found.file}" for found in reader.findings]
        finally:
            await loop.run_in_executor(self._helper, reader.close)
        return Restored(
            self._replica.sequence, begin, events, time.perf_counter() - began, tuple(dict.fromkeys(self._findings))
        )

    # ------------------------------------------------------------ the helper thread

    def _from_newest(self, reader: JournalReader) -> _Beginning:
        head, late = reader.head, superseded(reader)
        unusable: dict[tuple[int, int], str] = {}
        while True:
            checkpoint, passed = self._store.newest_valid(
                refuse=lambda info: unusable.get((info.sequence, info.epoch)) or late(info)
            )
            if checkpoint is None:
                self._findings += passed
                return self._whole(reader, head)
            try:
                state = self._codec.decode_state(checkpoint.schema, checkpoint.body)
            except RecoveryError as error:
                unusable[checkpoint.sequence, checkpoint.epoch] = error.message
                continue
            if checkpoint.sequence > head:
                passed.append(f"the journal ends with event {head}, the checkpoint stands at {checkpoint.sequence}")
            self._findings += passed
            return _Beginning(checkpoint.sequence, state, head)

    def _from_nothing(self, reader: JournalReader) -> _Beginning:
        head, late = reader.head, superseded(reader)
        infos = [info for info in self._store.list() if not late(info)]
        newest = max((info.sequence for info in infos), default=0)
        if newest > head:
            raise JournalCorrupt(
                f"{self._journal}: ends with event {head}, but a checkpoint stands at {newest}",
                fix="recover warm, or restore the journal from a copy",
            )
        if reader.begin > 1:
            for info in reversed(infos):
                if info.sequence >= reader.begin - 1 and (found := self._load(info, head)) is not None:
                    self._findings.append(
                        f"the journal begins with event {reader.begin}: replayed from the checkpoint of {info.sequence}"
                    )
                    return found
        return self._whole(reader, head)

    def _whole(self, reader: JournalReader, head: int) -> _Beginning:
        if reader.begin > 1:
            raise CheckpointError(
                f"no valid checkpoint in {self._store.folder}, and the journal begins with event {reader.begin}: "
                + ("; ".join(self._findings) or "there is none"),
                fix="restore a checkpoint from a copy",
            )
        return _Beginning(0, None, head)

    def _load(self, info: CheckpointInfo, head: int) -> _Beginning | None:
        try:
            checkpoint = self._store.load(info)
            return _Beginning(info.sequence, self._codec.decode_state(checkpoint.schema, checkpoint.body), head)
        except (CheckpointError, RecoveryError) as error:
            self._findings.append(f"checkpoint of event {info.sequence} not used: {error.message}")
            return None
