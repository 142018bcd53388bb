"""Whether faults may be injected into a system, and which from the beginning: the models behind ``faults`` (FLT-1)."""

from typing import Annotated

from pydantic import Field, JsonValue

from supervisors.core.durations import Duration
from supervisors.spec.fields import ChildId, Flag, PathText, SpecModel, WholeNumber
from supervisors.spec.recovery import PositiveTime

#: a chance
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class DeclaredFaultSettings(SpecModel):
    """One fault the launcher injects by itself once the system is up."""

    fault: str
    """Name of a fault: see ``rayvisor inject list``."""
    path: PathText
    """Whom it hits."""
    params: dict[str, JsonValue] = {}
    """Its parameters. Default none: each has its own default."""
    after: Duration = 0.0
    """Time from when the system is up. Default 0s."""
    seconds: PositiveTime | None = Field(default=None, alias="for")
    """How long it lasts at most. Default null: as long as the fault's own default says."""
    probability: Probability | None = None
    """Chance that it acts on an occasion, once ``first`` are over. Default null: 1, or 0 where ``first`` is given."""
    first: Annotated[WholeNumber, Field(ge=0)] = 0
    """So many occasions are hit for certain. Default 0."""
    seed: WholeNumber = 0
    """Of all that is left to chance. Default 0."""


class FaultsSettings(SpecModel):
    """Faults on purpose (FLT-1)."""

    enabled: Flag = False
    """Faults may be injected. Default false: nobody breaks a system that did not ask for it."""
    max_targets: Annotated[WholeNumber, Field(ge=1)] = 3
    """Targets that faults hit at one time. Default 3: more are refused."""
    longest: PositiveTime = 600.0
    """Longest time of one fault. Default 10m: what is forgotten ends by itself."""
    allow_in_production: ChildId | None = None
    """Name of the system, to enable faults in ``environment: production``. Default null: it is refused."""
    inject: tuple[DeclaredFaultSettings, ...] = ()
    """Faults the launcher injects once the system is up, for staging. Default none."""
