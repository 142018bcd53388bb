"""What a running supervisor does when it is told that its part of the topology changed (TOP-5).

Nothing is started or stopped by it: which children come and go is ordered one by one (``runtime.reload``), so that each
answer is known. What stands here holds between those orders: every child the machine knows has its spec in the part.
"""

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisors.core.errors import SpecError
from supervisors.signals.messages import Message, Order, Ordered
from supervisors.spec.compiled import SupervisorPart, decode, encode
from supervisors.trail.events import EventKind
from supervisors.tree.messages import AdminCalled, Call, Reply
from supervisors.tree.model import ChildSpec, check_specs

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: name of the order; its ``args`` is ``pack(part)``, its ``id`` a child that is to be known although it is new
APPLY = "apply"


def pack(part: SupervisorPart) -> str:
    """A part as the text of an order."""
    return base64.b64encode(encode(part)).decode()


def unpack(text: str) -> SupervisorPart:
    """Read what ``pack`` wrote.

    Raises:
        SpecError: it is something else.
    """
    try:
        return decode(base64.b64decode(text, validate=True), SupervisorPart)
    except binascii.Error as error:
        raise SpecError(f"not an encoded part: {error}", code=1112) from error


def take(shell: "SupervisorShell", order: Order, ref: str, answer: Callable[[Message], None]) -> None:
    """Go by a new part from now on: flags, specs and order of the children; no child is started or stopped.

    Args:
        shell: the supervisor.
        order: ``APPLY``.
        ref: of the order within the machine.
        answer: told when it holds, or why it does not; then all is as before.
    """
    try:
        part = unpack(order.args)
    except SpecError as error:
        answer(Ordered(order.ref, "bad_arguments", order.id, detail=error.message))
        return
    before = shell.part
    if refusal := _refusal(shell, part):
        answer(Ordered(order.ref, refusal, order.id))
        return
    # the goal state first: a successor that finds the new part and no word of a new child leaves that child alone
    shell.store.redeclare({shell.path: encode(part)})

    def replied(reply: Reply) -> None:
        if reply.error:
            shell.store.redeclare({shell.path: encode(before)})
        else:
            shell.part = part
        result = reply.error or "ok"
        shell.write(EventKind.ADMIN, data={"call": APPLY, "result": result, "who": order.who})
        answer(Ordered(order.ref, reply.error, order.id))

    specs = _specs(shell, part, order.id)
    shell.call(AdminCalled(ref, Call.CHANGE_SPECS, flags=part.spec.flags, specs=specs), replied)


def _refusal(shell: "SupervisorShell", part: SupervisorPart) -> str:
    """Why the machine would not have it, before anything is written down; empty when it would."""
    if part.path != shell.path:
        return f"wrong_supervisor: {part.path}"
    if shell.machine.ended:
        return "noproc"
    if (part.template is None) != (shell.part.template is None):
        return "bad_strategy_change"
    errors = check_specs(part.spec.flags, part.spec.children)
    return errors[0] if errors else ""


def _specs(shell: "SupervisorShell", part: SupervisorPart, expected: str) -> tuple[ChildSpec, ...]:
    """What the machine is told: not the children it has forgotten (temporary and ended, or deleted by hand)."""
    if part.template is not None:
        return part.spec.children
    known = shell.machine.children
    return tuple(child for child in part.spec.children if child.id in known or child.id == expected)
