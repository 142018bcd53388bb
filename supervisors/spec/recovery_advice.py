"""Static findings about recovery (TOP-3): it would start, but not bring a child back as was meant."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisors.core.durations import format_duration
from supervisors.recovery.decision import impossible
from supervisors.recovery.policy import PHASE_LIMITS, AckMode, Condition, Phase, RecoverySpec, Rule, Rung
from supervisors.spec import codes
from supervisors.spec.findings import Loc, Problem
from supervisors.spec.origins import Origins
from supervisors.spec.recovery import RecoverySettings
from supervisors.spec.recovery_compile import compile_recovery, start_limit
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker
from supervisors.spec.settings import Placement
from supervisors.spec.state import FILE, has_password
from supervisors.spec.topology import Root, Topology

#: seconds a new Ray worker takes with compiled bytecode (measured, design §1)
NEW_PROCESS = 0.6
_HERE = ("any", "launch")


def recovery_advice(topology: Topology, resolution: Resolution) -> list[Problem]:
    """Warnings and hints about recovery, for a topology without errors in it."""
    view = _View(topology, Origins(topology), _has_many_nodes(resolution))
    problems: list[Problem] = []
    for node in resolution.root.walk():
        problems += _unused(topology, node)
        for worker in node.workers:
            if worker.settings.recovery is not None:
                problems += view.look(worker, worker.settings.recovery, is_template=worker is node.template)
    problems += view.agreed()
    problems += _spares(topology, resolution)
    if has_password(topology.state):
        fix = "leave it out: name a service file (postgresql:///?service=NAME), or set PGPASSWORD or ~/.pgpass"
        problems.append(Problem(codes.PASSWORD_IN_FILE, ("state",), "state holds a password for all to read", fix))
    if topology.state == FILE and view.many_nodes and view.leased:
        message = f"leases of {view.leased} are kept in a file, which other nodes cannot see"
        fix = "set state: postgresql://..., or keep these workers on the launching node"
        problems.append(Problem(codes.LEASES_ON_ONE_NODE, ("state",), message, fix))
    return problems


def standby_count(node: ResolvedSupervisor) -> int:
    """Standbys of this supervisor's own workers at boot."""
    return sum(_count(node, worker) * _standbys(worker) for worker in node.workers)


def _count(node: ResolvedSupervisor, worker: ResolvedWorker) -> int:
    if worker is not node.template:
        return 1
    initial = node.node.initial
    return initial if isinstance(initial, int) else len(initial)


def _standbys(worker: ResolvedWorker) -> int:
    return worker.settings.recovery.standbys if worker.settings.recovery is not None else 0


def _has_many_nodes(resolution: Resolution) -> bool:
    """True when some process is sent to a node of its own: the system is meant for more than one."""
    for node in resolution.root.walk():
        for place in (node.node.placement, *(worker.node.placement for worker in node.workers)):
            if place.node not in _HERE or place.labels:
                return True
    return False


