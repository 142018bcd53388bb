"""From a document to a topology: pydantic's errors become problems, and what is wrong is left out.

Leaving a wrong value out and trying again is what lets one run report every fault: the rest of the tree is still
checked for policies, ids, imports and times.
"""

import types
import typing
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supervisors.spec import codes
from supervisors.spec.document import Document, Place
from supervisors.spec.fields import names_by_key
from supervisors.spec.findings import Loc, Problem, did_you_mean
from supervisors.spec.settings import Member, SupervisorSettings, WorkerSettings
from supervisors.spec.topology import SUPERVISOR_KEYS, Root, Supervisor, Template, Topology, Worker

#: each round leaves out at least one value; what is left after this many is not worth more findings
_ROUNDS = 20
_TAGS: Mapping[str, type[BaseModel]] = {"worker": Worker, "supervisor": Supervisor}
_TIMES = "write a time such as 100ms, 5s, 5m or 1h"
_CUSTOM = {
    "duration": (codes.BAD_DURATION, _TIMES),
    "size": (codes.BAD_SIZE, "write a size such as 500KB, 20MB or 1GiB"),
    "id": (codes.BAD_ID, "use letters, digits, _ . - and begin with a letter or digit (63 characters at most)"),
    "path": (codes.BAD_PATH, "write a path such as /cell/md"),
    "import_string": (codes.BAD_IMPORT_STRING, "write module:Class, such as actors.venue.feed:SimulatedFeed"),
    "state": (codes.BAD_STATE, "write file, or postgresql://user@host:5432/database"),
    "time_of_day": (codes.BAD_TIME_OF_DAY, 'write a quoted time from "00:00" to "24:00", such as "09:30"'),
    "timezone": (codes.BAD_TIME_ZONE, "write a name of the tz database, such as America/New_York or UTC"),
    "method": (codes.BAD_VALUE, "write the name of a method, without a leading _"),
    "address": (codes.BAD_ADDRESS, "write an IP address such as 127.0.0.1, or 0.0.0.0 for all interfaces"),
}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
}


def validate(document: Document) -> tuple[Topology | None, list[Problem]]:
    """Read the topology out of ``document``, which loses what is wrong in it.

    Returns:
        The topology without its wrong parts (None when too little is left), and one problem for each wrong part.
    """
    problems: list[Problem] = []
    gone: set[Loc] = set()
    for _ in range(_ROUNDS):
        if document.root is None:
            break
        try:
            return Topology.model_validate(document.root.data()), problems
        except ValidationError as error:
            found = [p for detail in error.errors(include_url=False) if (p := _problem(document.root, detail))]
        if not found:
            break
        # a required value that was left out for being wrong is not missing as well, nor is a list it stood in empty
        problems += [p for p in found if p.missing_loc not in gone and not _is_emptied(document.root.get(*p.loc))]
        gone.update(p.loc for p in found)
        # deepest first, so that a place is there as long as something is to be taken from it
        for problem in sorted(found, key=lambda p: len(p.loc), reverse=True):
            _leave_out(document, problem)
    return None, problems


def _is_emptied(place: Place | None) -> bool:
    return place is not None and place.is_list and not place.items and bool(place.lost)


#: put where a child has no valid name or class: without them all below the child would go unchecked
_STAND_INS = {"id": "unnamed-{}", "actor": "builtins:object"}


def _leave_out(document: Document, problem: Problem) -> None:
    loc = problem.missing_loc or problem.loc
    if document.root is None:
        return
    if loc and loc[-1] in _STAND_INS and (len(loc) < 3 or loc[-2] == "template" or loc[-3] == "children"):
        owner = document.root.get(*loc[:-1])
        if owner is not None and owner.items is not None:
            value = _STAND_INS[str(loc[-1])].format(len(document.stand_ins))
            owner.leave_out(loc[-1], Place(loc, owner.line, owner.column, value))
            document.stand_ins.add(loc)
        return
    if problem.missing_loc:
        loc = problem.loc
    if not loc:
        document.root, document.lost_root = None, document.root
        return
    parent = document.root.get(*loc[:-1])
    if parent is not None:
        parent.leave_out(loc[-1])


def _problem(root: Place, detail: ErrorDetails) -> Problem | None:
    raw = detail["loc"]
    kind = detail["type"]
    missing = str(raw[-1]) if kind == "missing" and raw else ""
    loc = _locate(root, raw[:-1] if missing else raw)
    place = root.get(*loc)
    if missing:
        return _missing(raw, loc, missing)
    if loc and loc[-1] == "initial":
        # pydantic tries a count and a list: only the one that was meant is worth telling
        is_list = place is not None and place.is_list
        if is_list and kind == "int_type":
            return None
        if kind == "tuple_type":
            return None
    if kind == "extra_forbidden":
        return _unknown_key(raw, loc)
    name = _name(loc)
    if kind in _CUSTOM:
        code, fix = _CUSTOM[kind]
        if loc and loc[-1] == "shutdown":
            fix = _TIMES + ", brutal_kill or infinity"
        elif loc and loc[-1] == "start_timeout":
            fix = _TIMES + ", or infinity"
        return Problem(code, loc, f"{name}: {detail['msg']}", fix)
    if kind in ("enum", "literal_error"):
        return _not_one_of(loc, name, detail)
    if kind in _WANTED:
        wanted = "a count or a list of config overrides" if name == "initial" else _WANTED[kind]
        fix = "put it in quotes" if kind == "string_type" and _is_plain(place) else f"write {wanted}"
        return Problem(codes.WRONG_TYPE, loc, f"{name} must be {wanted}, not {_found(place)}", fix)
    if kind == "finite_number":
        code = codes.NOT_JSON if {"config", "initial", "args"} & set(loc) else codes.OUT_OF_RANGE
        return Problem(code, loc, f"{name} must be a finite number", "write a number, or text in a config")
    if kind == "too_short" and place is not None and place.items:
        # items are there, but pydantic counts the valid ones: what is wrong with them is told already
        return None
    if kind == "too_short":
        return Problem(codes.OUT_OF_RANGE, loc, f"{name} is empty", "list one or more, or leave the key out")
    if kind.startswith(("greater_than", "less_than")):
        message = detail["msg"].replace("Input should be", f"{name} must be")
        return Problem(codes.OUT_OF_RANGE, loc, message, "choose a value in range")
    return Problem(codes.BAD_VALUE, loc, f"{name}: {detail['msg']}", "see docs/topology.md")


