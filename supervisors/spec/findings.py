"""Findings: what ``check`` hands back, and two plain ways to write them down."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from supervisors.spec.codes import CODES, Severity

#: a place in the document: keys and list indices from the top
Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding that has no line yet.

    Attributes:
        code: see ``supervisors.spec.codes``.
        loc: place in the document.
        message: what is wrong.
        fix: what to do.
        tree_path: path in the tree, or an empty string.
        on_key: point at the key rather than at its value.
        missing: the key that ``loc`` lacks, or an empty string.
    """

    code: int
    loc: Loc
    message: str
    fix: str
    tree_path: str = ""
    on_key: bool = False
    missing: str = ""

    @property
    def missing_loc(self) -> Loc:
        """Where the missing key would stand; empty when none is missing."""
        return (*self.loc, self.missing) if self.missing else ()

    @property
    def severity(self) -> Severity:
        """Severity of this kind of finding."""
        return CODES[self.code].severity


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a topology file.

    Attributes:
        severity: error, warning or info.
        code: see ``supervisors.spec.codes``.
        file: as it was given.
        line: from 1; 0 when it is about the file as a whole.
        column: from 1; 0 when it is about the file as a whole.
        path_in_yaml: such as ``tree.children[0].restart``; empty for the whole document.
        tree_path: such as ``/cell/md``; empty when it is about no one place of the tree.
        message: what is wrong.
        fix: what to do.
    """

    severity: Severity
    code: int
    file: str
    line: int
    column: int
    path_in_yaml: str
    tree_path: str
    message: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        fix = f" — fix: {self.fix}" if self.fix else ""
        return f"{place}: {self.severity} E{self.code} {self.message}{fix}"


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about one file, in the order of their lines."""

    file: str
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the system from being started."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def ok(self) -> bool:
        """True when there is no error; warnings do not count."""
        return not self.errors

    def count(self, severity: Severity) -> int:
        """How many findings have ``severity``."""
        return sum(f.severity is severity for f in self.findings)


def render_text(report: Report) -> str:
    """One plain line per finding, ``file:line:column: severity Ecode what — fix: ...``, and a line that counts them."""
    counts = ", ".join(f"{report.count(s)} {s}{'' if report.count(s) == 1 else 's'}" for s in Severity)
    # "infos" is no word
    counts = counts.replace("infos", "info")
    return "\n".join([*(str(f) for f in report.findings), f"{report.file}: {counts}"])


def to_json(report: Report) -> str:
    """The report as a JSON object: ``file``, ``ok`` and ``findings`` with all their fields."""
    findings = [
        {
            "severity": f.severity.value,
            "code": f.code,
            "file": f.file,
            "line": f.line,
            "column": f.column,
            "path_in_yaml": f.path_in_yaml,
            "tree_path": f.tree_path,
            "message": f.message,
            "fix": f.fix,
        }
        for f in report.findings
    ]
    return json.dumps({"file": report.file, "ok": report.ok, "findings": findings}, indent=2, ensure_ascii=False)


def yaml_path(loc: Loc) -> str:
    """``("tree", "children", 0)`` as ``tree.children[0]``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like ``word``, or an empty string when none is like it."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A fix: the nearest known word, or the list of them (at most 20)."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    if not names:
        return "remove it"
    return "known here: " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
