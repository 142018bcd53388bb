"""INV-5 to INV-10: what was noticed, how the tree came to rest, and what is left. Pure."""

from supervisors.chaos.attribution import APART, Effect, Fate, Index, Limits, effects
from supervisors.chaos.causes import unexplained
from supervisors.chaos.faulting import BY_HAND
from supervisors.chaos.history import FinalState, History, Outcome, RunKind
from supervisors.chaos.verdicts import Findings, show
from supervisors.core.paths import ROOT, TreePath, parent_of
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.failures import is_refusal

_WELL = frozenset({"ready", "running"})
_AT_REST = frozenset({"stopped", "ended", "ignored"})
_HELD_BY = frozenset({EventKind.CHILD_HELD, EventKind.RECOVERY_HELD})
#: events of a life, by which it came up or was up
_LIVES = frozenset({EventKind.CHILD_STARTING, EventKind.CHILD_READY, EventKind.FIRST_SIGNAL, EventKind.VERDICT})
#: orders of a person after which a child rests, or is gone
_ORDERS = frozenset({"terminate_child", "delete_child"})
#: events at a supervisor with which it ends, and all that is below it
_SUPERVISOR_ENDS = frozenset(
    {EventKind.CHILD_STOPPING, EventKind.CHILD_STOPPED, EventKind.CHILD_EXITED, EventKind.CHILD_KILLED}
)


def detected(history: History, found: Findings, limits: Limits) -> None:
    """INV-5: every fault of a detectable kind that acted was noticed."""
    seen = effects(history, limits)
    for one in seen:
        if one.fate in APART:
            if one.fate is Fate.UNKNOWN_KIND:
                found.lacks(f"{one.fault.kind}: not in the catalogue, so how it is noticed is not known")
            continue
        found.looked_at += 1
        if one.fate is Fate.UNDETECTED:
            fault = one.fault
            text = f"{fault.kind} at {one.target} was not noticed"
            found.broken(
                text, path=one.target, at=one.began, evidence=(_order(one), f"{one.why}; gaps: {history.gaps}")
            )
    if not seen:
        found.lacks("no fault was injected")
    elif not found.looked_at:
        found.lacks("no fault acted that has to be noticed")


def _order(one: Effect) -> str:
    fault = one.fault
    fired = f", fired t={fault.fired:.6f}" if fault.fired is not None else ""
    ended = f", reverted t={fault.ended:.6f} by {fault.by}" if fault.ended is not None else ""
    return f"{fault.id} {fault.kind} at life {fault.incarnation}, injected t={fault.at:.6f}{fired}{ended}"


def none_invented(history: History, found: Findings, limits: Limits) -> None:
    """INV-6: every failure that was noticed has a cause among the faults."""
    if history.asked.kind is RunKind.TRAIL:
        found.lacks("no run: failures on this trail may be real ones")
        return
    failures, lost = unexplained(history, limits)
    # a place that was watched and never failed counts as well
    found.looked_at = failures + len(history.final or ())
    if not found.looked_at:
        found.lacks("the trail tells of no child")
    for one in lost:
        event = one.event
        near = tuple(
            f"near it: {fault.id} {fault.kind} at {' '.join(fault.targets)}, {event.t - fault.at:.3f} s before"
            for fault in one.near
        )
        text = f"{event.kind} of {event.path} has no cause among the faults"
        found.broken(text, path=event.path, at=event.t, evidence=(show(event), *near))


# ---------------------------------------------------------------- settled


def settled(history: History, found: Findings) -> None:
    """INV-7: at the end each child is well, held, or given up as its policy says."""
    if history.final is None:
        found.lacks("the system did not answer and its trail is empty")
        return
    if any(one.told_by == "trail" for one in history.final):
        found.lacks("nobody asked the system at the end: states are the trail's last word")
    index = Index(history)
    known = {one.path: one for one in history.final}
    for one in history.final:
        found.looked_at += 1
        why = _unsettled(one, index, history)
        if why:
            last = tuple(show(event) for event in list(index.before(one.path, history.ended + 1e9))[:3])
            found.broken(f"{one.path} is {one.state}: {why}", path=one.path, at=history.ended, evidence=last)
    for part in history.tree:
        above = known.get(part.path)
        if part.path != ROOT and (above is None or above.state not in _WELL):
            continue
        for child in part.children:
            if child.path not in known and child.restart == "permanent":
                found.looked_at += 1
                found.broken(
                    f"{child.path} is in the topology and nobody tells of it", path=child.path, at=history.ended
                )


