"""The end of a run: its history, what is said of it, its report; all kept in its folder."""

from pathlib import Path

from supervisors.chaos.gathering import gather
from supervisors.chaos.ground import Ground
from supervisors.chaos.history import History, facts_of
from supervisors.chaos.invariants import check
from supervisors.chaos.measures import measure
from supervisors.chaos.recording import ASKED, read_run, save
from supervisors.chaos.report import Report, build, to_json
from supervisors.trail.status import SystemStatus

REPORT = "report.json"


def history_of(folder: Path, ground: Ground, id_field: str = "", *, over: bool = True) -> History:
    """The history of the run in ``folder``, with what the system says now.

    Args:
        folder: of the run; one that holds none: what trail and journals tell.
        ground: the system it ran on.
        id_field: field of journalled events that holds a call's unique value, where the run itself does not say.
        over: the run is over: what is left of it is looked for too, and what its live actors applied.
    """
    status = ground.status()
    return gather(
        ground.data_dir,
        read_run(folder) if (folder / ASKED).is_file() else None,
        tree=facts_of(ground.parts()),
        status=status,
        applied_to=applied_by(status) if over else None,
        leftovers=ground.leftovers() if over else None,
        id_field=id_field,
        kinds=ground.known.catalogue,
    )


def applied_by(status: SystemStatus) -> dict[str, int]:
    """By path, the last event that a standby in sync says it applied.

    To be compared with journals that are read later, and once the clients are still: a standby may have an event a
    moment before the disk has it.
    """
    found: dict[str, int] = {}
    for child in (child for supervisor in status.supervisors for child in supervisor.children):
        said = [one.applied for one in child.standbys if one.state == "synced" and one.applied]
        if said:
            found[child.path] = max(said)
    return found


def conclude(folder: Path, ground: Ground, id_field: str = "") -> Report:
    """Make and keep the history and the report of a run that is over.

    Raises:
        FaultError: they cannot be written.
        TrailError: the trail was written by a newer version.
    """
    history = history_of(folder, ground, id_field)
    save(folder, history)
    report = build(history, check(history), measure(history))
    (folder / REPORT).write_bytes(to_json(report))
    return report
