"""From a document to an experiment: pydantic's errors become problems, and what is wrong is left out.

Leaving a wrong value out and trying again is what lets one run report every fault; see ``spec.validation``.
"""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supervisors.chaos import codes
from supervisors.chaos import document as models
from supervisors.chaos.document import PROBES, QUIET_STEPS, STEPS, Experiment
from supervisors.spec.document import Document, Place
from supervisors.spec.fields import names_by_key
from supervisors.spec.findings import Loc, did_you_mean

#: each round leaves out at least one value
_ROUNDS = 20
_TIMES = "write a time such as 100ms, 5s or 5m"
_CUSTOM = {
    "duration": (codes.BAD_DURATION, _TIMES),
    "path": (codes.BAD_PATH, "write a path such as /cell/md"),
    "method": (codes.BAD_VALUE, "write the name of a method, without a leading _"),
}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}


def validate(document: Document) -> tuple[Experiment | None, list[codes.Problem]]:
    """The experiment without its wrong parts, and a problem for each of these; see above."""
    problems: list[codes.Problem] = []
    gone: set[Loc] = set()
    for _ in range(_ROUNDS):
        if document.root is None:
            break
        try:
            return Experiment.model_validate(document.root.data()), problems
        except ValidationError as error:
            found = [_problem(document.root, detail) for detail in error.errors(include_url=False)]
        problems += [p for p in found if not (p.missing and (*p.loc, p.missing) in gone)]
        out = sorted({_left_out(document.root, p) for p in found}, key=len, reverse=True)
        for loc in out:
            gone.add(loc)
            _leave_out(document, loc)
    return None, problems


def _left_out(root: Place, problem: codes.Problem) -> Loc:
    """What goes with a wrong value: the item of the list it stands in, when it cannot do without."""
    loc = problem.loc
    if not problem.missing and not _is_needed(root, loc):
        return loc
    while loc and not isinstance(loc[-1], int):
        loc = loc[:-1]
    return loc


def _is_needed(root: Place, loc: Loc) -> bool:
    """Whether the step or probe at ``loc[:-1]`` is nothing without this key."""
    if not loc or isinstance(loc[-1], int):
        return False
    if len(loc) == 1:
        return loc[-1] == "title"
    owner = root.get(*loc[:-1])
    in_list = any(isinstance(part, int) for part in loc)
    return owner is not None and in_list and loc[-1] not in ("for", "within", "every", "timeout", "name", "params")


def _leave_out(document: Document, loc: Loc) -> None:
    if document.root is None:
        return
    if not loc or loc == ("title",):
        title = Place(("title",), document.root.line, document.root.column, "untitled")
        if document.root.items is None or document.root.items.get("title") is title:
            document.root, document.lost_root = None, document.root
            return
        if loc or "title" not in document.root.items:
            document.root.items["title"] = title
            return
        document.root, document.lost_root = None, document.root
        return
    parent = document.root.get(*loc[:-1])
    if parent is not None:
        parent.leave_out(loc[-1])
        # a list that lost all it had is not what was written: what it stands in goes with it
        if parent.is_list and not parent.items and len(parent.loc) > 1:
            _leave_out(document, _item_of(parent.loc))


def _item_of(loc: Loc) -> Loc:
    while loc and not isinstance(loc[-1], int):
        loc = loc[:-1]
    return loc


