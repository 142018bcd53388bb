"""Which life of each path acts, as the trail tells it event by event. Pure."""

from collections.abc import Iterable

from supervisors.trail.events import EventKind, TrailEvent

#: a life ends with these; a rung that failed is none: it may have left its process, and never touches the last life's
_ENDS = frozenset(
    {
        EventKind.CHILD_EXITED,
        EventKind.CHILD_STOPPED,
        EventKind.CHILD_KILLED,
        EventKind.CHILD_START_FAILED,
        EventKind.CHILD_HELD,  # no process before a person agrees, so that of a promotion that failed is gone
    }
)


class Acting:
    """The lives that act.

    Args:
        begun: the events with which lives began to act that did so already.
    """

    def __init__(self, begun: Iterable[TrailEvent] = ()) -> None:
        self._held = {event.path: event for event in begun}
        self._away: dict[str, list[TrailEvent]] = {}  #: by supervisor that begins anew: lives it has to account for

    @property
    def events(self) -> tuple[TrailEvent, ...]:
        """With which each life that acts now began to."""
        return tuple(self._held.values())

    def take(self, event: TrailEvent) -> TrailEvent | None:
        """The next event; the life that has not ended, where another one begins to act."""
        held = self._held.get(event.path)
        if event.kind == EventKind.SYSTEM_STARTING and not event.data.get("adopt"):
            self._held = {}  # nothing of an earlier start is left, and lives are counted anew
        elif event.kind == EventKind.SUPERVISOR_STARTING:
            # what ended while its supervisor was away has no event
            self._away[event.path] = [one for one in self._held.values() if one.writer == event.path]
            self._held = {path: one for path, one in self._held.items() if one.writer != event.path}
        elif event.kind == EventKind.SUPERVISOR_ADOPTED:
            self._adopted(event)
        elif event.kind in _ENDS or _is_proof(event):
            # the late notice of an earlier life does not end this one
            if held is not None and event.incarnation in (0, held.incarnation):
                del self._held[event.path]
        elif begins_to_act(event):
            self._held[event.path] = event
            return held if held is not None and held.incarnation != event.incarnation else None
        return None

    def _adopted(self, event: TrailEvent) -> None:
        """A supervisor that found all there were, alive or with their ends, which it tells: they act on."""
        lives = self._away.pop(event.path, [])
        adopted, lost, pending = (event.data.get(name) or 0 for name in ("adopted", "lost", "pending"))
        if not pending and isinstance(adopted, int) and isinstance(lost, int) and adopted + lost == len(lives):
            self._held = {one.path: one for one in lives} | self._held


def acting_of(trail: Iterable[TrailEvent]) -> tuple[TrailEvent, ...]:
    """With which each life that acts at the end of ``trail`` began to."""
    acting = Acting()
    for event in trail:
        acting.take(event)
    return acting.events


def begins_to_act(event: TrailEvent) -> bool:
    """A life is ready, or promoted."""
    return event.kind in (EventKind.CHILD_READY, EventKind.PROMOTED) and event.incarnation > 0


def _is_proof(event: TrailEvent) -> bool:
    return event.kind == EventKind.VERDICT and event.data.get("verdict") == "dead" and event.reason is not None
