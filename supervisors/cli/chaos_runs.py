"""What `chaos run`, `monkey`, `replay` and `drill` share: a system for them, interrupts, and the end of a run."""

import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

from supervisors import __version__
from supervisors.chaos.concluding import conclude
from supervisors.chaos.document import Experiment
from supervisors.chaos.history import Asked, RunKind
from supervisors.chaos.recording import Recorder, new_run_id
from supervisors.chaos.report import Report, to_json
from supervisors.chaos.runner import Progress, Runner
from supervisors.chaos.systems import Known
from supervisors.chaos.works import ThreadWorks
from supervisors.cli.chaos_reports import show_report
from supervisors.cli.chaos_screen import Screen
from supervisors.cli.common import BAD_INPUT, complain, err, out, print_line
from supervisors.core.errors import RayvisorError
from supervisors.runtime.chaos_ground import SystemGround, ensure_up, take_down
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.injecting import emergency_stop


@contextmanager
def system_for(data_dir: Path, known: Known, *, calls: bool, keep_up: bool, quiet: bool) -> Iterator[SystemGround]:
    """A running system: the one in ``data_dir``, or the topology's, brought up now and taken down after.

    Raises:
        LaunchError: nothing runs and nothing can be brought up.
        FaultError: another system runs there (9070).
    """
    if not quiet and known.topology is not None:
        err.print(f"system: {known.topology}", style="dim", markup=False)
    ours = ensure_up(data_dir, known.topology, known.name)
    try:
        with SystemGround(data_dir, known if known.places is not None else None, calls=calls) as ground:
            yield ground
    finally:
        if ours and not keep_up:
            if not quiet:
                err.print("taking the system down", style="dim")
            if not take_down(data_dir):
                err.print(f"it did not go down; rayvisor down --data-dir {data_dir}", style="bold red", markup=False)


@contextmanager
def interrupts(data_dir: Path, abort: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C breaks the run off and everything is undone; the second one is the emergency stop.

    That is done by a thread: the frame a signal interrupts may have the lock of the undo log, and gives it back only
    once the handler has returned.
    """
    count = 0
    orders: SimpleQueue[bool] = SimpleQueue()  # may be put to from a handler, also from one that interrupts another

    def stop_all() -> None:
        while orders.get():
            emergency_stop(data_dir, why="interrupted twice")

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        err.print("interrupted: everything is undone" if count == 1 else "emergency stop", style="bold yellow")
        abort("interrupted")
        if count > 1:
            orders.put(True)

    stopping = threading.Thread(target=stop_all, name="emergency stop", daemon=True)
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    stopping.start()
    try:
        yield
    finally:
        orders.put(False)
        stopping.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def asked_for(
    kind: RunKind,
    ground: SystemGround,
    *,
    title: str,
    seed: int | None,
    experiment: str = "",
    options: dict[str, str] | None = None,
    replay: str = "",
) -> Asked:
    """``run.json`` of a run that is about to begin."""
    name = new_run_id(kind, SystemClock())
    again = replay or f"rayvisor chaos replay {name}"
    return Asked(
        id=name,
        kind=kind,
        title=title,
        seed=seed,
        experiment=experiment,
        options=options or {},
        system=ground.known.name,
        topology_digest=ground.known.digest,
        data_dir=str(ground.data_dir),
        replay=again,
        environment={
            "rayvisor": __version__,
            "python": platform.python_version(),
            "processors": str(os.cpu_count()),
            "system": platform.platform(),
        },
    )


def run_experiment(
    experiment: Experiment,
    text: str,
    ground: SystemGround,
    *,
    kind: RunKind = RunKind.EXPERIMENT,
    options: dict[str, str] | None = None,
    json_: bool = False,
    also: Callable[[Progress], None] | None = None,
) -> tuple[Report, Path]:
    """One run from its first probe to its report; the report, and the folder it is kept in.

    ``also`` is told of everything that happens before it is shown.

    Raises:
        FaultError: it cannot be recorded, or faults are not allowed.
    """
    clock = SystemClock()
    asked = asked_for(kind, ground, title=experiment.title, seed=experiment.seed, experiment=text, options=options)
    recorder = Recorder(ground.data_dir, asked, clock)
    try:
        ground.begin(asked.id)
        with Screen(ground, quiet=json_) as screen:

            def tell(progress: Progress) -> None:
                if also is not None:
                    also(progress)
                screen.tell(progress)

            runner = Runner(experiment, ground, ThreadWorks(clock), recorder, tell)
            with interrupts(ground.data_dir, runner.abort):
                runner.run()
    finally:
        recorder.close()
    id_field = experiment.workload.id_field if experiment.workload is not None else "id"
    report = conclude(recorder.folder, ground, id_field)
    return report, recorder.folder


def show_end(report: Report, folder: Path, *, json_: bool) -> None:
    """The report of a run, and where it is kept."""
    if json_:
        print_line(to_json(report).decode())
        return
    out.print()
    show_report(report)
    out.print(f"kept in {folder}", style="dim", markup=False)


def refused(error: RayvisorError) -> int:
    """An error before anything was done: exit code 2, told apart from a run that deviated."""
    complain(error)
    return BAD_INPUT
