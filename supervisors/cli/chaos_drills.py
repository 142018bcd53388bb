"""Drills, told step by step (`rayvisor drill`)."""

from pathlib import Path

import msgspec

from supervisors.chaos.drilling import Drill, drills, find_drill, placed
from supervisors.chaos.history import RunKind, RunWord
from supervisors.chaos.reading import read_text
from supervisors.chaos.runner import Progress
from supervisors.chaos.systems import Known, known_from
from supervisors.cli.chaos_ends import ERRORS, Heard, finish, quietly, worst
from supervisors.cli.chaos_runs import refused, run_experiment, system_for
from supervisors.cli.common import BAD_INPUT, out, print_line
from supervisors.cli.files import show_report as show_findings
from supervisors.core.errors import RayvisorError
from supervisors.runtime.chaos_ground import SystemGround
from supervisors.spec.check import load_topology

#: the steps of a drill (004 §12.2)
STEPS = ("announce", "break", "fail over", "verify", "fail back", "report")


def hold_drills(names: list[str], system: Path | None, data_dir: Path, *, keep_up: bool, json_: bool) -> int:
    """Hold the drills called ``names``, or all that fit; the exit code, as of `chaos run`."""
    codes: list[int] = []
    try:
        chosen = [find_drill(name) for name in names] if names else list(drills())
        known = Known()
        if system is not None:
            _, compiled = load_topology(system)
            known = known_from(compiled, system)
        with system_for(data_dir, known, calls=False, keep_up=keep_up, quiet=json_) as ground:
            for one in chosen:
                codes.append(_hold(one, ground, json_=json_, only=bool(names)))
    except RayvisorError as error:
        codes.append(refused(error))
    return worst(codes)


def _hold(one: Drill, ground: SystemGround, *, json_: bool, only: bool) -> int:
    try:
        text = placed(one, ground.known)
    except RayvisorError as error:
        if only:
            raise
        out.print(f"left out: {error.message}", style="yellow", markup=False)
        return 0
    loaded = read_text(text, f"{one.name}.yaml")
    if loaded.experiment is None or not loaded.report.ok:
        show_findings(loaded.report, json_=json_)
        return BAD_INPUT
    steps = _Steps(quiet=json_)
    steps.begin("announce", f"{loaded.experiment.title}. {loaded.experiment.description}")
    heard = Heard(steps.tell)
    try:
        report, folder = run_experiment(
            loaded.experiment,
            text,
            ground,
            kind=RunKind.DRILL,
            options={"drill": one.name, "file": f"{one.name}.yaml"},
            json_=json_,
            also=heard.tell,
        )
    except ERRORS as error:
        return heard.refused(error)
    quietly(lambda: steps.begin("report"))
    return finish(heard, report, folder, json_=json_)


class _Steps:
    """Says which step of the drill begins."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._at = 0

    def begin(self, step: str, text: str = "") -> None:
        number = STEPS.index(step) + 1
        if number > self._at:
            self._at = number
            if not self._quiet:
                out.print(f"\n{number} {step}" + (f": {text}" if text else ""), style="bold", markup=False)

    def tell(self, progress: Progress) -> None:
        """Before the line of what happened is shown."""
        when = progress.data.get("when")
        if progress.kind == RunWord.DECIDED:
            self.begin("break")
        elif progress.kind == RunWord.STEADY and when == "method" and self._at >= STEPS.index("break") + 1:
            self.begin("fail over")
        elif progress.kind == RunWord.STEADY and when == "after":
            self.begin("verify")
        elif progress.kind == "settling":
            self.begin("fail back")


def list_drills(*, json_: bool) -> None:
    """Print their names, and what each needs."""
    for one in drills():
        loaded = read_text(one.text, f"{one.name}.yaml")
        about = loaded.experiment.title if loaded.experiment is not None else ""
        if json_:
            print_line(msgspec.json.encode({"name": one.name, "title": about, "needs": one.needs}).decode())
        else:
            needs = f"  (needs {', '.join(one.needs)})" if one.needs else ""
            out.print(f"{one.name:<26}{about}{needs}", markup=False)
