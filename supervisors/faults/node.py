"""Faults of the whole machine, as the helper process carries them out (``supervisors.runtime.helper``)."""

from collections.abc import Callable
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults import burner, filler
from supervisors.faults.order import FaultOrder


def run(order: FaultOrder, data_dir: Path, stop: Callable[[], bool]) -> None:
    """Carry it out until ``stop()`` is True (first asked once it is there), and take it back.

    Raises:
        FaultError: it must be refused; nothing is left of the attempt.
    """
    match order.kind:
        case "burn_cpu":
            burner.run(order, data_dir, stop)
        case "fill_disk":
            filler.run(order, data_dir, stop)
        case _:
            raise FaultError(f"no helper carries out {order.kind}", code=9025, fix="rayvisor inject list")


def clean(order: FaultOrder, data_dir: Path) -> None:
    """Take back what a helper that was killed has left; doing it twice is no error."""
    match order.kind:
        case "burn_cpu":
            burner.clean(order, data_dir)
        case "fill_disk":
            filler.clean(order, data_dir)


def probe(order: FaultOrder, data_dir: Path) -> bool:
    """True when nothing of it is left."""
    match order.kind:
        case "burn_cpu":
            return burner.probe(order, data_dir)
        case "fill_disk":
            return filler.probe(order, data_dir)
    return True
