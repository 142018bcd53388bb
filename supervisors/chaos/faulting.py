"""The faults of a window, read from its trail: what was injected, when it acted, whether it was seen undone. Pure."""

from collections.abc import Iterable

import msgspec

from supervisors.chaos.history import Fault
from supervisors.faults.catalogue import FaultKind
from supervisors.faults.order import Hook
from supervisors.trail.events import EventKind, Scalar, TrailEvent

#: hooks at which a fault acts at once when it is armed
_AT_ONCE = frozenset({Hook.NOW, Hook.RUN})
#: ids of signals that a person sent: they have no undo record and no deadline
BY_HAND = "by-hand-"
#: kinds that stand for signals sent by hand; all others kill
_SIGNALS = {"SIGSTOP": "stop"}


def faults_of(
    events: Iterable[TrailEvent], kinds: Iterable[FaultKind], *, before: Iterable[TrailEvent] = ()
) -> tuple[Fault, ...]:
    """Faults in the order of injection; several events of one id (one for each target) are one fault.

    Args:
        events: of the window.
        kinds: the catalogue.
        before: events before the window, for the lives that ran then.
    """
    known = {kind.name: kind for kind in kinds}
    lives = _Lives()
    for event in before:
        lives.see(event)
    found: dict[str, Fault] = {}
    for number, event in enumerate(events):
        if event.kind == EventKind.FAULT_INJECTED:
            name = str(event.data.get("id") or f"{BY_HAND}{number}")
            fresh = _injected(event, name, known, lives)
            held = found.get(name)
            found[name] = fresh if held is None else _with_targets(held, fresh.targets)
        elif event.kind == EventKind.FAULT_FIRED:
            held = found.get(str(event.data.get("id")))
            if held is not None and held.fired is None:
                at = event.data.get("at")
                fired = float(at) if isinstance(at, int | float) and held.at <= at <= event.t else event.t
                found[held.id] = msgspec.structs.replace(held, fired=fired)
        elif event.kind == EventKind.FAULT_REVERTED:
            held = found.get(str(event.data.get("id")))
            if held is not None:
                found[held.id] = _reverted(held, event)
        else:
            lives.see(event)
    return tuple(sorted(found.values(), key=lambda fault: fault.at))


class _Lives:
    """The life of each path as events go by."""

    def __init__(self) -> None:
        self._now: dict[str, int] = {}

    def see(self, event: TrailEvent) -> None:
        if event.incarnation and event.kind in (EventKind.CHILD_STARTING, EventKind.CHILD_READY):
            self._now[event.path] = max(self._now.get(event.path, 0), event.incarnation)

    def of(self, path: str) -> int:
        return self._now.get(path, 0)


def _injected(event: TrailEvent, name: str, known: dict[str, FaultKind], lives: _Lives) -> Fault:
    data = event.data
    word = str(data.get("fault", ""))
    # `rayvisor kill` names a signal and has no id
    kind = known.get(word) or (known.get(_SIGNALS.get(word, "kill")) if not data.get("id") else None)
    targets = _paths(data.get("targets")) or (event.path,)
    seconds = data.get("seconds")
    return Fault(
        id=name,
        kind=kind.name if kind is not None and not data.get("id") else word,
        targets=targets,
        at=event.t,
        incarnation=event.incarnation or lives.of(targets[0]),
        role="standby" if data.get("standby") else "",
        where=kind.where.value if kind is not None else str(data.get("where") or ""),
        detected=kind.detected if kind is not None else None,
        lasting=kind.lasting if kind is not None else True,
        armed=bool(kind is not None and kind.hooks and not _AT_ONCE & set(kind.hooks)),
        params=_params(data.get("params")),
        seconds=float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None,
    )


def _with_targets(fault: Fault, targets: tuple[str, ...]) -> Fault:
    return msgspec.structs.replace(
        fault, targets=(*fault.targets, *(one for one in targets if one not in fault.targets))
    )


def _reverted(fault: Fault, event: TrailEvent) -> Fault:
    ok, ms = event.data.get("ok"), event.data.get("ms")
    if fault.reverted is True and ok is not True:
        return fault  # seen gone once is gone: a second look by another found nothing to do
    return msgspec.structs.replace(
        fault,
        ended=event.t,
        reverted=ok is True,
        acted=event.data.get("acted") is not False,
        by=str(event.data.get("by") or ""),
        revert_ms=float(ms) if isinstance(ms, int | float) and not isinstance(ms, bool) else None,
        why=str(event.data.get("why") or ""),
    )


def _paths(value: Scalar) -> tuple[str, ...]:
    """Paths from a JSON list, or from words."""
    if not isinstance(value, str) or not value:
        return ()
    try:
        return tuple(msgspec.json.decode(value, type=list[str]))
    except (msgspec.MsgspecError, ValueError):
        return tuple(value.split())


def _params(value: Scalar) -> dict[str, Scalar]:
    if not isinstance(value, str) or not value:
        return {}
    try:
        return msgspec.json.decode(value, type=dict[str, Scalar])
    except (msgspec.MsgspecError, ValueError):
        return {"params": value}
