"""The way from one topology to another in a system that runs, step by step (TOP-5). Pure.

Each step leaves a whole topology behind, ``advance`` says which: so a system that was changed half way runs something
that can be named, compared and taken further.
"""

import hashlib
from enum import StrEnum

import msgspec

from supervisors.core.paths import ROOT, TreePath, id_of, is_below, parent_of
from supervisors.spec.changes import Changes, is_simple, kept_paths, needs_process, nodes
from supervisors.spec.compiled import CompiledTopology, SupervisorPart, encode
from supervisors.tree.model import ChildType, SupervisorSpec


class StepKind(StrEnum):
    """What a step does."""

    REMOVE = "remove"  #: stop a child, and all below it, and forget it
    SYSTEM = "system"  #: settings of the system and of the root as a child
    ADJUST = "adjust"  #: a supervisor's own settings, its children's supervision and order: no process is touched
    REPLACE = "replace"  #: stop a worker and start it with its new settings
    ADD = "add"  #: start a child, and all below it


class Step(msgspec.Struct, frozen=True):
    """One step. ``why`` is for people."""

    kind: StepKind
    path: str
    why: str = ""

    @property
    def supervisor(self) -> str:
        """Who carries it out."""
        return self.path if self.kind in (StepKind.ADJUST, StepKind.SYSTEM) else parent_of(TreePath(self.path))

    def __str__(self) -> str:
        return f"{self.kind} {self.path}" + (f" ({self.why})" if self.why else "")


def plan(changes: Changes) -> tuple[Step, ...]:
    """The steps, in order.

    Removals in reverse start order, so that what goes has nobody left who leans on it; then settings that touch no
    process; then workers that need a new process, and last what is added, both in start order. A child that moved is
    removed there before it is added here: it never runs twice.
    """
    old, new = nodes(changes.old), nodes(changes.new)
    kept = kept_paths(old, new)
    to = {move.source: move.target for move in changes.moved}
    back = {move.target: move.source for move in changes.moved}
    keys = {change.path: ", ".join(d.key for d in change.differences) for change in changes.changed}
    steps = [
        Step(StepKind.REMOVE, path, f"moves to {to[path]}" if path in to else keys.get(path, ""))
        for path in reversed(old)
        if path not in kept and parent_of(TreePath(path)) in kept
    ]
    there = changes.old
    for step in steps:
        there = _advance(there, step, changes.new)
    if (changes.old.system, changes.old.root) != (changes.new.system, changes.new.root):
        steps.append(Step(StepKind.SYSTEM, ROOT, ", ".join(d.key for d in changes.system)))
    for path in new:
        part, target = there.supervisors.get(path), changes.new.supervisors.get(path)
        if path in kept and part is not None and target is not None and _adjusted(part, target) != part:
            steps.append(Step(StepKind.ADJUST, path))
    for path, node in new.items():
        worker = old[path].worker if path in kept else None
        if worker is not None and node.worker is not None and needs_process(worker, node.worker):
            steps.append(Step(StepKind.REPLACE, path, keys[path]))
    for path in new:
        if path not in kept and parent_of(TreePath(path)) in kept:
            steps.append(Step(StepKind.ADD, path, f"moves from {back[path]}" if path in back else keys.get(path, "")))
    return tuple(steps)


def advance(topology: CompiledTopology, step: Step, new: CompiledTopology) -> CompiledTopology:
    """What runs after ``step`` of the way to ``new``; its digest is that of its content."""
    return sealed(_advance(topology, step, new))


def _advance(topology: CompiledTopology, step: Step, new: CompiledTopology) -> CompiledTopology:
    parts = dict(topology.supervisors)
    above, name = step.supervisor, id_of(TreePath(step.path))
    part = parts[above]
    match step.kind:
        case StepKind.REMOVE:
            for path in subtree(topology, step.path):
                del parts[path]
            parts[above] = _with_children(part, set(_ids(part)) - {name}, part)
        case StepKind.SYSTEM:
            return msgspec.structs.replace(topology, system=new.system, root=new.root)
        case StepKind.ADJUST:
            parts[above] = _adjusted(part, new.supervisors[above])
        case StepKind.REPLACE:
            workers = part.workers | {name: new.supervisors[above].workers[name]}
            parts[above] = msgspec.structs.replace(part, workers=workers)
        case StepKind.ADD:
            parts |= {path: new.supervisors[path] for path in subtree(new, step.path)}
            parts[above] = _with_children(part, {*_ids(part), name}, new.supervisors[above])
    return msgspec.structs.replace(topology, supervisors=parts)


def sealed(topology: CompiledTopology) -> CompiledTopology:
    """The topology with the digest of its content, as the compiler gives it."""
    bare = msgspec.structs.replace(topology, digest="")
    return msgspec.structs.replace(bare, digest=hashlib.sha256(encode(bare)).hexdigest())


def subtree(topology: CompiledTopology, top: str) -> list[str]:
    """Paths of the supervisors at and below ``top``, parents before children; none for a worker."""
    return [p for p in topology.supervisors if p == top or is_below(TreePath(p), TreePath(top))]


def _ids(part: SupervisorPart) -> list[str]:
    return [child.id for child in part.spec.children]


def _with_children(part: SupervisorPart, ids: set[str], source: SupervisorPart) -> SupervisorPart:
    """``part`` with the children ``ids``, each as ``source`` has it, in its order; known workers stay as they are."""
    children = tuple(child for child in source.spec.children if child.id in ids)
    return msgspec.structs.replace(
        part,
        spec=SupervisorSpec(part.spec.flags, children),
        workers={
            child.id: part.workers.get(child.id) or source.workers[child.id]
            for child in children
            if child.type is ChildType.WORKER
        },
        supervisors=tuple(child.id for child in children if child.type is ChildType.SUPERVISOR),
    )


def _adjusted(part: SupervisorPart, target: SupervisorPart) -> SupervisorPart:
    """``part`` with all of ``target`` that touches no process: no child comes or goes, none is replaced."""
    if is_simple(target):
        return target
    mine = set(_ids(part))
    known = {
        child_id: worker
        for child_id, worker in part.workers.items()
        if child_id not in target.workers or needs_process(worker, target.workers[child_id])
    }
    return _with_children(msgspec.structs.replace(target, workers=known), mine, target)