@dataclass(slots=True)
class _View:
    """Looks at each worker in turn.

    A ladder or a list of rules that many inherit is only worth a finding when it fits none of them: what each child
    finds at such a place is kept until all were seen.
    """

    topology: Topology
    origins: Origins
    many_nodes: bool
    #: the first worker that holds a lease
    leased: str = ""
    _found: dict[tuple[int, Loc], list[Problem | None]] = field(default_factory=lambda: defaultdict(list))

    def agreed(self) -> Iterator[Problem]:
        """What every child that shares a place found there."""
        for found in self._found.values():
            first = found[0]
            if first is not None and all(found):
                yield first

    def look(self, worker: ResolvedWorker, recovery: RecoverySettings, *, is_template: bool) -> Iterator[Problem]:
        """Findings about one worker alone."""
        compiled = compile_recovery(recovery)
        if compiled is None:
            return
        self._ladder(worker, compiled)
        self._rules(worker, compiled)
        yield from self._journal(worker, recovery)
        yield from self._lease(worker, recovery)
        yield from self._steps(worker, recovery)
        yield from self._start(worker)
        if self.many_nodes and not is_template:
            yield from self._nodes(worker, recovery)

    def _problem(self, code: int, worker: ResolvedWorker, path: Loc, message: str, fix: str) -> Problem:
        return Problem(code, self.origins.place(worker, "recovery", *path), message, fix, worker.path)

    def _shared(self, code: int, worker: ResolvedWorker, path: Loc, message: str, fix: str) -> None:
        """A finding about what others may inherit too; an empty ``message``: none here."""
        problem = self._problem(code, worker, path, message, fix)
        self._found[code, problem.loc].append(problem if message else None)

    def _ladder(self, worker: ResolvedWorker, spec: RecoverySpec) -> None:
        if Rung.HOT in spec.ladder and self.origins.written(worker, "recovery", "ladder") is not None:
            message = "" if spec.standbys else "hot is on the ladder, but there are no standbys: it is passed over"
            path = ("ladder", spec.ladder.index(Rung.HOT))
            self._shared(codes.HOT_WITHOUT_STANDBYS, worker, path, message, "set standbys: 1, or leave hot out")
        if spec.standbys:
            message = "" if Rung.HOT in spec.ladder else "standbys are kept, but hot is not on the ladder"
            self._shared(
                codes.STANDBYS_WITHOUT_HOT, worker, ("standbys",), message, "put hot on the ladder, or set standbys: 0"
            )

    def _rules(self, worker: ResolvedWorker, spec: RecoverySpec) -> None:
        if self.origins.written(worker, "recovery", "rules") is None:
            return
        rules = spec.rules
        for index, rule in enumerate(rules):
            off = rule.then is not Rung.MANUAL and rule.then not in spec.ladder
            message = f"{rule.then} is not on the ladder ({', '.join(spec.ladder)}): the rule is passed over"
            fix = f"put {rule.then} on the ladder, or remove the rule"
            self._shared(codes.RULE_OFF_LADDER, worker, ("rules", index, "then"), message if off else "", fix)
            vain = rule.then is Rung.HOT and not off and not spec.standbys
            message = "the rule takes hot, but there are no standbys: it is passed over" if vain else ""
            fix = "set standbys: 1, or remove the rule"
            self._shared(codes.HOT_WITHOUT_STANDBYS, worker, ("rules", index, "then"), message, fix)
            before = [other for other in rules[:index] if not impossible(spec, other.then)]
            earlier = next((other for other in before if covers(other, rule)), None)
            message = ""
            if earlier is not None:
                message = f"never reached: rule {rules.index(earlier) + 1} holds whenever this one does"
            fix = "remove it, or put it further up"
            self._shared(codes.RULE_UNREACHABLE, worker, ("rules", index), message, fix)

    def _journal(self, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
        if recovery.journal.ack is AckMode.ASYNC:
            message = "ack: async: a power loss takes acknowledged events with it"
            yield self._problem(codes.ACK_UNSAFE, worker, ("journal", "ack"), message, "leave ack out, if not meant")
        checkpoint = recovery.checkpoint
        if checkpoint.fresh_for < checkpoint.every:
            fresh, every = format_duration(checkpoint.fresh_for), format_duration(checkpoint.every)
            message = f"a checkpoint is fresh for {fresh}, but the next one is taken after {every}: between, none is"
            key = "fresh_for" if self.origins.written(worker, "recovery", "checkpoint", "fresh_for") else "every"
            fix = f"set fresh_for to {every} or longer"
            yield self._problem(codes.CHECKPOINT_STALE, worker, ("checkpoint", key), message, fix)

    def _lease(self, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
        lease = recovery.lease
        if lease is None:
            if recovery.standbys:
                message = "standbys, but no lease: cut off from one another, two could act at once"
                fix = "leave lease out: the default fits"
                yield self._problem(codes.STANDBYS_WITHOUT_LEASE, worker, ("lease",), message, fix)
            return
        self.leased = self.leased or worker.path
        beat = worker.settings.heartbeat
        silence = round(beat.missed * beat.interval, 6)
        acting = round(lease.expire - lease.margin, 6)
        if acting <= silence:
            message = (
                f"cut off, {worker.path} stops acting after {format_duration(max(acting, 0.0))} (expire - margin), but "
                f"is missed only after {format_duration(silence)} (missed x interval)"
            )
            fix = f"set lease expire above {format_duration(round(silence + lease.margin, 6))}, or a faster heartbeat"
            yield self._problem(codes.LEASE_UNDER_HEARTBEAT, worker, ("lease", "expire"), message, fix)
        if recovery.standbys and self.many_nodes and recovery.rto is not None and recovery.rto < lease.expire:
            rto, expire = format_duration(recovery.rto), format_duration(lease.expire)
            message = f"rto {rto} cannot be kept when a node is lost: its lease runs out after {expire}"
            fix = "a shorter lease, or count lost nodes apart"
            yield self._problem(codes.RTO_UNDER_LEASE, worker, ("rto",), message, fix)

    def _steps(self, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
        total = dict.fromkeys(Phase, 0.0)
        for index, step in enumerate(recovery.checks):
            limit = PHASE_LIMITS[step.phase]
            total[step.phase] += step.timeout
            need = step.attempts * (step.timeout + step.pause) - step.pause
            if need > limit:
                message = f"step {step.name} may take {_time(need)}, but {step.phase} steps are done in {_time(limit)}"
                fix = "fewer attempts, a shorter timeout or a later phase"
                yield self._problem(codes.STEPS_TOO_LONG, worker, ("validate", index), message, fix)
        for phase, need in total.items():
            if need > PHASE_LIMITS[phase]:
                message = (
                    f"all {phase} steps may take {_time(need)}, but are to be done in {_time(PHASE_LIMITS[phase])}"
                )
                fix = "shorter timeouts, or later phases"
                yield self._problem(codes.STEPS_TOO_LONG, worker, ("validate",), message, fix)

    def _start(self, worker: ResolvedWorker) -> Iterator[Problem]:
        loc = self.origins.written(worker, "start_timeout")
        own, need = worker.settings.start_timeout, start_limit(worker.settings)
        if loc is not None and own < need:
            message = f"start_timeout {format_duration(own)} is raised to {format_duration(need)}, the rungs' time-outs"
            fix = "shorten rung_timeout, if a start may not take that long"
            yield Problem(codes.START_RAISED, loc, message, fix, worker.path)

    def _nodes(self, worker: ResolvedWorker, recovery: RecoverySettings) -> Iterator[Problem]:
        if not recovery.standbys:
            return
        place: Placement = worker.node.placement
        loc: Loc = (*worker.loc, "placement")
        if place.node != "any":
            message = f"{worker.path} and its standbys all run on one node ({place.node}): it takes them along"
            fix = "let node be any and give labels, and name its own path in anti_affinity"
            yield Problem(codes.STANDBY_SAME_NODE, (*loc, "node"), message, fix, worker.path)
        elif worker.path not in place.anti_affinity:
            message = f"standbys of {worker.path} may run on its own node, and be lost with it"
            fix = f"set placement: {{anti_affinity: [{worker.path}]}}"
            yield Problem(codes.STANDBY_SAME_NODE, (*loc, "anti_affinity"), message, fix, worker.path)


def _time(seconds: float) -> str:
    return format_duration(round(seconds, 3))


def covers(earlier: Rule, later: Rule) -> bool:
    """True when ``earlier`` holds whenever ``later`` does."""
    if earlier.when is Condition.ALWAYS:
        return True
    if earlier.when is not later.when:
        return False
    return (
        earlier.max_lag >= later.max_lag
        and earlier.max_age >= later.max_age
        and set(earlier.classes) >= set(later.classes)
        and earlier.at_least <= later.at_least
        and earlier.within >= later.within
        and earlier.above <= later.above
        and earlier.below >= later.below
    )


def _unused(topology: Topology, node: ResolvedSupervisor) -> Iterator[Problem]:
    if isinstance(node.node, Root):
        return
    name, seen = node.node.policy, set[str]()
    while name is not None and name in topology.policies and name not in seen:
        seen.add(name)
        policy = topology.policies[name]
        if "recovery" in policy.model_fields_set:
            if policy.recovery is not None:
                message = f"{node.path} is a supervisor: the recovery of policy {name!r} has no effect on it"
                fix = "give it a policy without recovery"
                yield Problem(codes.RECOVERY_UNUSED, (*node.loc, "policy"), message, fix, node.path)
            return
        name = policy.extends


def _spares(topology: Topology, resolution: Resolution) -> Iterator[Problem]:
    count = sum(_count(n, w) for n in resolution.root.walk() for w in n.workers if _standbys(w))
    if 0 < topology.spares < count:
        message = (
            f"{count} workers have standbys, but there are {topology.spares} spares: when more are promoted at once, a "
            f"new standby waits {format_duration(NEW_PROCESS)} for a process"
        )
        fix = f"set spares: {count}, if they may fail together"
        yield Problem(codes.SPARES_FOR_STANDBYS, ("spares",), message, fix)
