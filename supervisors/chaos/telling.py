"""What a run says while it goes on: nobody who listens may keep it from its end."""

from collections.abc import Callable

import msgspec

from supervisors.core.errors import FaultError
from supervisors.trail.events import Scalar


class Progress(msgspec.Struct, frozen=True):
    """Something that happened in a run, for whoever watches: a word of ``RunWord`` or of the machine, and its data."""

    t: float
    kind: str
    data: dict[str, Scalar] = {}


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Tells nobody."""


def safely(tell: Tell) -> Tell:
    """``tell`` that never raises: a closed pipe (rich ends the program then) must not stop a run from undoing all."""

    def told(progress: Progress) -> None:
        try:
            tell(progress)
        except (Exception, SystemExit):  # noqa: BLE001 - what cannot be shown is in the run's journal
            return

    return told


def unforeseen(error: BaseException) -> FaultError:
    """What a run is broken off with that met an error no fault accounts for."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return FaultError(what[:300], code=9076, fix="rayvisor inject active shows whether anything is left")
