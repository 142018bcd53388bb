"""What one supervisor's machine knows, and the small moves all its operations are made of.

``SupervisorState`` holds the children, the mailbox and the effects of the step in hand. The operations live in
``stopping``, ``starting``, ``restarting``, ``holding``, ``adopting`` and ``admin``, each of which uses only those
before it; ``machine`` puts them together. What runs beside the operation in the foreground is in ``background``.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.tree.background import Background, Wait
from supervisors.tree.budgets import Budgets
from supervisors.tree.child import Child, ChildState
from supervisors.tree.intensity import IntensityWindow
from supervisors.tree.messages import (
    AdminCalled,
    CancelTimer,
    ChildExited,
    Effect,
    Event,
    Exit,
    Note,
    NoteKind,
    ReapSubtree,
    Reply,
    SetTimer,
    ShutdownOrdered,
)
from supervisors.tree.model import ALONE, ChildSpec, Restart, Strategy, SupervisorSpec, check_specs


@dataclass(frozen=True, slots=True)
class StartFailure:
    """A start that did not succeed; ``interrupted`` when a shutdown broke it off.

    ``kind``: what a retry is charged for: of the exit, where the child ended before it was ready.
    """

    id: str
    reason: ExitReason
    interrupted: bool = False
    kind: ExitKind = ExitKind.INIT_ERROR


#: what an operation is: it yields what it waits for and is sent the event that came
Operation = Generator[Wait, Event, None]


class Mailbox:
    """Events not yet worked off, oldest first. A shutdown goes to the front: nothing queued is worth doing before it.

    Exits are kept by child as well, so that stopping a child can consume the exit that is queued already (OTP's
    unlink-and-flush) without searching.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._exits: dict[str, ChildExited] = {}
        self.shutdown: ShutdownOrdered | None = None

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event) -> None:
        """Queue one event; of several shutdowns the first counts."""
        if isinstance(event, ShutdownOrdered):
            if self.shutdown is None:
                self.shutdown = event
                self._events.appendleft(event)
            return
        if isinstance(event, ChildExited):
            if event.id in self._exits and self._exits[event.id].incarnation == event.incarnation:
                return  # told twice
            self._exits[event.id] = event
        self._events.append(event)

    def take(self) -> Event | None:
        """The next event; None in place of an exit that a stop has consumed."""
        event = self._events.popleft()
        if isinstance(event, ChildExited):
            if self._exits.get(event.id) is not event:
                return None
            del self._exits[event.id]
        return event

    def consume_exit(self, child_id: str, incarnation: int) -> ChildExited | None:
        """Take the queued exit of this life out of turn."""
        event = self._exits.get(child_id)
        if event is None or event.incarnation != incarnation:
            return None
        return self._exits.pop(child_id)

    def has_exit(self, child_id: str) -> bool:
        """True when the child's exit is queued: it is dead, though the machine has not got to it yet."""
        return child_id in self._exits

    def drain_orders(self) -> list[AdminCalled]:
        """Empty the mailbox; the orders in it, which will never be carried out."""
        orders = [event for event in self._events if isinstance(event, AdminCalled)]
        self._events.clear()
        self._exits.clear()
        return orders


