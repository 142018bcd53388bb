"""Scripts read from files: every fault at once with file:line:column and a fix, as ``check`` does for topologies."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supervisors.core.errors import SpecError
from supervisors.core.paths import ROOT, TreePath, parent_of
from supervisors.simulate.script import (
    ACTIONS,
    ExitAction,
    FailStarts,
    Hang,
    Hold,
    IgnoreStop,
    RandomExits,
    Repeat,
    Script,
    Shutdown,
    SomeStarts,
    StartChildAction,
    Step,
    Target,
    Timing,
)
from supervisors.spec import codes
from supervisors.spec.codes import Severity
from supervisors.spec.compiled import CompiledTopology
from supervisors.spec.document import Document, Mark
from supervisors.spec.findings import Finding, Loc, Problem, Report, did_you_mean, nearest, render_text, yaml_path
from supervisors.spec.reader import read_document
from supervisors.tree.model import Strategy

#: a path of a script is not in the topology (codes 15xx: scripts)
UNKNOWN_PATH = 1501
#: a step without an action or with several
NOT_ONE_ACTION = 1502
#: ``crash_supervisor`` names a worker
NOT_A_SUPERVISOR = 1503

_TIMES = "write a time such as 100ms, 5s, 5m or 1h"
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}
_MODEL_OF: dict[str, type[BaseModel]] = {
    "exit": ExitAction,
    "hang": Hang,
    "crash_supervisor": Target,
    "fail_starts": FailStarts,
    "ignore_starts": SomeStarts,
    "never_start": SomeStarts,
    "hold": Hold,
    "release": Target,
    "reject": Target,
    "ignore_stop": IgnoreStop,
    "timing": Timing,
    "start_child": StartChildAction,
    "stop_child": Target,
    "restart_child": Target,
    "delete_child": Target,
    "repeat": Repeat,
    "random_exits": RandomExits,
    "shutdown": Shutdown,
    "step": Step,
}


def load_script(path: str | Path, compiled: CompiledTopology | None = None) -> Script:
    """Read the script at ``path``; with ``compiled``, its paths are held against that topology.

    Raises:
        SpecError: there are faults; the message holds all of them, one a line.
    """
    report, script = check_script(path, compiled)
    if script is None or not report.ok:
        raise SpecError(render_text(report), code=report.findings[0].code)
    return script


def check_script(path: str | Path, compiled: CompiledTopology | None = None) -> tuple[Report, Script | None]:
    """As ``load_script``, but with the faults as findings instead of an error."""
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return _only(name, codes.NOT_UTF8, "the file is not UTF-8", "save it as UTF-8"), None
    except FileNotFoundError:
        return _only(name, codes.FILE_MISSING, "there is no such file", "check the path"), None
    except (OSError, ValueError) as error:
        return _only(name, codes.FILE_UNREADABLE, f"cannot be read: {error}", "check the path and permissions"), None
    return check_script_text(text, name, compiled)


def check_script_text(
    text: str, name: str = "script.yaml", compiled: CompiledTopology | None = None
) -> tuple[Report, Script | None]:
    """Check ``text`` as if it were the file ``name``."""
    document = read_document(text)
    if document.root is None and not document.marks:
        return _only(name, codes.FILE_EMPTY, "the file holds nothing", "begin with a list of steps"), None
    findings = [_from_mark(name, mark) for mark in document.marks]
    script, problems = _validate(document) if document.root is not None else (None, [])
    if script is not None and compiled is not None:
        problems += _unknown_paths(script, compiled, _steps_loc(document))
    findings += [_from_problem(name, problem, document) for problem in problems]
    findings.sort(key=lambda f: (f.line, f.column, f.code, f.message))
    return Report(name, tuple(dict.fromkeys(findings))), script


def _steps_loc(document: Document) -> Loc:
    return () if document.root is not None and document.root.is_list else ("steps",)


def _validate(document: Document) -> tuple[Script | None, list[Problem]]:
    assert document.root is not None
    top = document.root
    try:
        if top.is_list:
            return Script.model_validate({"steps": top.data()}), []
        return Script.model_validate(top.data()), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    return None, [_problem(detail, strip=1 if top.is_list else 0) for detail in found]


def _problem(detail: ErrorDetails, strip: int) -> Problem:
    loc = tuple(detail["loc"])[strip:]
    kind = detail["type"]
    name = next((str(part) for part in reversed(loc) if isinstance(part, str)), "the script")
    if kind == "missing":
        owner = yaml_path(loc[:-1]) or "the script"
        return Problem(codes.MISSING_KEY, loc[:-1], f"{owner} has no {name}", f"add {name}:")
    if kind == "extra_forbidden":
        fix = did_you_mean(name, _keys_at(loc[:-1]))
        return Problem(codes.UNKNOWN_KEY, loc, f"key {name!r} is not known here", fix, on_key=True)
    if kind == "one_action":
        fix = "write one of " + ", ".join(ACTIONS) + " beside at"
        return Problem(NOT_ONE_ACTION, loc, detail["msg"], fix)
    if kind == "duration":
        return Problem(codes.BAD_DURATION, loc, f"{name}: {detail['msg']}", _TIMES)
    if kind == "path":
        return Problem(codes.BAD_PATH, loc, f"{name}: {detail['msg']}", "write a path such as /cell/md")
    if kind in ("enum", "literal_error"):
        expected = str(detail.get("ctx", {}).get("expected", ""))
        words = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
        given = str(detail["input"])[:40]
        return Problem(codes.NOT_ONE_OF, loc, f"{name} cannot be {given!r}", did_you_mean(given, words))
    if kind in _WANTED:
        return Problem(codes.WRONG_TYPE, loc, f"{name} must be {_WANTED[kind]}", f"write {_WANTED[kind]}")
    if kind.startswith(("greater_than", "less_than")):
        message = detail["msg"].replace("Input should be", f"{name} must be")
        return Problem(codes.OUT_OF_RANGE, loc, message, "choose a value in range")
    return Problem(codes.BAD_VALUE, loc, f"{name}: {detail['msg']}", "see examples/simulate")


def _keys_at(loc: Loc) -> list[str]:
    words = [part for part in loc if isinstance(part, str)]
    model = _MODEL_OF.get(words[-1]) if words and isinstance(loc[-1], str) else None
    if model is None:
        model = Step if loc and isinstance(loc[-1], int) else Script
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown_paths(script: Script, compiled: CompiledTopology, top: Loc) -> list[Problem]:
    supervisors = {TreePath(path) for path in compiled.supervisors}
    known = {TreePath(path) for path in compiled.workers} | supervisors
    pools = {
        TreePath(path)
        for path, part in compiled.supervisors.items()
        if part.spec.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE
    }
    steps = list(_walk(script.steps, top))
    started = {TreePath(step.start_child.path) for step, _ in steps if step.start_child is not None}
    problems = []
    for step, loc in steps:
        for action in ACTIONS:
            target = getattr(step, action)
            if not isinstance(target, Target):
                continue
            path = TreePath(target.path)
            at = (*loc, action, "path")
            is_new = parent_of(path) in supervisors if action == "start_child" else path in started
            if not (path in known or is_new or (path != ROOT and parent_of(path) in pools)):
                near = nearest(path, sorted(known))
                fix = f"did you mean {near!r}?" if near else "known here: " + ", ".join(sorted(known)[:20])
                problems.append(Problem(UNKNOWN_PATH, at, f"nothing stands at {path}", fix, path))
            elif action == "crash_supervisor" and path not in supervisors:
                problems.append(Problem(NOT_A_SUPERVISOR, at, f"{path} is a worker", "use exit for a worker", path))
    return problems


def _walk(steps: tuple[Step, ...], loc: Loc) -> Iterator[tuple[Step, Loc]]:
    for index, step in enumerate(steps):
        at: Loc = (*loc, index)
        yield step, at
        repeat = step.repeat
        while repeat is not None:
            at = (*at, "repeat", "step")
            yield repeat.step, at
            repeat = repeat.step.repeat


def _only(name: str, code: int, message: str, fix: str) -> Report:
    return Report(name, (_from_mark(name, Mark(code, 0, 0, message, fix)),))


def _from_mark(name: str, mark: Mark) -> Finding:
    return Finding(
        Severity.ERROR, mark.code, name, mark.line, mark.column, yaml_path(mark.loc), "", mark.message, mark.fix
    )


def _from_problem(name: str, problem: Problem, document: Document) -> Finding:
    line, column = document.position(problem.loc, on_key=problem.on_key)
    return Finding(
        Severity.ERROR,
        problem.code,
        name,
        line,
        column,
        yaml_path(problem.loc),
        problem.tree_path,
        problem.message,
        problem.fix,
    )