def _problem(root: Place, detail: ErrorDetails) -> codes.Problem:
    raw, kind = detail["loc"], detail["type"]
    missing = str(raw[-1]) if kind == "missing" and raw else ""
    loc = _locate(root, raw[:-1] if missing else raw)
    place = root.get(*loc)
    name = f"{loc[-2]}[{loc[-1]}]" if len(loc) > 1 and isinstance(loc[-1], int) else str(loc[-1]) if loc else ""
    if missing:
        message = f"{name or 'the experiment'} has no {missing}"
        return codes.Problem(codes.MISSING_KEY, loc, message, f"add {missing}:", missing=missing)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _no_word(place, loc, name)
    if kind == "extra_forbidden":
        model = _model_at(raw[:-1])
        fix = did_you_mean(str(loc[-1]), names_by_key(model) if model is not None else ())
        message = f"key {str(loc[-1])!r} is not known here"
        return codes.Problem(codes.UNKNOWN_KEY, loc, message, fix, on_key=True)
    if kind in _CUSTOM:
        code, fix = _CUSTOM[kind]
        return codes.Problem(code, loc, f"{name}: {detail['msg']}", fix)
    if kind in ("enum", "literal_error"):
        expected = str(detail.get("ctx", {}).get("expected", ""))
        words = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
        given = str(detail["input"])[:40]
        return codes.Problem(codes.NOT_ONE_OF, loc, f"{name} cannot be {given!r}", did_you_mean(given, words))
    if kind in _WANTED:
        message = f"{name} must be {_WANTED[kind]}, not {_found(place)}"
        return codes.Problem(codes.WRONG_TYPE, loc, message, f"write {_WANTED[kind]}")
    if kind.startswith(("greater_than", "less_than")) or kind in ("too_short", "string_too_short", "string_too_long"):
        message = detail["msg"].replace("Input should be", f"{name} must be")
        return codes.Problem(codes.OUT_OF_RANGE, loc, message, "choose a value in range")
    return codes.Problem(codes.BAD_VALUE, loc, f"{name}: {detail['msg']}", "see docs/chaos.md")


def _no_word(place: Place | None, loc: Loc, name: str) -> codes.Problem:
    """A step, or a probe, that does not say what it is."""
    probe = place.get("probe") if place is not None else None
    if probe is not None:
        given = str(probe.value)[:40]
        return codes.Problem(codes.NOT_ONE_OF, probe.loc, f"there is no probe {given!r}", did_you_mean(given, PROBES))
    if loc[:1] == ("steady_state",):
        return codes.Problem(codes.NO_STEP, loc, f"{name} is no probe", f"add probe: {', '.join(PROBES)}")
    keys = [str(key) for key in (place.items or {})] if place is not None else []
    words = STEPS if loc[:1] == ("method",) else QUIET_STEPS
    near = next((fix for key in keys if (fix := did_you_mean(key, words)).startswith("did")), "")
    message = f"{name} is no step that can stand here"
    return codes.Problem(codes.NO_STEP, loc, message, near or f"one of {', '.join(words)}")


def _locate(root: Place, raw: Sequence[int | str]) -> Loc:
    """The document's place for pydantic's: without the tags of unions it puts in between."""
    place, loc = root, Loc()
    for part in raw:
        if isinstance(part, str) and part.startswith("<"):
            continue
        below = place.get(place.nth(part))
        if below is not None:
            place, loc = below, below.loc
    return loc


_TAG = re.compile(r"<(\w+)>")


def _model_at(raw: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that read the value at ``raw``: that of its last tag, or of the fields from the top."""
    by_tag: dict[str, type[BaseModel]] = {
        "fault": models.FaultStep,
        "kill": models.KillStep,
        "revert": models.RevertStep,
        "wait": models.WaitStep,
        "parallel": models.ParallelStep,
        "background": models.BackgroundStep,
        "repeat": models.RepeatStep,
        "tree_healthy": models.TreeHealthy,
        "recovered_within": models.RecoveredWithin,
        "no_invariant_broken": models.NoInvariantBroken,
        "standbys_in_sync": models.StandbysInSync,
        "metric": models.MetricWithin,
        "trail": models.TrailCount,
        "call": models.CallStep,
    }
    found: type[BaseModel] | None = Experiment
    plain: dict[str, type[BaseModel]] = {
        "hypothesis": models.Hypothesis,
        "workload": models.Workload,
        "controls": models.Controls,
        "abort": models.Abort,
        "limits": models.Limits,
    }
    probing = False
    for part in raw:
        tag = _TAG.fullmatch(part) if isinstance(part, str) else None
        if tag is not None and tag[1] == "call" and probing:
            found = models.CallAnswers
        elif tag is not None:
            probing = tag[1] == "probe"
            found = by_tag.get(tag[1], found)
        elif part == "repeat" and found is models.RepeatStep:
            found = models.Repeat
        elif isinstance(part, str):
            probing = part == "steady_state"
            found = plain.get(part, found)
    return found


def _found(place: Place | None) -> str:
    if place is None or (place.items is None and place.value is None):
        return "null"
    if place.items is not None:
        return "a list" if place.is_list else "a mapping"
    return f"text {place.value[:40]!r}" if isinstance(place.value, str) else str(place.value).lower()[:40]
