"""Errors a user can meet, each with a code that does not change.

    RayvisorError
    ├── SpecError            1xxx  the topology or another input file is wrong
    ├── LaunchError          2xxx  a system could not be started, found or stopped
    ├── AdminError           3xxx  a supervisor refused an order (OTP's {error, Reason})
    ├── CallError            4xxx  a call between children failed
    │   ├── CallTimeout
    │   ├── ChildUnavailable
    │   ├── ChildDead
    │   └── OutcomeUnknown
    ├── PlaneError           5xxx  the signal plane
    ├── StateError           7xxx  journals, checkpoints, leases
    │   ├── JournalFailed
    │   ├── JournalCorrupt
    │   ├── CheckpointError
    │   ├── Fenced
    │   ├── NotActing
    │   └── StoreUnavailable
    ├── RecoveryError        8xxx  a recovery could not be decided, carried out or answered
    └── FaultError           9xxx  a fault could not be injected or undone, or a chaos run not carried out

Codes are stable within 1000-9999; ``fix`` says what to do. All survive pickling (Ray pickles them).
"""

from typing import Self


class RayvisorError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, with the place.
        code: stable number, 1000-9999.
        fix: what to do about it, or an empty string.
    """

    default_code = 1000

    def __init__(self, message: str, *, code: int | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.fix = fix

    def __str__(self) -> str:
        return f"[E{self.code}] {self.message}" + (f" ({self.fix})" if self.fix else "")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.fix))

    @classmethod
    def rebuild(cls, message: str, code: int, fix: str) -> Self:
        """Make the error again from its parts (what unpickling calls)."""
        return cls(message, code=code, fix=fix)


def _rebuild(cls: type[RayvisorError], message: str, code: int, fix: str) -> RayvisorError:
    return cls.rebuild(message, code, fix)


class Ignore(Exception):
    """Raised in ``start`` to say that no process is needed and that this is no failure (OTP's ``ignore``)."""


class SpecError(RayvisorError):
    """The topology, or another input file, is wrong."""

    default_code = 1001


class LaunchError(RayvisorError):
    """A system could not be started, found or stopped."""

    default_code = 2001


class AdminError(RayvisorError):
    """A supervisor refused an order. ``message`` begins with OTP's word for it (``not_found``, ``running``)."""

    default_code = 3001


class CallError(RayvisorError):
    """A call to another child failed."""

    default_code = 4001


class CallTimeout(CallError):
    """No answer within the deadline. The call may or may not have been carried out."""

    default_code = 4002


class ChildUnavailable(CallError):
    """The child could not be reached within the deadline; it was not known to be dead."""

    default_code = 4003


class ChildDead(CallError):
    """The child is dead and no new incarnation came within the deadline, or none will come."""

    default_code = 4004


class OutcomeUnknown(CallError):
    """The child died while it had the call, and the caller asked not to repeat it (``once=True``)."""

    default_code = 4005


class PlaneError(RayvisorError):
    """The signal plane could not be set up or used."""

    default_code = 5001


class StateError(RayvisorError):
    """State could not be kept or restored."""

    default_code = 7001


class JournalFailed(StateError):
    """The event could not be made durable: it is not acknowledged, not applied, and may be tried again."""

    default_code = 7002


class JournalCorrupt(StateError):
    """The journal holds something that was never written so; file, offset and sequence are named."""

    default_code = 7003


class CheckpointError(StateError):
    """A checkpoint is damaged, of an unknown version, or could not be written."""

    default_code = 7004


class Fenced(StateError):
    """A newer epoch holds this place: nothing of this life counts any more."""

    default_code = 7005


class NotActing(StateError):
    """A standby, or a life whose lease ran out, was asked to have an effect outside itself."""

    default_code = 7006


class StoreUnavailable(StateError):
    """The lease store did not answer. That says nothing about the peer."""

    default_code = 7007


class RecoveryError(RayvisorError):
    """A recovery could not be decided, carried out or answered."""

    default_code = 8001


class FaultError(RayvisorError):
    """A fault could not be injected or undone, or a chaos run could not be carried out."""

    default_code = 9001