def _unsettled(one: FinalState, index: Index, history: History) -> str:
    """Why a state is not where its policy lets a child rest; empty: it is."""
    facts = index.children.get(one.path)
    events = list(index.after(one.path, 0.0))
    if one.state in _WELL:
        return "" if one.verdict in ("", "healthy") else f"its supervisor takes it for {one.verdict}"
    if one.state == "held":
        for event in reversed(events):
            if event.kind in (EventKind.HOLD_RELEASED, EventKind.CHILD_READY):
                return "its hold was released and nothing came of it"
            if event.kind in _HELD_BY:
                return ""
        return "" if facts is not None and facts.may_hold else "nothing on the trail says why"
    if one.state in _AT_REST:
        return _unrest(one, index, history, events)
    if one.state in ("gave_up", "failed"):
        gave_up = any(e.kind in (EventKind.GAVE_UP, EventKind.ESCALATED) for e in events) or any(
            event.kind == EventKind.GAVE_UP and event.writer == one.path for event in history.trail
        )
        return "" if gave_up else "nothing on the trail says that its supervisor gave up"
    if one.state == "restarting":
        return "a restart is decided and not carried out"
    return "neither well, nor held, nor given up"


def _unrest(one: FinalState, index: Index, history: History, events: list[TrailEvent]) -> str:
    facts = index.children.get(one.path)
    restart = facts.restart if facts is not None else ""
    if one.state == "ignored" or restart == "temporary":
        return ""
    last = next(
        (e for e in reversed(events) if e.kind in (EventKind.CHILD_EXITED, EventKind.CHILD_STOPPED, EventKind.GAVE_UP)),
        None,
    )
    if last is None:
        # without a life in this window it rested before
        lived = any(event.kind in _LIVES for event in events)
        return "no event says who stopped it" if restart == "permanent" and lived else ""
    if last.kind == EventKind.CHILD_STOPPED and restart != "":
        return "" if _ordered(one.path, events, last, history) else "its supervisor stopped it and nobody ordered that"
    if last.kind != EventKind.CHILD_EXITED:
        return ""  # its supervisor gave up
    normal = last.reason is None or not last.reason.is_abnormal
    if restart == "permanent":
        return "a permanent child ended and was not restarted"
    if restart == "transient" and not normal:
        return f"a transient child ended with {last.reason} and was not restarted"
    return ""


def _ordered(path: str, events: list[TrailEvent], stopped: TrailEvent, history: History) -> bool:
    """A stop that a person ordered, or that came with the end of a supervisor above: not one within a restart."""
    begun = max((e.t for e in events if e.kind == EventKind.CHILD_READY and e.t <= stopped.t), default=0.0)
    above = _above(path)
    ended = False
    for event in history.trail:
        if event.t < begun:
            continue
        if event.kind == EventKind.ADMIN and event.path == path and event.data.get("call") in _ORDERS:
            return True  # it is told of when it is done, so behind the stop
        if event.kind == EventKind.SUPERVISOR_STARTING and event.path in above and not event.data.get("adopt"):
            ended = False  # a new life of it starts its children again
        elif event.t <= stopped.t and (
            event.kind == EventKind.SYSTEM_STOPPING
            or (event.kind == EventKind.GAVE_UP and event.writer in above)
            or (event.kind in _SUPERVISOR_ENDS and event.path in above)
        ):
            ended = True
    return ended


def _above(path: str) -> frozenset[str]:
    """The supervisors above a path."""
    found: set[str] = set()
    place = TreePath(path)
    while place != ROOT:
        place = parent_of(place)
        found.add(place)
    return frozenset(found)


