"""Actions and probes for the stock Chaos Toolkit: ``"module": "supervisors.chaos.toolkit"`` in a python provider.

Plain functions with JSON arguments. Each action gives what it did, each probe true or false, or an answer to hold a
tolerance against. What a probe saw is logged. Faults end with the ``chaos`` process, whatever becomes of it.
"""

import atexit
import importlib
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from pydantic import JsonValue, TypeAdapter

from supervisors.chaos import probes
from supervisors.chaos.document import NoInvariantBroken, Probe, RecoveredWithin, StandbysInSync, TreeHealthy
from supervisors.chaos.ground import Ground
from supervisors.chaos.looking import look
from supervisors.chaos.probes import Judgement, plain
from supervisors.core.errors import FaultError
from supervisors.faults.order import Scalar
from supervisors.faults.request import FaultRequest, TargetSet

#: what ``chaos discover`` lists
__all__ = [
    "call_actor",
    "holds",
    "inject_fault",
    "invariants_hold",
    "recovered_within",
    "revert_all",
    "revert_fault",
    "standbys_are_in_sync",
    "tree_is_healthy",
]

_log = logging.getLogger("rayvisor")
#: found when it is first used: rooms on this level do not import the runtime
_RUNTIME = "supervisors.runtime.chaos_ground"
_EVERY = 0.1
_PROBE: TypeAdapter[Probe] = TypeAdapter(Probe)


class _Closing(Ground, Protocol):
    def close(self) -> None: ...
    def begin(self, run: str) -> None: ...


_lock = threading.RLock()
_grounds: dict[Path, _Closing] = {}
_names: dict[tuple[Path, str], list[str]] = {}


def _ground(data_dir: str) -> _Closing:
    """The system in ``data_dir``, connected once; what it does to it ends with this process."""
    where = Path(data_dir).resolve()
    with _lock:
        if where not in _grounds:
            module = importlib.import_module(_RUNTIME)
            ground = cast(_Closing, module.SystemGround(where))
            ground.begin(f"toolkit-{time.strftime('%Y%m%d-%H%M%S')}")
            atexit.register(ground.close)
            _grounds[where] = ground
        return _grounds[where]


# ---------------------------------------------------------------- actions


def inject_fault(
    fault: str,
    path: str,
    data_dir: str = ".rayvisor",
    params: dict[str, Scalar] | None = None,
    seconds: float | None = None,
    targets: str = "path",
    count: int = 1,
    probability: float | None = None,
    first: int = 0,
    seed: int = 0,
    name: str = "",
) -> JsonValue:
    """Inject a fault (``rayvisor inject list``); gives its id and whom it hits.

    Args:
        fault: name in the catalogue.
        path: the target, or the top of the subtree ``targets`` are taken from.
        data_dir: of the system.
        params: of the fault, as people write them.
        seconds: how long at most; None: the fault's own.
        targets: path, one, all, half, primaries, standbys, supervisors or random.
        count: how many of ``random``.
        probability: chance that it acts on an occasion; None: 1, or 0 with ``first``.
        first: so many occasions for certain.
        seed: of its chance.
        name: for ``revert_fault``.

    Raises:
        FaultError: it was refused; nothing of it acts.
    """
    ground = _ground(data_dir)
    if targets not in frozenset(TargetSet):
        raise FaultError(f"there is no set of targets {targets!r}", code=9071, fix=f"one of {', '.join(TargetSet)}")
    request = FaultRequest(
        fault=fault,
        path=path,
        params=params or {},
        seconds=seconds,
        probability=probability,
        first=first,
        seed=seed,
        targets=TargetSet(targets),
        count=count,
    )
    hits = ground.inject(request, None)
    if name:
        with _lock:
            _names.setdefault((ground.data_dir, name), []).extend(hits.ids)
    return {"id": ",".join(hits.ids), "targets": list(hits.targets)}


def revert_fault(name: str, data_dir: str = ".rayvisor") -> JsonValue:
    """Revert a fault of this process by the name it was given, or by its id; gives what could not be undone.

    Raises:
        FaultError: something could not be undone (9072).
    """
    ground = _ground(data_dir)
    with _lock:
        ids = _names.pop((ground.data_dir, name), [name])
    return _reverted(ground.revert(ids, f"revert: {name}"))


def revert_all(data_dir: str = ".rayvisor") -> JsonValue:
    """Revert every fault of this process; gives what could not be undone.

    Raises:
        FaultError: something could not be undone (9072).
    """
    return _reverted(_ground(data_dir).revert(None, "revert: all"))


def _reverted(stuck: Sequence[str]) -> JsonValue:
    if stuck:
        raise FaultError(f"could not be reverted: {', '.join(stuck)}", code=9072, fix="rayvisor inject revert --all")
    return []


def call_actor(
    path: str, method: str, data_dir: str = ".rayvisor", args: list[JsonValue] | None = None, timeout: float = 3.0
) -> JsonValue:
    """Call a method of an actor; gives its answer, for a tolerance of the toolkit (an action or a probe).

    Raises:
        CallError: no answer in time.
        Exception: what the method raised.
    """
    return cast(JsonValue, plain(_ground(data_dir).call(path, method, args or [], timeout)))


# ---------------------------------------------------------------- probes


def tree_is_healthy(data_dir: str = ".rayvisor", path: str = "/", within: float = 0.0) -> bool:
    """Whether everything at and below ``path`` runs and is ready, or becomes so in ``within`` seconds."""
    return _holds(TreeHealthy(probe="tree_healthy", path=path, within=within), data_dir)


def recovered_within(data_dir: str = ".rayvisor", path: str = "/", rto: float | None = None) -> bool:
    """Whether each failure since this process began was healed in ``rto`` seconds (None: as each child promises)."""
    return _holds(RecoveredWithin(probe="recovered_within", path=path, rto=rto), data_dir)


def standbys_are_in_sync(data_dir: str = ".rayvisor", path: str = "/", within: float = 0.0) -> bool:
    """Whether every child has all its standbys in sync, or has them in ``within`` seconds."""
    return _holds(StandbysInSync(probe="standbys_in_sync", path=path, within=within), data_dir)


def invariants_hold(data_dir: str = ".rayvisor") -> bool:
    """Whether trail and journals show no invariant violated so far (docs/invariants.md)."""
    judged = probes.invariants_hold(_ground(data_dir).verdicts())
    _tell("invariants_hold", judged)
    return judged.ok


def holds(probe: dict[str, JsonValue], data_dir: str = ".rayvisor") -> bool:
    """Whether a probe, written as in our own experiments, holds: ``{"probe": "metric", "metric": ..., "max": 3}``.

    Raises:
        ValueError: it is no probe.
    """
    return _holds(_PROBE.validate_python(probe), data_dir)


def _holds(probe: Probe, data_dir: str) -> bool:
    if isinstance(probe, NoInvariantBroken):
        return invariants_hold(data_dir)
    ground = _ground(data_dir)
    deadline = time.monotonic() + probe.within
    while True:
        judged = look(probe, ground, time.monotonic())
        if judged.ok or not (judged.pending or time.monotonic() < deadline):
            _tell(probe.title, judged)
            return judged.ok
        time.sleep(_EVERY)


def _tell(title: str, judged: Judgement) -> None:
    if judged.ok:
        _log.info("%s holds: %s", title, judged.value)
    else:
        _log.warning("%s does not hold: %s", title, judged.why)
