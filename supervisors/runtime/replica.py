"""An actor's object and how far it is in its journal: the one place where events reach ``apply``."""

import time
from collections.abc import Sequence
from itertools import islice

from supervisors.core.errors import RecoveryError
from supervisors.runtime.codec import Journaled, StateCodec


class Replica:
    """One object fed by one journal, in order, each event once.

    Args:
        target: the object; blank, as its class makes it.
        codec: of its class.
    """

    __slots__ = ("codec", "epoch", "sequence", "target")

    def __init__(self, target: Journaled, codec: StateCodec) -> None:
        self.target = target
        self.codec = codec
        #: of the last event in the state
        self.sequence = 0
        #: of the life that wrote that event; 0: unknown, the state came from a checkpoint
        self.epoch = 0

    def load(self, sequence: int, version: int, body: bytes) -> None:
        """Take over a checkpoint's state.

        Raises:
            RecoveryError: it cannot be read by this class, or ``restore`` raised.
        """
        self.take(sequence, self.codec.decode_state(version, body))

    def take(self, sequence: int, state: object) -> None:
        """Take over a decoded state.

        Raises:
            RecoveryError: ``restore`` raised.
        """
        try:
            self.target.restore(state)
        except Exception as error:
            raise RecoveryError(
                f"{self.codec.name}.restore raised on the state of event {sequence}: {type(error).__name__}: {error}",
                code=8021,
                fix="mend restore, or recover cold",
            ) from error
        self.sequence, self.epoch = sequence, 0

    def replay(self, events: Sequence[object], start: int, budget: float) -> int:
        """Apply ``events[start:]``, the first of which follows ``sequence``, for about ``budget`` seconds.

        Returns:
            The index of the first one not applied.

        Raises:
            RecoveryError: ``apply`` raised; the sequence is named.
        """
        apply = self.target.apply
        now = time.perf_counter
        until = now() + budget
        at, before = start, self.sequence - start
        try:
            for event in islice(events, start, None):
                apply(event)
                at += 1
                if now() >= until:  # at each: 64 slow ones in a row would look like a hang
                    break
        except Exception as error:
            raise RecoveryError(
                f"{self.codec.name}.apply raised on event {before + at + 1}: {type(error).__name__}: {error}",
                code=8021,
                fix="apply has to take every event that was ever journalled: mend it, then recover",
            ) from error
        finally:
            self.sequence = before + at
        return at

    def state(self) -> bytes:
        """The present state, encoded.

        Raises:
            Exception: ``snapshot`` raised, or gave what msgspec does not encode.
        """
        return self.codec.encode_state(self.target.snapshot())
