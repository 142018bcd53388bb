"""What an experiment's machine is told, and what it wants done. Pure."""

import msgspec

from supervisors.chaos.document import CallStep, FaultStep, Probe
from supervisors.chaos.history import Outcome
from supervisors.trail.events import Scalar

# ---------------------------------------------------------------- events


class Began(msgspec.Struct, frozen=True):
    """Begin."""


class Woke(msgspec.Struct, frozen=True):
    """The time the machine asked for has come (``wake_at``)."""


class Probed(msgspec.Struct, frozen=True):
    """A probe was judged."""

    token: int
    ok: bool
    why: str = ""
    value: str = ""


class Injected(msgspec.Struct, frozen=True):
    """A fault is armed. ``ids``: to revert it by; ``targets``: whom it hits."""

    token: int
    ids: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """A fault was refused: nothing of it acts."""

    token: int
    code: int
    why: str


class Called(msgspec.Struct, frozen=True):
    """A call ended."""

    token: int
    ok: bool
    why: str = ""


class Reverted(msgspec.Struct, frozen=True):
    """An order to revert was carried out. ``stuck``: what could not be undone, or not be seen to be."""

    token: int
    stuck: tuple[str, ...] = ()


class Settled(msgspec.Struct, frozen=True):
    """Everything is well again, or is not in time."""

    token: int
    ok: bool
    why: str = ""


class Abort(msgspec.Struct, frozen=True):
    """Break the run off: a person, an emergency stop, or the runner itself."""

    why: str


Event = Began | Woke | Probed | Injected | Refused | Called | Reverted | Settled | Abort

# ---------------------------------------------------------------- effects


class DoProbe(msgspec.Struct, frozen=True):
    """Judge a probe; answer ``Probed``. ``when``: before, during, after, method, controls or rollbacks."""

    token: int
    probe: Probe
    when: str


class DoInject(msgspec.Struct, frozen=True):
    """Inject a fault; answer ``Injected`` or ``Refused``. ``number``: which of the run, from 1; ``seed``: of its
    chance.
    """

    token: int
    step: FaultStep
    number: int
    seed: int


class DoCall(msgspec.Struct, frozen=True):
    """Call an actor; answer ``Called``."""

    token: int
    step: CallStep


class DoRevert(msgspec.Struct, frozen=True):
    """Revert faults by id; None: all of the run. Answer ``Reverted``."""

    token: int
    ids: tuple[str, ...] | None
    why: str


class DoSettle(msgspec.Struct, frozen=True):
    """Wait until everything is well; answer ``Settled``."""

    token: int
    seconds: float


class StartLoad(msgspec.Struct, frozen=True):
    """The clients begin."""


class StopLoad(msgspec.Struct, frozen=True):
    """The clients end; those under way are waited for by the runner before it reads their record."""


class Say(msgspec.Struct, frozen=True):
    """Write it into the journal."""

    kind: str
    data: dict[str, Scalar] = {}


class Finish(msgspec.Struct, frozen=True):
    """The run is over."""

    outcome: Outcome
    why: str


Effect = DoProbe | DoInject | DoCall | DoRevert | DoSettle | StartLoad | StopLoad | Say | Finish
