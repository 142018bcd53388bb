"""Experiment files: YAML to an ``Experiment``, with everything that is wrong in it at once, each with its place."""

from pathlib import Path

import msgspec

from supervisors.chaos import codes
from supervisors.chaos.document import Experiment
from supervisors.chaos.rules import rule_problems
from supervisors.chaos.systems import Known, known_of
from supervisors.chaos.validating import validate
from supervisors.core.errors import SpecError
from supervisors.spec import codes as spec_codes
from supervisors.spec.document import Document, Mark
from supervisors.spec.findings import Finding, Report, render_text, yaml_path
from supervisors.spec.reader import read_document

#: an experiment is written by hand; more than this is none
MAX_BYTES = 1_000_000


class Loaded(msgspec.Struct, frozen=True):
    """An experiment file that was read.

    Attributes:
        report: everything that is wrong with it.
        experiment: None when it cannot be used at all.
        text: as it was written.
        file: its path.
        known: what is known of the system it names.
    """

    report: Report
    experiment: Experiment | None
    text: str
    file: Path
    known: Known


def read_experiment(path: str | Path, *, import_actors: bool = True) -> Loaded:
    """Read and check the experiment at ``path``. Never raises for bad input and never starts anything.

    Args:
        path: the file.
        import_actors: import the classes of the system it names, for the faults of their own.
    """
    file, name = Path(path), str(path)
    try:
        with file.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        return _only(file, Mark(spec_codes.NOT_UTF8, line, column, "this is not UTF-8", "save it as UTF-8"))
    except FileNotFoundError:
        fix = f"check the path (current folder: {Path.cwd()})"
        return _only(file, Mark(spec_codes.FILE_MISSING, 0, 0, "there is no such file", fix))
    except IsADirectoryError:
        return _only(file, Mark(spec_codes.FILE_IS_DIRECTORY, 0, 0, "this is a directory", "name the file in it"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot be read: {reason}"
        return _only(file, Mark(spec_codes.FILE_UNREADABLE, 0, 0, message, "check its permissions"))
    if len(data) > MAX_BYTES:
        mark = Mark(spec_codes.TOO_LARGE, 0, 0, f"larger than {MAX_BYTES} bytes", "this is no experiment")
        return _only(file, mark)
    return read_text(text, name, import_actors=import_actors)


def read_text(text: str, name: str = "experiment.yaml", *, import_actors: bool = True) -> Loaded:
    """``read_experiment`` of text that is at hand, as if it were the file ``name``."""
    file = Path(name)
    document = read_document(text)
    top = document.root
    if top is None and not document.marks:
        document.marks.append(
            Mark(spec_codes.FILE_EMPTY, 0, 0, "the file holds nothing", "begin with title: and method:")
        )
    if top is not None and (top.items is None or top.is_list):
        what = "a list" if top.is_list else "a single value"
        message = f"the document is {what}, not a mapping"
        document.marks.append(
            Mark(spec_codes.NOT_A_MAPPING, top.line, top.column, message, "begin with title: and method:")
        )
        document.root = None
    known = Known()
    experiment, problems = validate(document)
    if experiment is not None:
        known, found = known_of(experiment, file, import_actors=import_actors)
        found = [*found, *rule_problems(experiment, known)]
        problems += [msgspec.structs.replace(p, loc=document.locate(p.loc)) for p in found]
    findings = [_from_mark(name, mark) for mark in document.marks]
    findings += [_from_problem(name, problem, document) for problem in problems]
    findings.sort(key=lambda f: (f.line, f.column, f.code, f.message))
    unique = {(f.line, f.column, f.code, f.message): f for f in findings}
    return Loaded(Report(name, tuple(unique.values())), experiment, text, file, known)


def load_experiment(path: str | Path, *, import_actors: bool = True) -> Loaded:
    """``read_experiment`` of one that is fine.

    Raises:
        SpecError: there are errors; the message holds all of them, one a line.
    """
    loaded = read_experiment(path, import_actors=import_actors)
    if not loaded.report.ok or loaded.experiment is None:
        errors = Report(loaded.report.file, loaded.report.errors)
        raise SpecError(render_text(errors), code=loaded.report.errors[0].code)
    return loaded


def _only(file: Path, mark: Mark) -> Loaded:
    return Loaded(Report(str(file), (_from_mark(str(file), mark),)), None, "", file, Known())


def _from_mark(name: str, mark: Mark) -> Finding:
    severity = codes.severity_of(mark.code)
    return Finding(severity, mark.code, name, mark.line, mark.column, yaml_path(mark.loc), "", mark.message, mark.fix)


def _from_problem(name: str, problem: codes.Problem, document: Document) -> Finding:
    line, column = document.position(problem.loc, on_key=problem.on_key)
    return Finding(
        codes.severity_of(problem.code),
        problem.code,
        name,
        line,
        column,
        yaml_path(problem.loc),
        "",
        problem.message,
        problem.fix,
    )