def _missing(raw: tuple[int | str, ...], loc: Loc, missing: str) -> Problem:
    fix = f"add {missing}:"
    if missing == "actor":
        fix = "add actor: module:Class"
        if _model_at(raw[:-1]) is Worker:
            fix += ", or children: to make it a supervisor"
    elif missing == "tree":
        fix = "add tree: with children:"
    message = f"{_name(loc) or 'the topology'} has no {missing}"
    return Problem(codes.MISSING_KEY, loc, message, fix, missing=missing)


def _unknown_key(raw: tuple[int | str, ...], loc: Loc) -> Problem:
    key = str(loc[-1])
    model = _model_at(raw[:-1])
    if model is not None and issubclass(model, Worker | Template) and key in SUPERVISOR_KEYS:
        message = f"a child with actor is a worker: it cannot have {key}"
        fix = f"remove {key}, or remove actor to make it a supervisor"
        return Problem(codes.ACTOR_WITH_CHILDREN, loc, message, fix, on_key=True)
    if model is Root and key in {**WorkerSettings.model_fields, **Member.model_fields}:
        message = f"the root cannot have {key}: nothing supervises it"
        return Problem(codes.ROOT_KEY, loc, message, f"remove it, or put {key} on a child", on_key=True)
    if model is not None and issubclass(model, SupervisorSettings) and key == "recovery":
        message = "a supervisor cannot have recovery: it is restarted, and its workers are recovered"
        fix = "give it to its workers, through defaults.child or a policy"
        return Problem(codes.SUPERVISOR_RECOVERY, loc, message, fix, on_key=True)
    known = names_by_key(model) if model is not None else ()
    return Problem(codes.UNKNOWN_KEY, loc, f"key {key!r} is not known here", did_you_mean(key, known), on_key=True)


def _not_one_of(loc: Loc, name: str, detail: ErrorDetails) -> Problem:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    words = [w.strip().strip("'") for w in expected.replace(" or ", ", ").split(",")]
    given = str(detail["input"])[:40]
    fix = did_you_mean(given, words)
    if fix.startswith("did"):
        fix += " (known here: " + ", ".join(words) + ")"
    return Problem(codes.NOT_ONE_OF, loc, f"{name} cannot be {given!r}", fix)


def _locate(root: Place, raw: tuple[int | str, ...]) -> Loc:
    """The document's place for pydantic's: without the names of union branches it puts in between."""
    place = root
    loc: Loc = ()
    for index, part in enumerate(raw):
        if part in _TAGS and index >= 2 and raw[index - 2] == "children":
            continue
        below = place.get(place.nth(part))
        if below is not None:
            place, loc = below, below.loc
    return loc


def _model_at(raw: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that read the value at ``raw``, to know its keys."""
    kind: object = Topology
    for index, part in enumerate(raw):
        kind = _strip(kind)
        if part in _TAGS and index >= 2 and raw[index - 2] == "children":
            kind = _TAGS[str(part)]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(names_by_key(kind).get(str(part), ""))
            kind = field.annotation if field is not None else None
        else:
            arguments = typing.get_args(kind)
            is_dict = typing.get_origin(kind) is dict
            kind = (arguments[1] if is_dict else arguments[0]) if arguments else None
    kind = _strip(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _strip(kind: object) -> object:
    """``X`` out of ``Annotated[X, ...]`` and ``X | None``."""
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in (typing.Union, types.UnionType):
            rest = [a for a in typing.get_args(kind) if a is not type(None)]
            if len(rest) != 1:
                return kind
            kind = rest[0]
        else:
            return kind


def _name(loc: Loc) -> str:
    """How to call the value at ``loc``: its key, or ``children[2]``."""
    if loc and isinstance(loc[-1], int) and len(loc) > 1:
        return f"{loc[-2]}[{loc[-1]}]"
    return str(loc[-1]) if loc else ""


def _is_plain(place: Place | None) -> bool:
    return place is not None and place.items is None and place.value is not None


def _found(place: Place | None) -> str:
    if place is None or (place.items is None and place.value is None):
        return "null"
    if place.items is not None:
        return "a list" if place.is_list else "a mapping"
    if isinstance(place.value, bool):
        return "true" if place.value else "false"
    return f"text {place.value[:40]!r}" if isinstance(place.value, str) else str(place.value)[:40]