# ---------------------------------------------------------------- restarts


def within_intensity(history: History, found: Findings) -> None:
    """INV-8: no supervisor restarts more often than its window allows, and it counts rightly."""
    facts = {part.path: part for part in history.tree}
    changed = any(event.kind == EventKind.TOPOLOGY_APPLIED for event in history.trail)
    charged: dict[tuple[str, str], list[TrailEvent]] = {}
    restarted: set[str] = set()
    for event in history.trail:
        if event.kind == EventKind.SUPERVISOR_STARTING and not event.data.get("adopt"):
            for key in [key for key in charged if key[0] == event.path]:
                del charged[key]  # a new life of it begins a new window
        if event.kind != EventKind.RESTART_DECIDED or is_refusal(event):
            continue
        supervisor, budget = event.writer or str(parent_of(TreePath(event.path))), str(event.data.get("budget") or "")
        said = _window(event.data.get("window"))
        part = facts.get(supervisor)
        allowed: tuple[int, float] | None = said[1:] if said else None
        if part is not None and not changed:
            allowed = part.budgets.get(budget) if budget else (part.intensity, part.period)
            allowed = allowed or (said[1:] if said else None)
        if allowed is None:
            found.lacks(f"{supervisor}: neither its topology nor its window is known")
            continue
        found.looked_at += 1
        earlier = charged.setdefault((supervisor, budget), [])
        earlier.append(event)
        # OTP counts whole seconds, so all within the true period count for certain, and those at its edge may
        within = [one for one in earlier if event.t - one.t < allowed[1]]
        charged[supervisor, budget] = within
        restarted.add(supervisor)
        _judge(event, supervisor, within, allowed, said[0] if said else None, found)
    if history.trail:
        found.looked_at += len(facts.keys() - restarted)  # no restart at all is within every window
    if not found.looked_at:
        found.lacks("no restart is on the trail and the topology is not known")


def _judge(
    event: TrailEvent,
    supervisor: str,
    within: list[TrailEvent],
    allowed: tuple[int, float],
    said: int | None,
    found: Findings,
) -> None:
    intensity, period = allowed
    lines = tuple(show(one) for one in within[-6:])
    if len(within) > intensity:
        text = f"{supervisor} restarted {len(within)} times within {period:g} s, where {intensity} are allowed"
        found.broken(text, path=event.path, at=event.t, evidence=lines)
    elif said is not None and said > intensity:
        text = f"{supervisor} restarted though its window says {said} of {intensity}"
        found.broken(text, path=event.path, at=event.t, evidence=lines)
    elif said is not None and said < len(within):
        text = f"{supervisor} counts {said} restarts, where {len(within)} are on the trail"
        found.broken(text, path=event.path, at=event.t, evidence=lines)


def _window(value: object) -> tuple[int, int, float] | None:
    """``2/3 in 5s`` as count, intensity, period."""
    try:
        counts, _, period = str(value).partition(" in ")
        count, _, intensity = counts.partition("/")
        return int(count), int(intensity), float(period.removesuffix("s"))
    except ValueError:
        return None


# ---------------------------------------------------------------- stops


def reverse_stop(history: History, found: Findings) -> None:
    """INV-9: one supervisor's stop ends its children in reverse start order, one after another."""
    orders = _start_orders(history)
    simple = {part.path for part in history.tree if part.strategy == "simple_one_for_one"}
    stopping: dict[str, list[TrailEvent]] = {}  #: by supervisor: stops ordered since its stop began
    for event in history.trail:
        _end_of_stop(event, stopping)
        if event.kind == EventKind.SYSTEM_STOPPING:
            stopping[ROOT] = []  # nobody above tells of the root's own stop
        elif event.kind == EventKind.GAVE_UP or _restarts_group(event):
            stopping[event.writer] = []
        elif event.kind == EventKind.CHILD_STOPPING:
            supervisor = event.writer
            if supervisor in stopping and supervisor not in simple:
                _next_stop(event, stopping[supervisor], orders.get(supervisor, {}), history.trail, found)
                stopping[supervisor].append(event)
            stopping[event.path] = []  # if it is a supervisor, its own stop begins
    if not orders:
        found.lacks("no child's start is on the trail and the topology is not known: there is no order to compare")
    elif not found.looked_at:
        found.lacks("no supervisor stopped a group")


