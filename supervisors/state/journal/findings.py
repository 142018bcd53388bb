"""What a reader or writer of a journal has to tell besides the records."""

from enum import StrEnum

import msgspec

from supervisors.core.errors import StateError


class FindingKind(StrEnum):
    """Of a finding. Only ``CORRUPT`` means that something acknowledged is lost or changed."""

    TORN = "torn_tail"  #: the last write was cut short; nothing of it was acknowledged
    UNACKNOWLEDGED = "unacknowledged"  #: whole records that were written and never acknowledged
    FENCED = "fenced_writes"  #: what a writer that was no longer in charge put behind its end
    UNFINISHED = "unfinished"  #: a file of an opening or rotation that was cut short
    CONTROL = "control_damaged"  #: one of two copies in the control file is damaged, the other is used
    STRAY = "stray"  #: something that is not zero behind the end of a finished segment
    CORRUPT = "corrupt"


class Finding(msgspec.Struct, frozen=True):
    """One thing found in ``file``, at ``offset``. ``sequence``: of the record concerned, 0 where there is none."""

    kind: FindingKind
    file: str
    offset: int = 0
    bytes: int = 0
    sequence: int = 0
    text: str = ""


class Report(msgspec.Struct, frozen=True):
    """A journal read from end to end. ``first`` > ``last``: it holds no record.

    ``durable``: the last sequence known to be acknowledged. ``epoch``: the newest writer's; ``open``: it did not end
    in order, so it writes still or was killed.
    """

    folder: str
    ok: bool
    first: int
    last: int
    durable: int
    epoch: int
    open: bool
    segments: int
    records: int
    bytes: int
    findings: tuple[Finding, ...]


class Removed(StateError):
    """The events asked for were removed behind a checkpoint: begin from that one."""

    default_code = 7012