class SupervisorState:
    """Children, mailbox and pending effects of one supervisor.

    Args:
        spec: flags and children; for simple_one_for_one exactly one child, the template.
        jitter: source of numbers in [0, 1) for backoff; injected so that runs repeat.

    Raises:
        ValueError: what OTP's ``check_childspecs`` refuses, e.g. a duplicate id or no single template.
    """

    def __init__(self, spec: SupervisorSpec, jitter: Callable[[], float]) -> None:
        if errors := check_specs(spec.flags, spec.children):
            raise ValueError("; ".join(errors))
        self.flags = spec.flags
        self.window = IntensityWindow(spec.flags.intensity, spec.flags.period)
        self.budgets = Budgets(spec.flags.budgets)
        self.children: dict[str, Child] = {}
        self.template: ChildSpec | None = None
        if self.is_simple:
            self.template = spec.children[0]
        else:
            self.children = {child.id: Child(child, child.id) for child in spec.children}
        #: ids whose record changed since the caller last cleared it
        self.dirty: set[str] = set()
        self.ended = False
        self.booted = False
        #: every child is being stopped for good: nothing new begins
        self.closing = False
        self.now = 0.0
        self.mailbox = Mailbox()
        #: starts of concurrent children, beside the operation in the foreground
        self.background = Background()
        #: messages to itself that need not wait for the foreground
        self.posted: deque[Event] = deque()
        #: pending backoffs: timer to child and whether the restart it brings is yet to be counted
        self.backoffs: dict[int, tuple[str, bool]] = {}
        #: highest incarnation of any child forgotten so far: one of the same name goes on above it
        self.floor = 0
        self.next_dynamic = 1
        self.jitter = jitter
        self._effects: list[Effect] = []
        self._next_token = 1

    @property
    def is_simple(self) -> bool:
        """True for simple_one_for_one."""
        return self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def is_group(self) -> bool:
        """True when siblings share a child's fate."""
        return self.flags.strategy not in ALONE

    def is_concurrent(self, child: Child) -> bool:
        """True when this child's restarts keep nobody waiting."""
        return child.spec.concurrent and not self.is_group

    def window_for(self, kind: ExitKind | None) -> tuple[str, IntensityWindow]:
        """The window a restart because of ``kind`` is charged to, and its budget's name; empty: the supervisor's."""
        return self.budgets.charged_for(kind) or ("", self.window)

    # ------------------------------------------------------------ effects

    def begin_step(self, now: float) -> None:
        """Start collecting the effects of one step at ``now`` (monotonic seconds)."""
        self.now = now
        self._effects = []

    def take_effects(self) -> list[Effect]:
        """The effects of the step in hand, in order."""
        return self._effects

    def emit(self, effect: Effect) -> None:
        """Append one effect."""
        self._effects.append(effect)

    def note(
        self,
        kind: NoteKind,
        child: Child | None = None,
        reason: ExitReason | None = None,
        **data: str | int | float | bool,
    ) -> None:
        """Append one line for the trail."""
        child_id, incarnation = (child.id, child.incarnation) if child is not None else ("", 0)
        self._effects.append(Note(kind, child_id, incarnation, reason, tuple(data.items())))

    def set_timer(self, at: float) -> int:
        """Ask for a timer and return its token (never 0)."""
        token = self._next_token
        self._next_token += 1
        self.emit(SetTimer(token, at))
        return token

    def cancel_timer(self, token: int) -> None:
        """Forget a timer; 0 is none."""
        if token:
            self.emit(CancelTimer(token))

    def end(self, reason: ExitReason) -> None:
        """Say goodbye: refuse the orders nobody will carry out, then exit. Nothing is emitted after it."""
        self.refuse_orders()
        self.ended = True
        self.emit(Exit(reason))

    def refuse_orders(self) -> None:
        """Answer queued orders as OTP answers the caller of a supervisor that is gone."""
        for order in self.mailbox.drain_orders():
            self.emit(Reply(order.ref, "noproc", order.id))

    # ------------------------------------------------------------ children

    def set_state(self, child: Child, state: ChildState) -> None:
        """Change a child's state."""
        child.state = state
        self.dirty.add(child.id)

    def hold(self, child: Child, why: str) -> None:
        """The child has no process, and gets none before a person has agreed."""
        self.set_state(child, ChildState.HELD)
        self.note(NoteKind.CHILD_HELD, child, why=why)

    def add_child(self, child: Child) -> None:
        """Let a new child join at the end of the start order."""
        self.children[child.id] = child

    def forget(self, child: Child) -> None:
        """Remove the child and its spec."""
        if child.state is ChildState.HELD and not self.closing:
            self.note(NoteKind.HOLD_REJECTED, child, by="group_restart")  # temporary: not started again
        self.cancel_backoff(child)
        self.reap_orphans(child)
        self.floor = max(self.floor, child.incarnation)
        self.children.pop(child.id, None)
        self.dirty.add(child.id)

    def drop(self, child: Child) -> None:
        """OTP's del_child: a temporary or dynamic child goes with its spec, another stays without a process."""
        self.reap_orphans(child)
        self.set_state(child, ChildState.UNDEFINED)
        child.wanted = False
        child.waits_for = ""
        if child.spec.restart is Restart.TEMPORARY or self.is_simple:
            self.forget(child)

    def reap_orphans(self, child: Child) -> None:
        """Nobody will adopt the children of this crashed supervisor any more: have them ended."""
        if child.orphans:
            child.orphans = False
            self.emit(ReapSubtree(child.id))

    def cancel_backoff(self, child: Child) -> None:
        """The child no longer waits for its restart."""
        if child.timer:
            self.backoffs.pop(child.timer, None)
            self.cancel_timer(child.timer)
            child.timer = 0
        child.next_at = None

    def new_dynamic_id(self) -> str:
        """The next id of a dynamic child, ``<template>.<n>``; no child ever had it."""
        assert self.template is not None
        name = f"{self.template.id}.{self.next_dynamic}"
        self.next_dynamic += 1
        return name

    def reserve_dynamic_id(self, child_id: str) -> None:
        """A child was given its id by somebody else: ``new_dynamic_id`` will not give it again."""
        assert self.template is not None
        number = child_id.removeprefix(f"{self.template.id}.")
        if number != child_id and number.isdecimal():
            self.next_dynamic = max(self.next_dynamic, int(number) + 1)