def _restarts_group(event: TrailEvent) -> bool:
    return event.kind == EventKind.RESTART_DECIDED and event.data.get("strategy") in ("one_for_all", "rest_for_one")


def _end_of_stop(event: TrailEvent, stopping: dict[str, list[TrailEvent]]) -> None:
    if event.kind in (EventKind.CHILD_STARTING, EventKind.ADMIN):
        stopping.pop(event.writer, None)
    elif event.kind in (EventKind.CHILD_STOPPED, EventKind.CHILD_EXITED):
        stopping.pop(event.path, None)


def _next_stop(
    event: TrailEvent, earlier: list[TrailEvent], order: dict[str, int], trail: tuple[TrailEvent, ...], found: Findings
) -> None:
    found.looked_at += 1
    if not earlier:
        return
    before = earlier[-1]
    if event.path in order and before.path in order and order[event.path] >= order[before.path]:
        text = f"{event.path} was stopped after {before.path}, which started before it"
        found.broken(text, path=event.path, at=event.t, evidence=(show(before), show(event)))
        return
    ended = any(
        one.path == before.path
        and before.t <= one.t <= event.t
        and one.kind in (EventKind.CHILD_STOPPED, EventKind.CHILD_EXITED, EventKind.CHILD_HELD)
        for one in trail
    )
    if not ended:
        text = f"{event.path} was stopped before {before.path} had ended"
        found.broken(text, path=event.path, at=event.t, evidence=(show(before), show(event)))


def _start_orders(history: History) -> dict[str, dict[str, int]]:
    """By supervisor: its children's places in start order, as the topology or else their first starts have it."""
    orders = {part.path: {c.path: n for n, c in enumerate(part.children)} for part in history.tree if part.children}
    for event in history.trail:
        if event.kind == EventKind.CHILD_STARTING and not event.data.get("restart"):
            order = orders.setdefault(event.writer, {})
            order.setdefault(event.path, len(order))
    return orders


# ---------------------------------------------------------------- leftovers


def nothing_left(history: History, found: Findings, limits: Limits) -> None:
    """INV-10: no process, name, file or fault is left that nothing accounts for."""
    for fault in history.faults:
        if fault.id.startswith(BY_HAND):
            continue  # whoever sent a signal by hand sends the one that undoes it
        if fault.reverted is None and not fault.lasting:
            continue  # over once it was done: there is nothing to undo
        where = " ".join(fault.targets)
        if fault.reverted is False:
            text = f"{fault.kind} at {where} could not be reverted: {fault.why or 'no reason given'}"
            found.broken(text, path=fault.targets[0], at=fault.ended, evidence=(f"{fault.id} by {fault.by or '?'}",))
        elif fault.lasting and fault.ended is None:
            # the runner of a run without an end is gone, and the watchdog has to keep the deadline for it
            due = fault.at + fault.seconds + limits.aftermath if fault.seconds is not None else None
            if history.outcome is Outcome.UNKNOWN and (due is None or history.ended <= due):
                found.lacks(f"{fault.kind} at {where} ({fault.id}): what is known ends before it had to be reverted")
                continue
            text = f"{fault.kind} at {where} outlived its run: nothing says that it was reverted"
            evidence = (f"{fault.id} injected t={fault.at:.6f}",)
            found.broken(text, path=fault.targets[0], at=fault.at, evidence=evidence)
        found.looked_at += 1
    left = history.leftovers
    if left is None:
        found.lacks("nobody looked for processes, names and files")
        return
    found.looked_at += 1
    for what in left.unseen:
        found.lacks(what)
    for word, things in (
        ("process", left.processes),
        ("name", left.names),
        ("file", left.files),
        ("fault", left.faults),
    ):
        for thing in things:
            found.broken(f"a {word} is left: {thing}", at=history.ended)
