"""Drills (004 §12): experiments that fit any system, whose places are found in its tree."""

from collections.abc import Mapping
from importlib import resources

import msgspec

from supervisors.chaos.systems import Known
from supervisors.core.errors import FaultError
from supervisors.spec.findings import did_you_mean

#: names in the files of drills that stand for a place of the system, and what that place is
PLACES: Mapping[str, str] = {
    "/PRIMARY": "a worker with a standby",
    "/SUPERVISOR": "a supervisor below the root",
    "/WIRE": "a proxy (actors.workers.proxy:FaultProxy)",
}
#: in the order in which they are listed
NAMES = (
    "random_instance_killed",
    "network_latency",
    "disk_95",
    "corrupt_page",
    "primary_and_standby_lost",
    "supervisor_lost",
    "root_lost",
)


class Drill(msgspec.Struct, frozen=True):
    """One drill.

    Attributes:
        name: as people write it.
        text: the experiment, with names for places (``PLACES``).
        needs: what the system must have, in words.
    """

    name: str
    text: str
    needs: tuple[str, ...] = ()


def drills() -> tuple[Drill, ...]:
    """All drills there are."""
    return tuple(find_drill(name) for name in NAMES)


def find_drill(name: str) -> Drill:
    """The drill called ``name``.

    Raises:
        FaultError: there is none (9074).
    """
    if name not in NAMES:
        raise FaultError(f"there is no drill {name!r}", code=9074, fix=did_you_mean(name, NAMES))
    file = resources.files("supervisors.chaos") / "drills" / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    return Drill(name, text, tuple(what for place, what in PLACES.items() if place in text))


def placed(drill: Drill, known: Known) -> str:
    """The drill's experiment for a system.

    Raises:
        FaultError: the system has no place of a kind it needs (9075).
    """
    text = drill.text
    for name, what in PLACES.items():
        if name in text:
            path = _find(name, known)
            if not path:
                raise FaultError(
                    f"{drill.name} needs {what}, and {known.name or 'this system'} has none",
                    code=9075,
                    fix="rayvisor drill --list shows what each drill needs",
                )
            text = text.replace(name, path)
    return text


def _find(name: str, known: Known) -> str:
    """The first place of the tree, by its path, that is what ``name`` stands for; empty: there is none."""
    places = known.places or {}
    match name:
        case "/PRIMARY":
            return next((path for path in sorted(places) if places[path].standbys), "")
        case "/SUPERVISOR":
            return next((path for path in sorted(places) if places[path].supervisor and path != "/"), "")
        case _:
            return next((path for path in sorted(known.own) if "net_latency" in known.own[path]), "")
