"""`rayvisor chaos monkey`: faults by a seed, one after another, for as long as it is told to."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from supervisors.chaos.concluding import conclude
from supervisors.chaos.document import Workload
from supervisors.chaos.history import RunKind
from supervisors.chaos.monkey import Limits, Monkey, MonkeyRules, refuse_misfits
from supervisors.chaos.monkeying import Decides, MonkeyRun, possible_candidates
from supervisors.chaos.reading import load_experiment
from supervisors.chaos.recording import Recorder
from supervisors.chaos.report import Report
from supervisors.chaos.systems import Known, known_from
from supervisors.chaos.telling import Progress
from supervisors.chaos.works import ThreadWorks
from supervisors.cli.chaos_ends import ERRORS, Heard, finish
from supervisors.cli.chaos_runs import asked_for, interrupts, system_for
from supervisors.cli.chaos_screen import Screen
from supervisors.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir
from supervisors.core.durations import parse_duration
from supervisors.core.errors import SpecError
from supervisors.runtime.chaos_ground import SystemGround
from supervisors.runtime.clock import SystemClock
from supervisors.spec.check import load_topology

_PER = {"s": 60.0, "m": 1.0, "h": 1 / 60}
Makes = Callable[[float], Decides]


def monkey(
    topology: Annotated[Path | None, typer.Argument(help="Brought up when nothing runs.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every decision: the same seed decides the same.")] = 0,
    for_: Annotated[str, typer.Option("--for", help="How long, such as 10m.")] = "10m",
    rate: Annotated[str, typer.Option("--rate", help="Faults in a second, minute or hour, such as 20/m.")] = "20/m",
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this path and what is below it.")] = None,
    except_: Annotated[list[str] | None, typer.Option("--except", help="Not this path and what is below.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kinds", help="Kinds or groups; else nearly all.")] = None,
    except_kinds: Annotated[list[str] | None, typer.Option("--except-kinds", help="Not these.")] = None,
    at_once: Annotated[int, typer.Option("--at-once", min=1, help="Targets under fault at one time.")] = 1,
    ruthless: Annotated[bool, typer.Option("--ruthless", help="Do not wait until what was hit is well.")] = False,
    workload: Annotated[
        Path | None, typer.Option("--workload", help="Experiment whose clients go on meanwhile.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    keep_up: Annotated[bool, typer.Option("--keep-up", help="Leave up what was brought up for this.")] = False,
    json_: AsJson = False,
) -> None:
    """Break things at random, by a seed, and report what came of it. Exit codes as of `chaos run`.

    Example: rayvisor chaos monkey --seed 7 --for 10m --rate 20/m
    """
    heard = Heard()
    try:
        seconds, per_minute = duration_of(for_), rate_of(rate)
        rules = MonkeyRules(
            seed=seed,
            rate=per_minute,
            kinds=_words(kinds),
            except_kinds=_words(except_kinds),
            only=_words(only),
            except_=_words(except_),
            ruthless=ruthless,
            limits=Limits(at_once=at_once),
        )
        load = load_experiment(workload).experiment if workload is not None else None
        known = _known(topology)
        clients = load.workload if load is not None else None
        with system_for(data_dir, known, calls=clients is not None, keep_up=keep_up, quiet=json_) as ground:
            kinds_there, possible = ground.known.catalogue, possible_candidates(ground.status(), ground.known)
            refuse_misfits(rules, kinds_there, possible, ground.known.open_ended)
            again = {
                "rules": msgspec.json.encode(rules).decode(),
                "seconds": str(seconds),
                "workload": clients.model_dump_json(by_alias=True) if clients is not None else "",
                "topology": str(topology.resolve()) if topology is not None else "",
            }
            title = f"Monkey with seed {seed}: {rate} for {for_}"
            report, folder = run_monkey(
                ground,
                lambda began: Monkey(rules, kinds_there, began),
                RunKind.MONKEY,
                title=title,
                seed=seed,
                seconds=seconds,
                clients=clients,
                options=again,
                json_=json_,
                heard=heard,
            )
            code = finish(heard, report, folder, json_=json_)
    except ERRORS as error:
        code = heard.refused(error)
    if code:
        raise typer.Exit(code)


def run_monkey(
    ground: SystemGround,
    make: Makes,
    kind: RunKind,
    *,
    title: str,
    seed: int,
    seconds: float,
    clients: Workload | None,
    options: dict[str, str],
    json_: bool,
    heard: Heard,
) -> tuple[Report, Path]:
    """One run of a monkey, or of a recorded one, to its report. ``heard`` is told how it ends.

    Raises:
        FaultError: its rules cannot be met, or it cannot be recorded.
    """
    clock = SystemClock()
    make(0.0)  # refuses rules that cannot be met before anything is written down
    asked = asked_for(kind, ground, title=title, seed=seed, options=options)
    recorder = Recorder(ground.data_dir, asked, clock)
    try:
        ground.begin(asked.id)
        with Screen(ground, quiet=json_) as screen:

            def tell(progress: Progress) -> None:
                heard.tell(progress)
                screen.tell(progress)

            run = MonkeyRun(
                ground,
                ThreadWorks(clock),
                recorder,
                seconds=seconds,
                title=title,
                seed=seed,
                workload=clients,
                tell=tell,
            )
            with interrupts(ground.data_dir, run.abort):
                run.run(make)
    finally:
        recorder.close()
    return conclude(recorder.folder, ground, clients.id_field if clients is not None else "id"), recorder.folder


def duration_of(text: str) -> float:
    """Seconds, from a time as people write it.

    Raises:
        SpecError: it is none (1505).
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SpecError(str(error), code=1505, fix="write a time such as 30s or 10m") from None


def rate_of(text: str) -> float:
    """Faults in a minute, from ``20/m``, ``1/s`` or a plain number.

    Raises:
        SpecError: it is no rate (1630).
    """
    number, _, unit = text.partition("/")
    try:
        return float(number) * _PER[unit.strip() or "m"]
    except (KeyError, ValueError):
        raise SpecError(f"{text!r} is no rate", code=1630, fix="write a rate such as 20/m or 1/s") from None


def _words(given: list[str] | None) -> tuple[str, ...]:
    return tuple(word.strip() for one in given or () for word in one.split(",") if word.strip())


def _known(topology: Path | None) -> Known:
    if topology is None:
        return Known()
    _, compiled = load_topology(topology)
    return known_from(compiled, topology)
