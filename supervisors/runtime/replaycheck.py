"""Verifies a checkpoint by full replay: ``python -m supervisors.runtime.replaycheck <question as JSON>``.

Started by ``Checkpointer`` in the background, with the lowest priority. It replays from the oldest state there is
(nothing, or the oldest checkpoint that reaches the journal) to the checkpoint's sequence, with a second object of the
same class, and compares digests. Its answer is one line of JSON; ``what`` in it is replay_verified, replay_mismatch or
replay_failed.
"""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from supervisors.core.errors import CheckpointError, RayvisorError, RecoveryError
from supervisors.runtime.codec import Journaled, StateCodec, is_journaled
from supervisors.runtime.replica import Replica
from supervisors.runtime.restoring import Tail
from supervisors.runtime.worker import _has_own_config, _is_actor_class, load_class
from supervisors.state.checkpoints import CheckpointStore
from supervisors.state.disk import REAL_DISK
from supervisors.state.journal import JournalReader

_SLICE = 0.05


class Question(msgspec.Struct, frozen=True):
    """What to verify; ``parent``: the process that asks, without which nobody wants the answer."""

    actor: str
    config: str
    journal: str
    checkpoints: str
    sequence: int
    digest: str
    parent: int


def construct(actor: str, config: str) -> Journaled:
    """A blank object of the class, as a host makes it.

    Raises:
        RecoveryError: it has no ``apply``, ``snapshot``, ``restore``.
    """
    cls = load_class(actor)
    target: object
    if _is_actor_class(cls):
        takes_none = config == "{}" and not _has_own_config(cls)
        target = cls(None if takes_none else cls.Config.model_validate_json(config))
    else:
        target = cls(**msgspec.json.decode(config, type=dict[str, object]))
    if not is_journaled(target):
        raise RecoveryError(f"{actor} has no apply, snapshot and restore", code=8020)
    return target


def check(question: Question) -> dict[str, str | int]:
    """Replay and compare; the answer.

    Raises:
        RayvisorError: the replay could not be made.
    """
    target = construct(question.actor, question.config)
    replica = Replica(target, StateCodec(target))
    with JournalReader(Path(question.journal)) as reader:
        begin = reader.begin
        if begin > 1:
            _load_oldest(replica, CheckpointStore(Path(question.checkpoints), REAL_DISK), begin, question.sequence)
        start = replica.sequence
        tail = Tail(reader, replica.codec, start)
        while replica.sequence < question.sequence and (chunk := tail.next()) is not None:
            events = chunk.events[: question.sequence - replica.sequence]
            at = 0
            while (at := replica.replay(events, at, _SLICE)) < len(events):
                pass
            if os.getppid() != question.parent:
                raise RecoveryError("nobody waits for the answer any more")
    if replica.sequence != question.sequence:
        raise RecoveryError(f"the journal ends with event {replica.sequence}")
    body = replica.state()
    digest = hashlib.sha256(body).hexdigest()
    same = digest == question.digest or _same(replica.codec, body, question)
    what = "replay_verified" if same else "replay_mismatch"
    return {"what": what, "start": start, "events": question.sequence - start, "digest": digest}


def _same(codec: StateCodec, body: bytes, question: Question) -> bool:
    """Equal states of other bytes: dicts whose keys are not texts keep the order they were filled in."""
    store = CheckpointStore(Path(question.checkpoints), REAL_DISK)
    for info in store.list():
        if info.digest == question.digest and info.sequence == question.sequence:
            return codec.same_state(body, store.load(info).body)
    raise RecoveryError("the checkpoint was removed meanwhile")


def _load_oldest(replica: Replica, store: CheckpointStore, begin: int, end: int) -> None:
    for info in reversed(store.list()):
        if begin - 1 <= info.sequence < end:
            with suppress(CheckpointError):
                checkpoint = store.load(info)
                replica.load(checkpoint.sequence, checkpoint.schema, checkpoint.body)
                return
    raise RecoveryError("no older checkpoint reaches the journal's beginning: nothing to compare with")


def main() -> None:
    """Answer the question on the command line."""
    os.nice(19)
    with suppress(OSError, AttributeError):  # runs when nobody else wants the processor
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    answer: dict[str, str | int]
    try:
        answer = check(msgspec.json.decode(sys.argv[1], type=Question))
    except RayvisorError as error:
        answer = {"what": "replay_failed", "why": error.message}
    except Exception as error:  # noqa: BLE001 - the user's class may raise anything; the asker has to hear of it
        answer = {"what": "replay_failed", "why": f"{type(error).__name__}: {error}"}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
