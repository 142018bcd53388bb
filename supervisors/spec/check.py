"""``check_file``: every fault of a topology file at once, with place and fix (TOP-2, TOP-3). Starts nothing."""

from collections.abc import Iterator
from pathlib import Path

from supervisors.core.errors import SpecError
from supervisors.spec import codes
from supervisors.spec.advice import advice
from supervisors.spec.codes import CODES
from supervisors.spec.compile import compile_resolved, config_json
from supervisors.spec.compiled import CompiledTopology
from supervisors.spec.document import Document, Mark
from supervisors.spec.echoes import is_echo
from supervisors.spec.fault_rules import own_fault_errors
from supervisors.spec.fields import format_size
from supervisors.spec.findings import Finding, Loc, Problem, Report, render_text, yaml_path
from supervisors.spec.imports import ActorClass, config_problems, import_paths, importable, load_actor
from supervisors.spec.reader import read_document
from supervisors.spec.recovery_actors import class_problems
from supervisors.spec.resolve import Resolution, ResolvedWorker, resolve
from supervisors.spec.rules import combination_problems
from supervisors.spec.topology import Config, Topology
from supervisors.spec.validation import validate

#: 10,000 children with a dozen keys each are 3 MB
MAX_BYTES = 32_000_000


def check_file(path: str | Path, *, import_actors: bool = True) -> Report:
    """Check the topology at ``path``. Never raises for bad input and never starts anything.

    Args:
        path: the file.
        import_actors: import the actors' modules and check their configs. Importing runs the modules' own code.
    """
    return _check(Path(path), str(path), import_actors)[0]


def check_text(text: str, name: str = "topology.yaml", *, import_actors: bool = True) -> Report:
    """Check ``text`` as if it were the file ``name``; see ``check_file``."""
    return _check_text(text, Path(name), name, import_actors)[0]


def load_topology(path: str | Path, *, import_actors: bool = True) -> tuple[Topology, CompiledTopology]:
    """Read, check and compile the topology at ``path``; see ``check_file``.

    Raises:
        SpecError: there are errors; the message holds all of them, one a line.
    """
    return _accept(_check(Path(path), str(path), import_actors))


def parse_topology(
    text: str, name: str = "topology.yaml", *, import_actors: bool = True
) -> tuple[Topology, CompiledTopology]:
    """``load_topology`` for text that is at hand; ``name`` stands in the messages.

    Raises:
        SpecError: there are errors; the message holds all of them, one a line.
    """
    return _accept(_check_text(text, Path(name), name, import_actors))


_Checked = tuple[Report, Topology | None, Resolution | None]


def _accept(checked: _Checked) -> tuple[Topology, CompiledTopology]:
    report, topology, resolution = checked
    if not report.ok or topology is None or resolution is None:
        errors = Report(report.file, report.errors)
        raise SpecError(render_text(errors), code=report.errors[0].code)
    return topology, compile_resolved(topology, resolution)


def _check(path: Path, name: str, import_actors: bool) -> _Checked:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        mark = Mark(codes.NOT_UTF8, line, column, f"byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8")
        return _only(name, mark)
    except FileNotFoundError:
        fix = f"check the path (current folder: {Path.cwd()})"
        return _only(name, Mark(codes.FILE_MISSING, 0, 0, "there is no such file", fix))
    except IsADirectoryError:
        return _only(name, Mark(codes.FILE_IS_DIRECTORY, 0, 0, "this is a directory", "name the file in it"))
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        return _only(name, Mark(codes.FILE_UNREADABLE, 0, 0, f"cannot be read: {reason}", "check its permissions"))
    if len(data) > MAX_BYTES:
        message = f"larger than {format_size(MAX_BYTES)}"
        fix = "use simple_one_for_one with a template for many like children"
        return _only(name, Mark(codes.TOO_LARGE, 0, 0, message, fix))
    return _check_text(text, path, name, import_actors)


def _only(name: str, mark: Mark) -> _Checked:
    return Report(name, (_from_mark(name, mark, Document()),)), None, None


