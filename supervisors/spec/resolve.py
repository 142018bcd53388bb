"""Resolve settings: inline over policy over defaults over built-in, for each place of the tree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from supervisors.core import paths
from supervisors.core.paths import ROOT, TreePath
from supervisors.spec import codes
from supervisors.spec.findings import Loc, Problem, did_you_mean
from supervisors.spec.settings import ChildSettings, Policy, SupervisorOptions, SupervisorSettings, WorkerSettings
from supervisors.spec.topology import Root, Supervisor, Template, Topology, Worker
from supervisors.tree.model import Strategy

_WORKER_KEYS = frozenset(WorkerSettings.model_fields)
_SUPERVISOR_KEYS = frozenset(SupervisorSettings.model_fields)


@dataclass(frozen=True, slots=True)
class ResolvedWorker:
    """A worker or a template with the settings in effect."""

    path: TreePath
    loc: Loc
    node: Worker | Template
    settings: WorkerSettings


@dataclass(frozen=True, slots=True)
class ResolvedSupervisor:
    """A supervisor with the settings in effect and all below it.

    Attributes:
        options: flags in effect.
        settings: settings as a child; for the root, its own times and built-in values.
        template: for simple_one_for_one; its path is the supervisor's.
    """

    path: TreePath
    loc: Loc
    node: Supervisor | Root
    options: SupervisorOptions
    settings: ChildSettings
    children: tuple["ResolvedWorker | ResolvedSupervisor", ...] = ()
    template: ResolvedWorker | None = None

    @property
    def is_simple(self) -> bool:
        """True for simple_one_for_one."""
        return self.options.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def workers(self) -> tuple[ResolvedWorker, ...]:
        """Direct workers, the template included."""
        own = tuple(c for c in self.children if isinstance(c, ResolvedWorker))
        return own if self.template is None else (*own, self.template)

    def walk(self) -> Iterator["ResolvedSupervisor"]:
        """Itself and all supervisors below it, parents first."""
        yield self
        for child in self.children:
            if isinstance(child, ResolvedSupervisor):
                yield from child.walk()


@dataclass(frozen=True, slots=True)
class Resolution:
    """A resolved tree, and what was wrong with the policies it names."""

    root: ResolvedSupervisor
    problems: tuple[Problem, ...] = ()


def resolve(topology: Topology) -> Resolution:
    """Resolve every setting. A policy that is unknown or goes in a circle is reported and left out."""
    resolver = _Resolver(topology)
    root = resolver.root(topology.tree)
    return Resolution(root, (*resolver.policy_problems, *resolver.problems))


Written = dict[str, object]
_S = TypeVar("_S", bound=ChildSettings)


@dataclass(slots=True)
class _Resolver:
    topology: Topology
    problems: list[Problem] = field(default_factory=list)
    policy_problems: list[Problem] = field(default_factory=list)
    _policies: dict[str, Written] = field(default_factory=dict)
    _child_defaults: Written = field(default_factory=dict)
    _supervisor_defaults: Written = field(default_factory=dict)
    #: settings of children that write none of their own, by policy: most children of a large tree
    _plain: dict[tuple[type[ChildSettings], str | None], ChildSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._child_defaults = _written(self.topology.defaults.child, _WORKER_KEYS)
        self._supervisor_defaults = _written(self.topology.defaults.supervisor, _SUPERVISOR_KEYS)
        for name in self.topology.policies:
            self._policies[name] = self._policy(name)

    def _policy(self, name: str) -> Written:
        chain: list[Policy] = []
        seen = [name]
        while True:
            policy = self.topology.policies[seen[-1]]
            chain.append(policy)
            parent = policy.extends
            if parent is None:
                break
            loc: Loc = ("policies", seen[-1], "extends")
            if parent in seen:
                # told at each policy of the circle, not at those that only lead into it
                if parent == name:
                    circle = " -> ".join([*seen, parent])
                    self.policy_problems.append(
                        Problem(
                            codes.POLICY_CYCLE,
                            ("policies", name, "extends"),
                            f"policies extend each other in a circle: {circle}",
                            "let one of them begin from defaults",
                        )
                    )
                break
            if parent not in self.topology.policies:
                if len(seen) == 1:
                    self.policy_problems.append(self._unknown(parent, loc, ""))
                break
            seen.append(parent)
        merged: Written = {}
        for policy in reversed(chain):
            merged = _merge(merged, _written(policy, _WORKER_KEYS))
        return merged

    def _unknown(self, name: str, loc: Loc, path: str) -> Problem:
        return Problem(
            codes.UNKNOWN_POLICY,
            loc,
            f"policy {name!r} is not declared",
            did_you_mean(name, self.topology.policies),
            path,
        )

    def root(self, node: Root) -> ResolvedSupervisor:
        # the root has no child settings of its own: nothing restarts it by rule
        settings = ChildSettings(shutdown=node.shutdown, start_timeout=node.start_timeout, heartbeat=node.heartbeat)
        return self._branch(ROOT, ("tree",), node, node, settings)

    def _supervisor(self, path: TreePath, loc: Loc, node: Supervisor) -> ResolvedSupervisor:
        settings = self._settings(SupervisorSettings, path, loc, node.policy, _written(node, _SUPERVISOR_KEYS))
        return self._branch(path, loc, node, settings, settings)

    def _branch(
        self, path: TreePath, loc: Loc, node: Supervisor | Root, options: SupervisorOptions, settings: ChildSettings
    ) -> ResolvedSupervisor:
        children: list[ResolvedWorker | ResolvedSupervisor] = []
        for index, child in enumerate(node.children):
            child_loc = (*loc, "children", index)
            child_path = paths.join(path, child.id)
            if isinstance(child, Supervisor):
                children.append(self._supervisor(child_path, child_loc, child))
            else:
                children.append(self._worker(child_path, child_loc, child))
        template = None if node.template is None else self._worker(path, (*loc, "template"), node.template)
        return ResolvedSupervisor(path, loc, node, options, settings, tuple(children), template)

    def _worker(self, path: TreePath, loc: Loc, node: Worker | Template) -> ResolvedWorker:
        settings = self._settings(WorkerSettings, path, loc, node.policy, _written(node, _WORKER_KEYS))
        return ResolvedWorker(path, loc, node, settings)

    def _settings(self, kind: type[_S], path: TreePath, loc: Loc, policy: str | None, written: Written) -> _S:
        if policy is not None and policy not in self._policies:
            self.problems.append(self._unknown(policy, (*loc, "policy"), path))
            policy = None
        known = self._plain.get((kind, policy))
        if written or not isinstance(known, kind):
            above = self._policies.get(policy or "", {})
            base = self._child_defaults
            if issubclass(kind, SupervisorSettings):
                base = self._supervisor_defaults
                # a policy may serve workers and supervisors alike; recovery is for workers
                above = {key: value for key, value in above.items() if key in kind.model_fields}
            known = kind.model_validate(_merge(_merge(base, above), written))
        if not written:
            self._plain[(kind, policy)] = known
        return known


def _written(model: ChildSettings, keys: frozenset[str]) -> Written:
    """The settings that were written down, nested ones as dicts of what was written in them."""
    return model.model_dump(exclude_unset=True, by_alias=True, include=set(keys & model.model_fields_set))


def _merge(base: Written, over: Written) -> Written:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _over(merged.get(key), value)
    return merged


def _over(old: object, value: object) -> object:
    # heartbeat, backoff and recovery merge key by key, at each level; lists and everything else are replaced
    if isinstance(old, dict) and isinstance(value, dict):
        return _merge(old, value)
    return value
