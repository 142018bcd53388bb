"""When snapshots of a journalled actor are taken, kept and verified (STA-2). Disk work is done in a helper.

A snapshot is taken in the actor's loop between two applies, so it stands exactly at one sequence. A checkpoint that
fails is told to the trail and tried again later; the journal behind it stays: only a recovery would take longer.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from supervisors.core.clock import Clock
from supervisors.core.errors import CheckpointError, StateError
from supervisors.faults.board import NO_FAULTS, FaultSlot
from supervisors.faults.order import Hook
from supervisors.recovery.policy import RecoverySpec
from supervisors.runtime.replica import Replica
from supervisors.signals.messages import Checkpointed, Message, StateNoted
from supervisors.state.checkpoints import Checkpoint, CheckpointInfo, CheckpointStore
from supervisors.state.disk import Disk
from supervisors.state.journal import retain

#: seconds until a checkpoint that failed is tried again, unless the next one is due before
_RETRY = 10.0
#: seconds a verification may take
_VERIFY_LIMIT = 3600.0


class Checkpointer:
    """Takes the checkpoints of one life.

    Args:
        replica: whose state.
        path, actor, config: of the child; the last two start the verification.
        spec: cadence, number kept, retention.
        journal, checkpoints: the folders.
        clock: for the cadence and for stamps.
        report: takes messages for the supervisor; thread-safe.
        helper: one thread for the disk.
        disk: where it is.
        faults: of this process.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        path: str,
        actor: str,
        config: bytes,
        spec: RecoverySpec,
        journal: Path,
        checkpoints: Path,
        clock: Clock,
        report: Callable[[Message], None],
        helper: Executor,
        disk: Disk,
        faults: FaultSlot = NO_FAULTS,
    ) -> None:
        self._replica = replica
        self._path = path
        self._actor = actor
        self._config = config
        self._spec = spec.checkpoint
        self._retain = spec.journal.retain
        self._journal = journal
        self._store = CheckpointStore(checkpoints, disk)
        self._clock = clock
        self._report = report
        self._helper = helper
        self._disk = disk
        self._faults = faults
        self._epoch = 0
        self._incarnation = 0
        self._due_at = 0.0
        self._due_sequence = 0
        self._verify_at = 0.0
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._verifying: subprocess.Popen[bytes] | None = None
        self._open = False

    def begin(self, epoch: int, incarnation: int, last: int) -> None:
        """This life is the writer; the newest checkpoint stands at ``last``."""
        now = self._clock.monotonic()
        self._epoch, self._incarnation = epoch, incarnation
        self._due_at = now + self._spec.every
        self._due_sequence = last + self._spec.events
        self._verify_at = now + (self._spec.verify_every or 0.0)
        self._open = True

    def look(self) -> None:
        """Take one if it is due. Cheap; called after each batch and on a timer."""
        if (
            self._open
            and self._task is None
            and (self._replica.sequence >= self._due_sequence or self._clock.monotonic() >= self._due_at)
        ):
            self._task = asyncio.ensure_future(self._take_quietly())

    async def take(self) -> int:
        """Take one now; gives the sequence it stands at.

        Raises:
            CheckpointError: ``snapshot`` raised, or the disk refused.
        """
        async with self._one:
            began = time.perf_counter()
            checkpoint = self.snapshot()
            if self._faults.board is not None:
                self._faults.crash_point(Hook.CHECKPOINT)
            self._due_at = self._clock.monotonic() + self._spec.every
            self._due_sequence = checkpoint.sequence + self._spec.events
            try:
                info = await asyncio.get_running_loop().run_in_executor(self._helper, self.save, checkpoint)
            except CheckpointError:
                self._due_at = self._clock.monotonic() + min(self._spec.every, _RETRY)
                raise
            elapsed = time.perf_counter() - began
            self._report(Checkpointed(self._path, self._incarnation, info.sequence, info.bytes, elapsed))
            self._verify_if_due(info)
            return info.sequence

    def snapshot(self) -> Checkpoint:
        """The state as it is now.

        Raises:
            CheckpointError: ``snapshot`` raised, or gave what cannot be encoded.
        """
        replica = self._replica
        try:
            body = replica.state()
        except Exception as error:
            raise CheckpointError(
                f"{replica.codec.name}.snapshot at event {replica.sequence}: {type(error).__name__}: {error}",
                fix="snapshot has to give the whole state as something msgspec encodes",
            ) from error
        now = round(self._clock.monotonic() * 1e9)
        return Checkpoint(
            replica.sequence, self._epoch, self._clock.utc_ns(), now, self._actor, replica.codec.version, body
        )

    def save(self, checkpoint: Checkpoint) -> CheckpointInfo:
        """Write it, forget old ones and the events behind the oldest kept. In the helper.

        Raises:
            CheckpointError: the disk refused it.
        """
        info = self._store.save(checkpoint)
        try:
            kept = self._store.prune(self._spec.keep)
            if self._retain is not None:
                oldest = min((one.sequence for one in kept), default=0)
                retain(self._journal, oldest + 1, self._retain, utc_ns=self._clock.utc_ns(), disk=self._disk)
        except StateError as error:
            self._note("checkpoint", what="prune_failed", why=error.message)
        return info

    async def close(self) -> None:
        """No more by themselves."""
        self._open = False
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._verifying is not None:
            self._verifying.kill()

    async def _take_quietly(self) -> None:
        try:
            await self.take()
        except CheckpointError as error:
            self._note("checkpoint", what="failed", why=error.message)
        finally:
            self._task = None

    def _note(self, kind: str, **data: str | int | float | bool) -> None:
        self._report(StateNoted(self._path, self._incarnation, kind, data))

    # ------------------------------------------------------------ verification

    def _verify_if_due(self, info: CheckpointInfo) -> None:
        now = self._clock.monotonic()
        if self._spec.verify_every is None or now < self._verify_at or self._verifying is not None:
            return
        self._verify_at = now + self._spec.verify_every
        question = {
            "actor": self._actor,
            "config": self._config.decode(),
            "journal": str(self._journal),
            "checkpoints": str(self._store.folder),
            "sequence": info.sequence,
            "digest": info.digest,
            "parent": os.getpid(),
        }
        command = [sys.executable, "-m", "supervisors.runtime.replaycheck", json.dumps(question)]
        search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - as Python itself reads it
        try:
            self._verifying = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": search},
            )
        except OSError as error:
            self._note("journal", what="replay_failed", sequence=info.sequence, why=str(error))
            return
        threading.Thread(target=self._wait, args=(self._verifying, info), name="replaycheck", daemon=True).start()

    def _wait(self, process: "subprocess.Popen[bytes]", info: CheckpointInfo) -> None:
        """In a thread of its own: tell what the verification says."""
        try:
            said, _ = process.communicate(timeout=_VERIFY_LIMIT)
            answer = msgspec.json.decode(said, type=dict[str, str | int | float])
        except (subprocess.TimeoutExpired, msgspec.MsgspecError):
            process.kill()
            process.wait()
            answer = {"what": "replay_failed", "why": f"no answer, exit code {process.returncode}"}
        self._verifying = None
        if self._open:
            self._note("journal", sequence=info.sequence, **answer)
