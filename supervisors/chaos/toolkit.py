"""Actions and probes for the stock Chaos Toolkit: ``"module": "supervisors.chaos.toolkit"`` in a python provider.

Plain functions with JSON arguments. Each action gives what it did, each probe true or false, or an answer to hold a
tolerance against. What a probe saw is logged. Faults end with the ``chaos`` process, whatever becomes of it.
"""

import atexit
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    "everything_held",
    "holds",
    "inject_fault",
    "invariants_hold",
    "must_hold",
    "recovered_within",
    "revert_all",
    "revert_fault",
    "run_together",
    "standbys_are_in_sync",
    "tree_is_healthy",
    "wait",
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
#: what had to hold, or to work, and did not, by system
_failed: dict[Path, list[str]] = {}


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
    required: bool = False,
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
        required: ``everything_held`` is false once it was refused.

    Raises:
        FaultError: it was refused; nothing of it acts.
    """
    ground = _ground(data_dir)
    with _required(f"{fault} at {path}", ground, required=required):
        return _inject(ground, fault, path, params, seconds, targets, count, probability, first, seed, name)


def _inject(
    ground: _Closing,
    fault: str,
    path: str,
    params: dict[str, Scalar] | None,
    seconds: float | None,
    targets: str,
    count: int,
    probability: float | None,
    first: int,
    seed: int,
    name: str,
) -> JsonValue:
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
    path: str,
    method: str,
    data_dir: str = ".rayvisor",
    args: list[JsonValue] | None = None,
    timeout: float = 3.0,
    required: bool = False,
) -> JsonValue:
    """Call a method of an actor; gives its answer, for a tolerance of the toolkit (an action or a probe).

    Args:
        path: of the actor.
        method: of the actor.
        data_dir: of the system.
        args: of the method.
        timeout: seconds for the call.
        required: ``everything_held`` is false once it raised.

    Raises:
        CallError: no answer in time.
        Exception: what the method raised.
    """
    ground = _ground(data_dir)
    with _required(f"{path}.{method}", ground, required=required):
        return cast(JsonValue, plain(ground.call(path, method, args or [], timeout)))


def wait(seconds: float, data_dir: str = ".rayvisor") -> JsonValue:
    """Let time pass."""
    time.sleep(seconds)
    return seconds


def run_together(parts: list[list[dict[str, JsonValue]]], data_dir: str = ".rayvisor") -> JsonValue:
    """Do several lists of calls beside one another, each in its order, and wait for all.

    Args:
        parts: lists of ``{"func": NAME, "arguments": {...}}``, with a function of this module; one that also has
            ``"background": true`` goes on beside those after it.
        data_dir: of the system.

    Raises:
        FaultError: some of them failed; all were done (9077).
    """
    failed: list[str] = []
    threads: list[threading.Thread] = []

    def start(part: list[dict[str, JsonValue]]) -> None:
        thread = threading.Thread(target=do, args=(part,), daemon=True)
        with _lock:
            threads.append(thread)
        thread.start()

    def do(part: list[dict[str, JsonValue]]) -> None:
        for call in part:
            if call.get("background"):
                start([{**call, "background": False}])
                continue
            try:
                _called(call, data_dir)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other steps are done
                failed.append(f"{call.get('func')}: {error}")

    for part in parts:
        start(part)
    # a part may start others
    for thread in iter(lambda: next((one for one in threads if one.is_alive()), None), None):
        thread.join()
    if failed:
        raise FaultError("; ".join(failed), code=9077, fix="the steps before it in the journal say more")
    return None


def _called(call: dict[str, JsonValue], data_dir: str) -> None:
    name, arguments = call.get("func"), call.get("arguments", {})
    if name not in __all__ or not isinstance(arguments, dict):
        raise FaultError(f"{call} calls no function of ours", code=9077, fix="one of docs/chaos.md")
    function: Callable[..., object] = globals()[str(name)]
    function(data_dir=data_dir, **arguments)


@contextmanager
def _required(what: str, ground: _Closing, *, required: bool = True) -> Iterator[None]:
    """What is done in it has to work, or ``everything_held`` is false."""
    try:
        yield
    except Exception as error:
        if required:
            with _lock:
                _failed.setdefault(ground.data_dir, []).append(f"{what}: {error}")
        raise


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


def must_hold(probe: dict[str, JsonValue], data_dir: str = ".rayvisor", name: str = "") -> bool:
    """As ``holds``, for a method: the toolkit judges only its hypothesis, so one that does not hold raises.

    Raises:
        FaultError: it does not hold (9077); ``everything_held`` is false from now on.
        ValueError: it is no probe.
    """
    title = name or str(probe.get("probe"))
    with _required(title, _ground(data_dir)):
        if not holds(probe, data_dir):
            raise FaultError(f"{title} does not hold", code=9077, fix="the log says what was seen")
    return True


def everything_held(data_dir: str = ".rayvisor") -> bool:
    """Whether all that had to hold and to work so far in this process did: the last probe of a hypothesis."""
    with _lock:
        failed = list(_failed.get(_ground(data_dir).data_dir, ()))
    for what in failed:
        _log.warning("did not hold: %s", what)
    return not failed


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
