"""What differs between two topologies, and what each difference takes in a system that runs (TOP-5). Pure."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterator
from enum import StrEnum
from math import isinf

import msgspec

from supervisors.core.durations import format_duration
from supervisors.core.paths import ROOT, TreePath, id_of, join, parent_of
from supervisors.spec.compiled import CompiledTopology, SupervisorPart, WorkerSpec
from supervisors.tree.model import ChildSpec, ChildType, Strategy


class Takes(StrEnum):
    """What a difference needs to come into force, least first."""

    NOW = "now"  #: nothing: it holds at once and no process is touched
    LATER = "later"  #: it holds from the next start of what it is about
    PROCESS = "process"  #: the child is stopped and started: a new process
    REBUILD = "rebuild"  #: the child and all below it are made anew
    RESTART = "restart"  #: the whole system must be started anew: refused


_RANK = {takes: rank for rank, takes in enumerate(Takes)}
#: fields of ``RecoverySpec`` that only the supervisor reads; all others concern what the process itself keeps
_LIVE_RECOVERY = frozenset({"ladder", "rules", "rto", "rung_timeout", "approval", "ramp", "validate", "keep_failed"})
#: settings of a supervisor that are read when it, or a child of its, is started
_AT_START = frozenset({"heartbeat", "placement", "template", "initial"})
#: settings of the whole system that may change while it runs; bounds of faults are read at each injection, but
#: whether there may be any each process was told when it started, and those declared begin with the system
_LIVE_SYSTEM = frozenset({"spares", "faults.max_targets", "faults.longest"})
_DURATIONS = frozenset(
    {
        "shutdown",
        "start_timeout",
        "ready_timeout",
        "interval",
        "hang_after",
        "base",
        "cap",
        "jitter",
        "reset_after",
        "longest",
    }
)
#: stands for a key that one side does not have
ABSENT = "(absent)"


class Difference(msgspec.Struct, frozen=True):
    """One key that differs. ``old`` and ``new`` are plain values; ``key`` is written as in the file, with dots."""

    key: str
    old: object
    new: object
    takes: Takes

    def __str__(self) -> str:
        return f"{self.key}: {_text(self.key, self.old)} -> {_text(self.key, self.new)}"


class Entry(msgspec.Struct, frozen=True):
    """A child that is added or removed; ``kind`` is worker or supervisor."""

    path: str
    kind: str


class Moved(msgspec.Struct, frozen=True):
    """The same child under another supervisor: stopped there and started here, since no process changes its parent."""

    source: str
    target: str
    kind: str


class Changed(msgspec.Struct, frozen=True):
    """A child of the same path with other settings."""

    path: str
    kind: str
    differences: tuple[Difference, ...]

    @property
    def takes(self) -> Takes:
        """The most any of its differences needs."""
        return max((d.takes for d in self.differences), key=_RANK.__getitem__)


class Changes(msgspec.Struct, frozen=True):
    """All that differs, children in start order.

    Attributes:
        old, new: what was compared.
        added, removed: without those that moved.
        reordered: supervisors whose children start in another order.
        system: settings of the whole system.
        unchanged: children (supervisors too, without the root) that keep their process and all their settings.
    """

    old: CompiledTopology
    new: CompiledTopology
    added: tuple[Entry, ...] = ()
    removed: tuple[Entry, ...] = ()
    changed: tuple[Changed, ...] = ()
    moved: tuple[Moved, ...] = ()
    reordered: tuple[str, ...] = ()
    system: tuple[Difference, ...] = ()
    unchanged: int = 0

    @property
    def empty(self) -> bool:
        """True when nothing differs."""
        return not (self.added or self.removed or self.changed or self.moved or self.reordered or self.system)

    @property
    def refused(self) -> tuple[Difference, ...]:
        """What a running system cannot take."""
        below = tuple(d for c in self.changed for d in c.differences)
        return tuple(d for d in (*self.system, *below) if d.takes is Takes.RESTART)


class Node(msgspec.Struct, frozen=True):
    """One child of a topology: ``worker`` or ``part`` is set, by its kind."""

    path: TreePath
    child: ChildSpec
    worker: WorkerSpec | None = None
    part: SupervisorPart | None = None

    @property
    def kind(self) -> str:
        """Worker or supervisor."""
        return self.child.type.value


def nodes(topology: CompiledTopology) -> dict[str, Node]:
    """All children by path in start order, the root first; dynamic children are none."""
    return {node.path: node for node in _walk(topology, Node(ROOT, topology.root, part=topology.supervisors[ROOT]))}


def is_simple(part: SupervisorPart) -> bool:
    """True for a simple_one_for_one supervisor."""
    return part.spec.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE


def kept_paths(old: dict[str, Node], new: dict[str, Node]) -> set[str]:
    """Paths that go on as what they are: in both, of one kind, below supervisors that go on as well."""
    kept: set[str] = set()
    for path, node in new.items():
        before = old.get(path)
        if before is None or (path != ROOT and parent_of(node.path) not in kept):
            continue
        if path == ROOT or not _is_rebuilt(before, node):
            kept.add(path)
    return kept


def compare(old: CompiledTopology, new: CompiledTopology) -> Changes:
    """What has to happen to make ``new`` of a system that runs ``old``."""
    before, after = nodes(old), nodes(new)
    kept = kept_paths(before, after)
    changed: list[Changed] = []
    for path, node in after.items():
        if path in before and (differences := tuple(_differences(before[path], node))):
            changed.append(Changed(path, node.kind, differences))
    gone = [node for path, node in before.items() if path not in after]
    come = [node for path, node in after.items() if path not in before]
    moved = _moved(old, gone, new, come)
    sources, targets = {m.source for m in moved}, {m.target for m in moved}
    return Changes(
        old=old,
        new=new,
        added=tuple(Entry(n.path, n.kind) for n in come if n.path not in targets),
        removed=tuple(Entry(n.path, n.kind) for n in gone if n.path not in sources),
        changed=tuple(changed),
        moved=moved,
        reordered=tuple(path for path in after if path in kept and _is_reordered(before[path], after[path])),
        system=tuple(_system(old, new)),
        unchanged=len(kept - {change.path for change in changed} - {ROOT}),
    )


def needs_process(old: WorkerSpec, new: WorkerSpec) -> bool:
    """True when a worker must be stopped and started to become ``new``."""
    return old != new and any(
        _worker_takes(key) is Takes.PROCESS for key, _, _ in _unequal("", _own_settings(old), _own_settings(new))
    )


# ---------------------------------------------------------------- reading


def _walk(topology: CompiledTopology, node: Node) -> Iterator[Node]:
    yield node
    part = node.part
    if part is None or is_simple(part):
        return
    for child in part.spec.children:
        path = join(node.path, child.id)
        if child.type is ChildType.SUPERVISOR:
            yield from _walk(topology, Node(path, child, part=topology.supervisors[path]))
        else:
            yield Node(path, child, worker=part.workers[child.id])


def _is_rebuilt(old: Node, new: Node) -> bool:
    if old.part is None or new.part is None:
        return old.kind != new.kind
    return is_simple(old.part) != is_simple(new.part)


def _is_reordered(old: Node, new: Node) -> bool:
    if old.part is None or new.part is None:
        return False
    first = [child.id for child in old.part.spec.children]
    second = [child.id for child in new.part.spec.children]
    both = set(first) & set(second)
    return [i for i in first if i in both] != [i for i in second if i in both]


# ---------------------------------------------------------------- differences


def _differences(old: Node, new: Node) -> Iterator[Difference]:
    if old.kind != new.kind:
        yield Difference("kind", old.kind, new.kind, Takes.REBUILD)
        return
    for key, one, other in _unequal("", _settings(old), _settings(new)):
        yield Difference(key, one, other, _takes(key, old, new))


def _takes(key: str, old: Node, new: Node) -> Takes:
    if new.part is None:
        return _worker_takes(key)
    first = key.partition(".")[0]
    if first == "strategy" and _is_rebuilt(old, new):
        return Takes.RESTART if new.path == ROOT else Takes.REBUILD
    # nobody but the launcher reads the root's settings as a child, when it starts
    if first in _AT_START or (new.path == ROOT and first not in type(new.part.spec.flags).__slots__):
        return Takes.LATER
    return Takes.NOW


def _worker_takes(key: str) -> Takes:
    first, _, rest = key.partition(".")
    if first in ChildSpec.__slots__ or (first == "recovery" and rest.partition(".")[0] in _LIVE_RECOVERY):
        return Takes.NOW
    return Takes.PROCESS


def _settings(node: Node) -> dict[str, object]:
    """Settings of a child under the names they have in a topology file."""
    if node.worker is not None:
        return _worker_settings(node.worker, node.child)
    assert node.part is not None
    part = node.part
    found = _child_settings(node.child)
    found["on_supervisor_crash"] = found.pop("on_crash")
    found |= _plain(part.spec.flags)
    found |= {"heartbeat": msgspec.to_builtins(part.heartbeat), "placement": msgspec.to_builtins(part.placement)}
    if part.template is not None:
        found["template"] = _worker_settings(part.template, part.spec.children[0])
        found["initial"] = [json.loads(overrides) for overrides in part.initial]
    return found


def _worker_settings(worker: WorkerSpec, child: ChildSpec) -> dict[str, object]:
    return _own_settings(worker) | _child_settings(child)


def _own_settings(worker: WorkerSpec) -> dict[str, object]:
    found = _plain(worker)
    del found["path"]
    found["config"] = json.loads(worker.config)
    return found


def _child_settings(child: ChildSpec) -> dict[str, object]:
    found = _plain(child)
    del found["id"], found["type"]
    return found


def _plain(value: object) -> dict[str, object]:
    return dict(msgspec.convert(msgspec.to_builtins(value), dict[str, object]))


def _system(old: CompiledTopology, new: CompiledTopology) -> Iterator[Difference]:
    for key, one, other in _unequal("", _plain(old.system), _plain(new.system)):
        yield Difference(key, one, other, Takes.NOW if key in _LIVE_SYSTEM else Takes.RESTART)


def _unequal(key: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for part in dict.fromkeys((*old, *new)):
            below = f"{key}.{part}" if key else str(part)
            yield from _unequal(below, old.get(part, ABSENT), new.get(part, ABSENT))
    elif old != new or type(old) is not type(new):  # True == 1 to Python, but not to an actor's config
        yield key, old, new


def _text(key: str, value: object) -> str:
    if value == ABSENT:
        return ABSENT
    own = "config" not in key.split(".")
    if own and isinstance(value, float) and (isinf(value) or key.rpartition(".")[2] in _DURATIONS):
        return format_duration(value)
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- moves


def _moved(old: CompiledTopology, gone: list[Node], new: CompiledTopology, come: list[Node]) -> tuple[Moved, ...]:
    """Children that are gone here and come there under the same id as the same thing; no guess among several."""
    left, right = _by_likeness(old, gone), _by_likeness(new, come)
    pairs = [
        Moved(left[likeness][0].path, found[0].path, found[0].kind)
        for likeness, found in right.items()
        if len(found) == 1 and len(left.get(likeness, ())) == 1
    ]
    order = {node.path: place for place, node in enumerate(come)}
    return tuple(sorted(pairs, key=lambda pair: order[TreePath(pair.target)]))


def _by_likeness(topology: CompiledTopology, found: list[Node]) -> dict[Hashable, list[Node]]:
    alike: defaultdict[Hashable, list[Node]] = defaultdict(list)
    for node in found:
        alike[_likeness(topology, node)].append(node)
    return dict(alike)


def _likeness(topology: CompiledTopology, node: Node) -> Hashable:
    """What makes a child the same wherever it stands: id, actor and config; for a supervisor those of all below."""
    if node.worker is not None:
        return id_of(node.path), node.worker.actor, node.worker.config
    assert node.part is not None
    template = node.part.template
    below = tuple(_likeness(topology, child) for child in list(_walk(topology, node))[1:])
    return id_of(node.path), below, None if template is None else (template.actor, template.config)
