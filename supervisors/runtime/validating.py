"""Carries out one validation step: asks the recovery worker named in the policy (REC-5)."""

import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import ray

from supervisors.recovery.policy import ValidationStep
from supervisors.runtime.places import place_of

if TYPE_CHECKING:
    from supervisors.runtime.boot import HostBoot
    from supervisors.runtime.store import GoalStore
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds between looks for a worker that is away
_LOOK_EVERY = 0.02


class Checked(msgspec.Struct, frozen=True):
    """What a step found, and how long it took (seconds)."""

    ok: bool
    why: str
    seconds: float


def submit(
    shell: "SupervisorShell", step: ValidationStep, path: str, failure: str, checked: Callable[[Checked], None]
) -> None:
    """Have a step carried out in a thread; ``checked`` is told in the plane's."""

    def run() -> None:
        found = check(shell.boot, shell.store, step, path, failure)
        shell.loop.call_soon(lambda: checked(found))

    shell.executor.submit(run)


def check(boot: "HostBoot", store: "GoalStore", step: ValidationStep, path: str, failure: str) -> Checked:
    """Blocks: never in the plane. Call ``step.method(path=..., failure=..., **args)`` of the worker at ``step.worker``.

    It answers true or false, or ``{"ok": bool, "why": str}``; raising is a failed check. The whole is bounded by
    ``step.timeout`` seconds.
    """
    began = time.monotonic()
    deadline = began + step.timeout
    try:
        ok, why = _ask(boot, store, step, path, failure, deadline)
    except (ray.exceptions.RayError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        ok, why = False, lines[-1].strip() if lines else type(error).__name__
    return Checked(ok, why, time.monotonic() - began)


def _ask(
    boot: "HostBoot", store: "GoalStore", step: ValidationStep, path: str, failure: str, deadline: float
) -> tuple[bool, str]:
    while True:
        place, _ = place_of(store, step.worker)
        if place.state == "running":
            break
        if place.state == "never" or time.monotonic() >= deadline:
            return False, f"{step.worker} does not run"
        time.sleep(_LOOK_EVERY)
    handle = ray.get_actor(place.actor, namespace=boot.namespace)
    arguments = msgspec.json.decode(step.args, type=dict[str, object]) | {"path": path, "failure": failure}
    ref = f"validate-{uuid.uuid4().hex}"
    answer = handle.invoke.remote((place.incarnation, ref, step.method, (), arguments))
    ready, _ = ray.wait([answer], timeout=max(0.001, deadline - time.monotonic()))
    if not ready:
        ray.cancel(answer)
        raise TimeoutError(f"{step.worker}.{step.method}: no answer within {step.timeout:g} s")
    return _read(ray.get(ready[0]))


def _read(found: object) -> tuple[bool, str]:
    if isinstance(found, bool):
        return found, ""
    if isinstance(found, dict) and isinstance(found.get("ok"), bool):
        return found["ok"], str(found.get("why", ""))
    raise ValueError(f"a check answers true, false or {{'ok': ..., 'why': ...}}, not {type(found).__name__}")
