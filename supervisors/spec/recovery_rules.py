"""Rules about ``recovery`` and ``budgets``: values that are valid but do not go together. All of them are errors."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisors.core.paths import TreePath, is_below, join
from supervisors.core.reasons import ExitKind
from supervisors.recovery.policy import LADDER, AckMode, Condition, Rung
from supervisors.spec import codes
from supervisors.spec.findings import Problem, did_you_mean
from supervisors.spec.origins import Origins
from supervisors.spec.recovery import RecoverySettings, RuleSettings
from supervisors.spec.recovery_compile import USES
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker
from supervisors.spec.topology import Topology
from supervisors.state.lease import check_timing
from supervisors.tree.model import Restart, Strategy

_RULE_FIELDS = ("max_lag", "max_age", "classes", "at_least", "within", "above", "below")


def recovery_errors(topology: Topology, resolution: Resolution) -> list[Problem]:
    """Every combination of recovery settings and budgets that will not be started."""
    problems: list[Problem] = []
    origins = Origins(topology)
    nodes = list(resolution.root.walk())
    tree = _Tree(
        workers={child.path for node in nodes for child in node.workers if child is not node.template},
        supervisors={node.path for node in nodes},
    )
    for node in nodes:
        problems += _budgets(node)
        positions: dict[str, int] = {child.path: index for index, child in enumerate(node.children)}
        for worker in node.workers:
            recovery = worker.settings.recovery
            if recovery is None:
                continue
            problems += _ladder(origins, worker, recovery)
            problems += _rules(origins, worker, recovery)
            problems += _standbys(origins, worker, recovery)
            problems += _lease(origins, worker, recovery)
            problems += _ramp(origins, worker, recovery)
            problems += _market(origins, worker, recovery)
            problems += _names(origins, worker, recovery)
            problems += _checkers(origins, tree, node, positions, worker, recovery)
    return problems


def _budgets(node: ResolvedSupervisor) -> Iterator[Problem]:
    taken: dict[ExitKind, int] = {}
    for index, budget in enumerate(node.options.budgets):
        for position, kind in enumerate(budget.kinds):
            if kind in taken:
                message = f"{kind} is counted by budget {taken[kind] + 1} of {node.path} already"
                loc = (*node.loc, "budgets", index, "kinds", position)
                yield Problem(codes.BUDGET_OVERLAP, loc, message, "name each kind of exit once", node.path)
            else:
                taken[kind] = index


def _ladder(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    def problem(message: str, fix: str, *index: int) -> Problem:
        loc = origins.place(worker, "recovery", "ladder", *index)
        return Problem(codes.LADDER_ORDER, loc, message, fix, worker.path)

    if not recovery.ladder:
        message = "an empty ladder: there is nothing to try"
        yield problem(message, "name one of hot, warm, cold; a rule {when: always, then: manual} asks a person")
    last = -1
    for index, rung in enumerate(recovery.ladder):
        step = LADDER.index(rung)
        if rung is Rung.MANUAL:
            yield problem("manual always ends the ladder: it is not listed", "remove it", index)
        elif rung in recovery.ladder[:index]:
            yield problem(f"{rung} stands twice on the ladder", "remove one of them", index)
        elif step < last:
            message = f"{rung} stands after {LADDER[last]}: a ladder goes from fast to sure"
            yield problem(message, "write them in the order hot, warm, cold", index)
        last = max(last, step)


def _rules(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    for index, rule in enumerate(recovery.rules or ()):
        for key in _RULE_FIELDS:
            if key in rule.model_fields_set and key not in USES[rule.when]:
                loc = origins.place(worker, "recovery", "rules", index, key)
                looks = ", ".join(USES[rule.when]) or "no field"
                message = f"{rule.when} does not look at {key}"
                fix = f"remove it; {rule.when} takes {looks}"
                yield Problem(codes.RULE_FIELD, loc, message, fix, worker.path, on_key=True)
        lack = _lack(rule, recovery)
        if lack is not None:
            loc = origins.place(worker, "recovery", "rules", index, "when")
            yield Problem(codes.RULE_LACKS, loc, lack[0], lack[1], worker.path)


def _lack(rule: RuleSettings, recovery: RecoverySettings) -> tuple[str, str] | None:
    """What is wrong, and what to do."""
    if rule.when is Condition.FAILURE_CLASS and rule.classes is None:
        return "failure_class without classes: there is nothing to compare with", "add classes: [node]"
    if rule.when is Condition.MARKET_OPEN and recovery.approval.market_hours is None:
        return "market_open, but no market hours are given", "add approval: {market_hours: {...}} to recovery"
    if rule.when is Condition.RTO_LEFT and recovery.rto is None:
        return "rto_left, but rto is null: no time was promised", "set rto, or remove the rule"
    return None


def _standbys(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    ack = recovery.journal.ack
    if not recovery.standbys and ack in (AckMode.STANDBY, AckMode.BOTH):
        loc = origins.place(worker, "recovery", "journal", "ack")
        message = f"ack: {ack}, but there are no standbys to confirm an event"
        yield Problem(codes.ACK_WITHOUT_STANDBY, loc, message, "set standbys: 1, or ack: disk", worker.path)
    if recovery.standbys and worker.settings.restart is Restart.TEMPORARY:
        loc = (*worker.loc, "restart")
        if origins.written(worker, "restart") != loc:
            loc = (*worker.loc, "recovery", "standbys")
        message = f"{worker.path} is temporary: it is never restarted, so its standbys are never promoted"
        fix = "set restart: permanent or transient, or standbys: 0"
        yield Problem(codes.STANDBY_TEMPORARY, loc, message, fix, worker.path)


def _lease(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    lease = recovery.lease
    why = check_timing(lease.renew, lease.expire, lease.margin) if lease is not None else ""
    if not why:
        return
    keys = ["margin", "expire", "renew"] if why.startswith("margin") else ["expire", "renew", "margin"]
    written = [origins.written(worker, "recovery", "lease", key) for key in keys]
    loc = next((place for place in written if place is not None), origins.place(worker, "recovery", "lease"))
    fix = f"lengthen {keys[0]}, or shorten {keys[1]}"
    yield Problem(codes.LEASE_TIMING, loc, why, fix, worker.path)


def _ramp(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    if recovery.ramp is None:
        return

    def problem(message: str, fix: str, index: int, key: str) -> Problem:
        loc = origins.place(worker, "recovery", "ramp", "steps", index, key)
        return Problem(codes.RAMP_STEPS, loc, message, fix, worker.path)

    steps = recovery.ramp.steps
    end = len(steps) - 1
    for index, step in enumerate(steps):
        if index and step.size <= steps[index - 1].size:
            message = f"size {step.size:g} follows {steps[index - 1].size:g}: a ramp only grows"
            yield problem(message, "let each step be larger than the one before it", index, "size")
        if index < end and not step.lasting:
            message = f"the step of size {step.size:g} lasts no time"
            yield problem(message, "add for: 5m", index, "for")
        if index == end and step.size != 1:
            message = f"the ramp ends at size {step.size:g}: full size would never be reached"
            yield problem(message, "add a last step {size: 1}", index, "size")
        elif index == end and step.lasting:
            yield problem("the last step lasts for good", "remove its for", index, "for")


def _market(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    hours = recovery.approval.market_hours
    if hours is not None and hours.open == hours.close:
        loc = origins.place(worker, "recovery", "approval", "market_hours", "close")
        message = f"the market opens and closes at {hours.open}: it would never be open"
        fix = 'for a whole day write open: "00:00" and close: "24:00"'
        yield Problem(codes.MARKET_HOURS, loc, message, fix, worker.path)


def _names(origins: Origins, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, step in enumerate(recovery.checks):
        if step.name in first:
            loc = origins.place(worker, "recovery", "validate", index, "name")
            message = f"step {first[step.name] + 1} is called {step.name!r} already"
            yield Problem(codes.DUPLICATE_STEP, loc, message, "give each step a name of its own", worker.path)
        else:
            first[step.name] = index


@dataclass(slots=True)
class _Tree:
    """Who is there to check: paths of static workers and of supervisors."""

    workers: set[str]
    supervisors: set[str]
    #: what to say of paths that are no worker's; looked up once, since many may inherit one step
    _missing: dict[str, tuple[str, str]] = field(default_factory=dict)

    def missing(self, path: str) -> tuple[str, str]:
        """What is wrong with ``path``, and what to do."""
        if path in self.supervisors:
            return f"{path} is a supervisor: it has no methods to call", "name a worker"
        if path not in self._missing:
            self._missing[path] = f"there is no worker {path} in the tree", did_you_mean(path, self.workers)
        return self._missing[path]


def _checkers(
    origins: Origins,
    tree: _Tree,
    node: ResolvedSupervisor,
    positions: dict[str, int],
    worker: ResolvedWorker,
    recovery: RecoverySettings,
) -> Iterator[Problem]:
    """The worker of each validation step must be there, and up, when the child comes back."""
    for index, step in enumerate(recovery.checks):
        checker = step.worker
        if checker not in tree.workers:
            loc = origins.place(worker, "recovery", "validate", index, "worker")
            message, fix = tree.missing(checker)
            yield Problem(codes.STEP_WORKER, loc, message, fix, worker.path)
            continue
        # these two depend on the child, so they are told at each one, inherited or not
        loc = (*worker.loc, "recovery", "validate", index, "worker")
        if checker == worker.path and worker is not node.template:
            message = f"{checker} cannot check its own recovery"
            fix = "name another worker"
            if origins.written(worker, "recovery", "validate") != (*worker.loc, "recovery", "validate"):
                fix = "set recovery: null here, or name another worker"
            yield Problem(codes.STEP_WORKER, loc, message, fix, worker.path)
        elif _falls_with(node, positions, worker, TreePath(checker)):
            message = f"{checker} is restarted together with {worker.path} ({node.options.strategy} of {node.path})"
            fix = "name a worker outside of the group, or move it there"
            yield Problem(codes.STEP_FALLS_TOO, loc, message, fix, worker.path)


def _falls_with(node: ResolvedSupervisor, positions: dict[str, int], worker: ResolvedWorker, other: TreePath) -> bool:
    """True when a failed ``worker`` of ``node`` takes the worker at ``other`` along."""
    if worker is node.template or not is_below(other, node.path):
        return False
    sibling = join(node.path, other[len(node.path.rstrip("/")) + 1 :].partition("/")[0])
    own, its = positions.get(worker.path), positions.get(sibling)
    if own is None or its is None:
        return False
    strategy = node.options.strategy
    return its != own if strategy is Strategy.ONE_FOR_ALL else its > own and strategy is Strategy.REST_FOR_ONE
