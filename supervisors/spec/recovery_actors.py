"""Recovery held against the actors' classes: what a class without ``apply``, ``snapshot`` or ``restore`` cannot do."""

from collections.abc import Iterator, Mapping

from supervisors.recovery.policy import StandbyKind
from supervisors.spec import codes
from supervisors.spec.findings import Loc, Problem, did_you_mean
from supervisors.spec.imports import ActorClass, ActorKind
from supervisors.spec.origins import Origins
from supervisors.spec.resolve import ResolvedWorker
from supervisors.spec.topology import Topology


def class_problems(topology: Topology, classes: Mapping[Loc, tuple[ResolvedWorker, ActorClass]]) -> list[Problem]:
    """What the classes say of the recovery of their workers.

    Args:
        topology: all of it.
        classes: worker and class by place; only those that could be imported.
    """
    origins = Origins(topology)
    by_path: dict[str, ActorClass] = {worker.path: actor for worker, actor in classes.values()}
    problems: list[Problem] = []
    for worker, actor in classes.values():
        problems += _state(origins, worker, actor)
        problems += _methods(origins, worker, by_path)
    return problems


def _state(origins: Origins, worker: ResolvedWorker, actor: ActorClass) -> Iterator[Problem]:
    recovery = worker.settings.recovery
    if recovery is None:
        return
    name = actor.cls.__qualname__
    applies = actor.kind is ActorKind.ACTOR and _has(actor.cls, "apply")
    if recovery.standbys and recovery.standby is StandbyKind.JOURNAL and not applies:
        loc = origins.place(worker, "recovery", "standby")
        what = "has no apply" if actor.kind is ActorKind.ACTOR else "is no Actor"
        message = f"standby: journal, but {name} {what}: its standby could not follow"
        fix = "add apply, snapshot and restore to the actor, or set standby: live"
        yield Problem(codes.STANDBY_NEEDS_APPLY, loc, message, fix, worker.path)
    elif actor.kind is not ActorKind.ACTOR:
        loc = origins.place(worker, "recovery")
        message = f"{name} is no Actor: it journals nothing, and each recovery is a plain restart"
        if recovery.standbys:
            message = f"{name} is no Actor: it has no context, so a standby of it acts as soon as it is made"
        fix = "make it an Actor with apply, snapshot and restore, or leave recovery out (null)"
        yield Problem(codes.NOTHING_JOURNALED, loc, message, fix, worker.path, on_key=True)
    elif applies and not (_has(actor.cls, "snapshot") and _has(actor.cls, "restore")):
        lacks = " and no ".join(method for method in ("snapshot", "restore") if not _has(actor.cls, method))
        message = f"{name} has apply but no {lacks}: it is never warm, each cold start replays its whole journal"
        fix = f"add {lacks.replace(' and no ', ' and ')} to the actor"
        yield Problem(codes.COLD_ONLY, (*worker.loc, "actor"), message, fix, worker.path)


def _methods(origins: Origins, worker: ResolvedWorker, by_path: Mapping[str, ActorClass]) -> Iterator[Problem]:
    recovery = worker.settings.recovery
    for index, step in enumerate(recovery.checks if recovery is not None else ()):
        checker = by_path.get(step.worker)
        if checker is None or _has(checker.cls, step.method):
            continue
        known = [name for name in dir(checker.cls) if not name.startswith("_") and _has(checker.cls, name)]
        loc = origins.place(worker, "recovery", "validate", index, "method")
        message = f"{checker.cls.__qualname__} at {step.worker} has no method {step.method!r}"
        yield Problem(codes.STEP_METHOD, loc, message, did_you_mean(step.method, known), worker.path)


def _has(cls: type, method: str) -> bool:
    # as the host looks it up: on the class, by name
    found = getattr(cls, method, None)
    return callable(found) and not isinstance(found, type)
