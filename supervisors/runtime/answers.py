"""What a supervisor answers to questions and orders over the plane."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.errors import RayvisorError
from supervisors.runtime import reloading, reporting
from supervisors.runtime.places import place_of
from supervisors.signals.client import Answer, PlaneClient
from supervisors.signals.messages import AskStatus, Message, Order, Ordered, Resolve, Resolved, Status
from supervisors.trail.events import EventKind
from supervisors.trail.status import ChildStatus, PlaneStatus, SupervisorStatus
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import AdminCalled, Call, Reply

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

_CALLS = {
    call.value: call
    for call in (
        Call.START_CHILD,
        Call.TERMINATE_CHILD,
        Call.RESTART_CHILD,
        Call.DELETE_CHILD,
        Call.WHICH_CHILDREN,
        Call.COUNT_CHILDREN,
    )
}


#: orders about a held recovery
APPROVE = "approve"
REJECT = "reject"


class HoldAnswer(msgspec.Struct, frozen=True):
    """What an operator says: who, why, and for an approval the rung (empty: the one proposed)."""

    who: str = ""
    why: str = ""
    rung: str = ""


class Answers:
    """The part of a supervisor that talks with people and programs.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._serial = 0
        self._client = PlaneClient(shell.loop)

    def asked(self, message: AskStatus | Resolve | Order, answer: Callable[[Message], None]) -> None:
        """Answer one question; an order is answered when it has been carried out."""
        match message:
            case AskStatus(ref, path):
                if path == self._shell.path:
                    answer(Status(ref, msgspec.json.encode(self.status())))
                else:
                    self._pass_on(ref, path, answer)
            case Resolve(ref, path):
                answer(self._resolve(ref, path))
            case Order():
                self._order(message, answer)

    def _pass_on(self, ref: int, path: str, answer: Callable[[Message], None]) -> None:
        """A child asks about another supervisor: ask that one."""
        host = place_of(self._shell.store, path)[1]
        if host is None:
            answer(Status(ref, b""))
            return

        def answered(status: Answer | None) -> None:
            answer(Status(ref, status.body if isinstance(status, Status) else b""))

        self._client.ask_status(host.endpoint, path, 1.0, answered)

    def _resolve(self, ref: int, path: str) -> Resolved:
        place, host = place_of(self._shell.store, path, here=False)
        if host is None:
            return Resolved(ref, path, place.state)
        return Resolved(
            ref,
            path,
            place.state,
            place.pub,
            place.actor,
            place.incarnation,
            place.epoch,
            host.endpoint,
            place.standbys,
        )

    def _order(self, order: Order, answer: Callable[[Message], None]) -> None:
        shell = self._shell
        if order.call == reloading.APPLY:
            self._serial += 1
            reloading.take(shell, order, f"order-{self._serial}", answer)
            return
        if order.call in (APPROVE, REJECT):
            self._answer_hold(order, answer)
            return
        call = _CALLS.get(order.call)
        if call is None:
            answer(Ordered(order.ref, "unknown_order", order.id, detail=f"one of {', '.join(_CALLS)}"))
            return
        if call is Call.START_CHILD and shell.part.template is None:
            answer(Ordered(order.ref, "static_supervisor", order.id, detail="its children stand in the topology"))
            return
        if call is Call.START_CHILD:
            try:
                shell.hosting.worker_spec(order.id or "check", order.args)
            except RayvisorError as error:
                answer(Ordered(order.ref, "bad_arguments", order.id, detail=str(error)))
                return
        self._serial += 1

        def replied(reply: Reply) -> None:
            result = reply.error or "ok"
            shell.write(
                EventKind.ADMIN,
                reply.id,
                reply.incarnation,
                data={"call": order.call, "result": result, "who": order.who},
            )
            answer(Ordered(order.ref, reply.error, reply.id, reply.incarnation, _detail(reply)))

        shell.call(AdminCalled(f"order-{self._serial}", call, order.id, args=order.args), replied)

    def _answer_hold(self, order: Order, answer: Callable[[Message], None]) -> None:
        """A person answers a held recovery (REC-2)."""
        try:
            words = msgspec.json.decode(order.args or b"{}", type=HoldAnswer)
            progress = self._shell.recovering.answer(
                order.id, words.who or order.who, words.why, words.rung, approve=order.call == APPROVE
            )
        except msgspec.MsgspecError as error:
            answer(Ordered(order.ref, "bad_arguments", order.id, detail=str(error)))
        except RayvisorError as error:
            answer(Ordered(order.ref, "refused", order.id, detail=str(error)))
        else:
            answer(Ordered(order.ref, "", order.id, detail=reporting.words(progress)))

    # ------------------------------------------------------------ status

    def status(self) -> SupervisorStatus:
        """This supervisor and its children now."""
        shell = self._shell
        machine, now = shell.machine, shell.loop.now()
        state = "gave_up" if machine.ended else "running" if machine.booted else "starting"
        return SupervisorStatus(
            path=shell.path,
            pid=os.getpid(),
            incarnation=shell.incarnation,
            strategy=machine.flags.strategy.value,
            state=state,
            restarts_in_window=machine.window.count(now),
            intensity=machine.flags.intensity,
            period=float(machine.flags.period),
            children=[self._child(child, now) for child in machine.children.values()],
            plane=PlaneStatus(
                messages=shell.detection.messages,
                malformed=shell.detection.malformed,
                cpu_seconds=shell.detection.cpu_seconds,
                lag=shell.loop.lag,
            ),
            spares=shell.spares.ready if shell.spares is not None else 0,
        )

    def _child(self, child: Child, now: float) -> ChildStatus:
        shell = self._shell
        peer = shell.peers.get(child.id)
        host = peer.host if peer is not None and not peer.gone else None
        verdict = peer.verdict if peer is not None and host is not None else None
        return ChildStatus(
            path=shell.child_path(child.id),
            id=child.id,
            type=child.spec.type.value,
            state="dead" if child.state is ChildState.RUNNING and host is None else _state(child),
            pid=host.pid if host is not None else 0,
            node=host.node[:8] if host is not None else "",
            incarnation=child.incarnation,
            epoch=peer.epoch if peer is not None else 0,
            restarts=child.restarts,
            beat_age=verdict.beat_age(now) if verdict is not None else None,
            verdict=shell.detection.verdict_of(peer) if peer is not None and host is not None else "",
            last_reason=shell.last_reasons.get(child.id, ""),
            next_at=child.next_at,
            host=host.actor if host is not None else "",
            metrics=dict(peer.metrics) if peer is not None else {},
            since=child.up_since,
            standbys=shell.standbys.status(child.id),
            recovery=shell.recovering.status(child.id),
        )


def _state(child: Child) -> str:
    if child.state is ChildState.RUNNING:
        return "ready"
    if child.state is ChildState.UNDEFINED:
        return "stopped" if child.incarnation else "starting"
    return child.state.value


def _detail(reply: Reply) -> str:
    if reply.reason is not None:
        return str(reply.reason)
    if reply.counts is not None:
        counts = reply.counts
        return f"specs {counts.specs} active {counts.active} supervisors {counts.supervisors} workers {counts.workers}"
    return " ".join(f"{info.id}:{info.state}" for info in reply.children)