def _check_text(text: str, path: Path, name: str, import_actors: bool) -> _Checked:
    document = read_document(text)
    if document.root is None and not document.marks:
        document.marks.append(Mark(codes.FILE_EMPTY, 0, 0, "the file holds nothing", "begin with tree: and children:"))
    top = document.root
    if top is not None and (top.items is None or top.is_list):
        what = "a list" if top.is_list else "a single value"
        message = f"the document is {what}, not a mapping"
        mark = Mark(codes.NOT_A_MAPPING, top.line, top.column, message, "begin with tree: and children:")
        document.marks.append(mark)
        document.root = None
    topology, problems, resolution = None, list[Problem](), None
    if document.root is not None:
        topology, problems = validate(document)
    if topology is not None:
        resolution = resolve(topology)
        found = combination_problems(topology, resolution)
        if import_actors:
            classes: _Classes = {}
            found += _actor_problems(resolution, document, path, classes)
            found += class_problems(topology, classes)
            found += own_fault_errors(topology, resolution, classes)
        found += advice(topology, resolution)
        faults = tuple(problems)
        problems += [p for p in _located(document, found) if not is_echo(p, faults)]
    findings = [_from_mark(name, mark, document) for mark in document.marks]
    findings += [_from_problem(name, problem, document) for problem in problems]
    findings.sort(key=lambda f: (f.line, f.column, f.code, f.message))
    # a value behind an alias is written once, however often it is used: one finding
    unique = {(f.line, f.column, f.code, f.message): f for f in reversed(findings)}
    report = Report(name, tuple(reversed(unique.values())))
    return report, topology, resolution


def _located(document: Document, problems: list[Problem]) -> Iterator[Problem]:
    for problem in problems:
        loc = document.locate(problem.loc)
        path = document.tree_path(loc) if problem.tree_path else ""
        yield Problem(problem.code, loc, problem.message, problem.fix, path and problem.tree_path, problem.on_key)


_Classes = dict[Loc, tuple[ResolvedWorker, ActorClass]]


def _actor_problems(resolution: Resolution, document: Document, path: Path, classes: _Classes) -> Iterator[Problem]:
    """Import each actor once and hold each config against it. Puts each worker with its class into ``classes``."""
    loaded: dict[str, ActorClass | SpecError] = {}
    with importable(import_paths(path)):
        for node in resolution.root.walk():
            for worker in node.workers:
                if document.locate((*worker.loc, "actor")) in document.stand_ins:
                    continue
                text = worker.node.actor
                if text not in loaded:
                    loaded[text] = _load(text)
                actor = loaded[text]
                if isinstance(actor, SpecError):
                    loc: Loc = (*worker.loc, "actor")
                    yield Problem(actor.code, loc, actor.message, actor.fix, worker.path)
                    continue
                classes[worker.loc] = worker, actor
                yield from _config(actor, worker, worker.node.config, (*worker.loc, "config"))
            initial = node.node.initial
            if node.template is None or isinstance(initial, int):
                continue
            made = loaded.get(node.template.node.actor)
            for index, overrides in enumerate(initial):
                if isinstance(made, ActorClass):
                    config = {**node.template.node.config, **overrides}
                    yield from _config(made, node.template, config, (*node.loc, "initial", index))


def _load(text: str) -> ActorClass | SpecError:
    try:
        return load_actor(text)
    except SpecError as error:
        return error


def _config(actor: ActorClass, worker: ResolvedWorker, config: Config, loc: Loc) -> Iterator[Problem]:
    try:
        data = config_json(config)
    except ValueError:
        # told by the rules already (codes.NOT_JSON)
        return
    for problem in config_problems(actor, dict(config), data):
        yield Problem(problem.code, (*loc, *problem.loc), problem.message, problem.fix, worker.path, problem.on_key)


def _from_mark(name: str, mark: Mark, document: Document) -> Finding:
    severity = CODES[mark.code].severity
    path = document.tree_path(mark.loc)
    return Finding(severity, mark.code, name, mark.line, mark.column, yaml_path(mark.loc), path, mark.message, mark.fix)


def _from_problem(name: str, problem: Problem, document: Document) -> Finding:
    line, column = document.position(problem.loc, on_key=problem.on_key)
    path = problem.tree_path or document.tree_path(problem.loc)
    return Finding(
        problem.severity, problem.code, name, line, column, yaml_path(problem.loc), path, problem.message, problem.fix
    )
