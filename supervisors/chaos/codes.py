"""Every finding an experiment file can have, with its stable code (16xx). Codes are never given a second meaning.

What is wrong with the file itself or with its YAML has the codes of ``supervisors.spec.codes`` (10xx).
"""

import msgspec

from supervisors.spec.codes import CODES as SPEC_CODES
from supervisors.spec.codes import Code, Severity
from supervisors.spec.findings import Loc

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

UNKNOWN_KEY = 1601
MISSING_KEY = 1602
WRONG_TYPE = 1603
BAD_DURATION = 1604
NOT_ONE_OF = 1605
OUT_OF_RANGE = 1606
BAD_PATH = 1607
BAD_VALUE = 1608
NO_STEP = 1609
UNKNOWN_FAULT = 1610
BAD_PARAMETER = 1611
PATH_NOT_IN_TREE = 1612
SYSTEM_UNUSABLE = 1613
FAULTS_OFF = 1614
UNKNOWN_NAME = 1615
NO_TOLERANCE = 1616
TOO_MANY_STEPS = 1617
TOO_MANY_TARGETS = 1618
NOT_UNIQUE = 1619
BAD_PATTERN = 1620
NO_FAULT = 1621
NO_HYPOTHESIS = 1622
UNFIT_TARGET = 1623
TOO_LONG = 1624

CODES: dict[int, Code] = {
    UNKNOWN_KEY: Code(_ERROR, "an experiment has a key that is not known here"),
    MISSING_KEY: Code(_ERROR, "an experiment lacks a key that has no default"),
    WRONG_TYPE: Code(_ERROR, "a value of an experiment has the wrong type"),
    BAD_DURATION: Code(_ERROR, "a value of an experiment is no duration"),
    NOT_ONE_OF: Code(_ERROR, "a value of an experiment is none of the words allowed"),
    OUT_OF_RANGE: Code(_ERROR, "a number of an experiment is too small or too large"),
    BAD_PATH: Code(_ERROR, "a value of an experiment is no path of a tree"),
    BAD_VALUE: Code(_ERROR, "a value of an experiment is not valid"),
    NO_STEP: Code(_ERROR, "a step has none of the words that say what it does"),
    UNKNOWN_FAULT: Code(_ERROR, "an experiment names a fault that is not in the catalogue"),
    BAD_PARAMETER: Code(_ERROR, "a fault's parameter is unknown, missing or not valid"),
    PATH_NOT_IN_TREE: Code(_ERROR, "an experiment names a path that is not in its system's tree"),
    SYSTEM_UNUSABLE: Code(_ERROR, "the topology an experiment names is missing or has errors"),
    FAULTS_OFF: Code(_ERROR, "the topology an experiment names does not allow faults"),
    UNKNOWN_NAME: Code(_ERROR, "a fault is to be reverted by a name that no fault has"),
    NO_TOLERANCE: Code(_ERROR, "a probe does not say what it tolerates"),
    TOO_MANY_STEPS: Code(_ERROR, "an experiment repeats more steps than a run carries out"),
    TOO_MANY_TARGETS: Code(_ERROR, "an experiment allows more targets at once than its system"),
    NOT_UNIQUE: Code(_WARNING, "a workload's calls carry no unique value: what was lost cannot be told"),
    BAD_PATTERN: Code(_ERROR, "a tolerance is no regular expression"),
    NO_FAULT: Code(_WARNING, "an experiment breaks nothing"),
    NO_HYPOTHESIS: Code(_WARNING, "an experiment checks nothing"),
    UNFIT_TARGET: Code(_ERROR, "a fault cannot hit what stands at the path"),
    TOO_LONG: Code(_ERROR, "a fault lasts longer than its system, or the run, allows"),
}


def severity_of(code: int) -> Severity:
    """Severity of a finding, of this room or of the reader."""
    return (CODES.get(code) or SPEC_CODES[code]).severity


class Problem(msgspec.Struct, frozen=True):
    """A finding that has no line yet; see ``supervisors.spec.findings.Problem``."""

    code: int
    loc: Loc
    message: str
    fix: str
    on_key: bool = False
    missing: str = ""
