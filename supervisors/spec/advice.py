"""Static findings about times, budgets and escalation (TOP-3): what would start, but not do what was meant."""

from collections.abc import Iterator, Sequence
from math import isinf

from supervisors.core.durations import format_duration
from supervisors.spec import codes
from supervisors.spec.fault_rules import faults_idle
from supervisors.spec.findings import Problem
from supervisors.spec.recovery_advice import NEW_PROCESS, recovery_advice, standby_count
from supervisors.spec.recovery_compile import start_limit
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker
from supervisors.spec.settings import BackoffSettings
from supervisors.spec.topology import Root, Topology
from supervisors.tree.model import AutoShutdown, Backoff, Restart

_Node = ResolvedWorker | ResolvedSupervisor


def advice(topology: Topology, resolution: Resolution) -> list[Problem]:
    """Warnings and hints for a topology without errors (or for what is left of one with errors)."""
    problems: list[Problem] = []
    for node in resolution.root.walk():
        problems += _shutdown(node)
        problems += _start(node)
        problems += _budget(node)
        problems += _escalation(node)
        problems += _significance(node)
        problems += _population(node)
    problems += recovery_advice(topology, resolution)
    problems += faults_idle(topology)
    problems += _spares(topology)
    problems += _unused_policies(topology, resolution)
    problems.append(_count(topology, resolution))
    return problems


def shutdown_need(node: ResolvedSupervisor) -> float:
    """Seconds the children may take to end. One after another (OTP), so times add up; dynamic ones together."""
    if node.template is not None:
        return node.template.settings.shutdown
    return sum((_ending(child) for child in node.children), 0.0)


def _ending(child: _Node) -> float:
    own = child.settings.shutdown
    if isinstance(child, ResolvedSupervisor) and isinf(own):
        return shutdown_need(child)
    return own


def start_need(node: ResolvedSupervisor) -> float:
    """Seconds the children may take to start, one after another."""
    if node.template is not None:
        initial = node.node.initial
        count = initial if isinstance(initial, int) else len(initial)
        return count * _starting(node.template) if count else 0.0
    return sum((_starting(child) for child in node.children), 0.0)


def _starting(child: _Node) -> float:
    if isinstance(child, ResolvedWorker):
        own = start_limit(child.settings)
    elif isinf(own := child.settings.start_timeout):
        own = start_need(child)
    return own + (child.settings.ready_timeout or 0.0)


def _shutdown(node: ResolvedSupervisor) -> Iterator[Problem]:
    own, need = node.settings.shutdown, shutdown_need(node)
    loc = (*node.loc, "shutdown")
    if own == 0 and (node.children or node.template):
        message = "shutdown: brutal_kill on a supervisor: it cannot end its children first"
        yield Problem(codes.SUPERVISOR_KILLED, loc, message, "set shutdown: infinity (OTP)", node.path)
    elif not isinf(own) and need > own:
        without = "have no limit" if isinf(need) else f"may take {_about(need)} one after another"
        message = f"shutdown {format_duration(own)} of {node.path} ends before its children: they {without}"
        fix = "set shutdown: infinity" + ("" if isinf(need) else f" or at least {_about(need)}")
        yield Problem(codes.SHUTDOWN_TOO_SHORT, loc, message, fix, node.path)


def _start(node: ResolvedSupervisor) -> Iterator[Problem]:
    own, need = node.settings.start_timeout, start_need(node)
    if not isinf(own) and need > own:
        may = "have no limit" if isinf(need) else f"may take {_about(need)} one after another"
        message = f"start_timeout {format_duration(own)} of {node.path} ends before its children: they {may}"
        fix = "set start_timeout: infinity" + ("" if isinf(need) else f" or at least {_about(need)}")
        yield Problem(codes.START_TOO_SHORT, (*node.loc, "start_timeout"), message, fix, node.path)


def fastest_give_up(backoff: BackoffSettings | None, intensity: int) -> float:
    """Least seconds between the first failure of a child that always fails at once, and the one past intensity."""
    if backoff is None:
        return 0.0
    delays = Backoff(backoff.base, backoff.cap, backoff.jitter, backoff.immediate, backoff.reset_after)
    total = 0.0
    for failure in range(1, intensity + 1):
        wait = delays.delay(failure, 0.0)
        if wait >= backoff.cap:
            # from here on every wait is the cap
            return total + (intensity + 1 - failure) * backoff.cap
        total += wait
    return total


def _budget(node: ResolvedSupervisor) -> Iterator[Problem]:
    options = node.options
    loc = (*node.loc, "intensity")
    if options.intensity == 0:
        message = f"intensity 0: the first failure below {node.path} makes it give up"
        yield Problem(codes.INTENSITY_ZERO, loc, message, "leave it if that is what you want", node.path)
        return
    members = [c for c in _members(node) if c.settings.restart is not Restart.TEMPORARY]
    # OTP counts in whole seconds: a window of 5 s still holds what is 5.9 s apart
    beyond = options.period + 1
    slow = [c for c in members if fastest_give_up(c.settings.backoff, options.intensity) >= beyond]
    for_ever = [c for c in slow if c.settings.max_consecutive is None]
    capped = [c for c in slow if c.settings.max_consecutive is not None]
    window = f"{options.intensity} in {format_duration(options.period)}"
    if for_ever:
        least = min(fastest_give_up(c.settings.backoff, options.intensity) for c in for_ever)
        message = (
            f"{_names(for_ever)} would restart for ever: backoff spreads {options.intensity} restarts over at least "
            f"{_about(least)}, so the window {window} never fills, and max_consecutive is null"
        )
        yield Problem(codes.RESTARTS_FOR_EVER, loc, message, "set max_consecutive, or a longer period", node.path)
    if capped:
        least = min(fastest_give_up(c.settings.backoff, options.intensity) for c in capped)
        message = (
            f"intensity {window} cannot trip on {_names(capped)} alone: backoff spreads that many restarts over at "
            f"least {_about(least)}; only max_consecutive makes the supervisor give up"
        )
        fix = "set a longer period, a lower intensity or a shorter backoff"
        yield Problem(codes.INTENSITY_NEVER_TRIPS, loc, message, fix, node.path)


def _escalation(node: ResolvedSupervisor) -> Iterator[Problem]:
    if isinstance(node.node, Root):
        return
    if node.settings.restart is Restart.TEMPORARY:
        message = f"{node.path} is temporary: when it gives up it is gone with all below it, and nobody acts"
        fix = "set restart: permanent, so that its supervisor decides"
        yield Problem(codes.ESCALATION_LOST, (*node.loc, "restart"), message, fix, node.path)
    if node.options.auto_shutdown is not AutoShutdown.NEVER and node.settings.restart is Restart.PERMANENT:
        message = f"{node.path} may shut itself down, but is permanent: it is restarted at once"
        fix = "set restart: transient"
        yield Problem(codes.AUTO_SHUTDOWN_RESTARTED, (*node.loc, "auto_shutdown"), message, fix, node.path)


def _significance(node: ResolvedSupervisor) -> Iterator[Problem]:
    significant = [c for c in _members(node) if not isinstance(c.node, Root) and c.node.significant]
    if node.options.auto_shutdown is not AutoShutdown.NEVER and not significant:
        message = f"auto_shutdown: {node.options.auto_shutdown}, but no child of {node.path} is significant"
        fix = "set significant: true on a child, or remove auto_shutdown"
        yield Problem(codes.AUTO_SHUTDOWN_IDLE, (*node.loc, "auto_shutdown"), message, fix, node.path)
    for child in significant:
        # only a normal end of a transient child counts (OTP), and a supervisor ends normally by auto_shutdown alone
        if (
            isinstance(child, ResolvedSupervisor)
            and child.settings.restart is Restart.TRANSIENT
            and child.options.auto_shutdown is AutoShutdown.NEVER
        ):
            message = (
                f"{child.path} is transient and significant, but a supervisor without auto_shutdown never ends normally"
            )
            fix = "give it auto_shutdown, or remove significant"
            yield Problem(codes.SIGNIFICANT_IDLE, (*child.loc, "significant"), message, fix, child.path)


def _population(node: ResolvedSupervisor) -> Iterator[Problem]:
    if not node.children and not node.is_simple:
        message = f"{node.path} has no children"
        yield Problem(codes.NO_CHILDREN, node.loc, message, "list children, unless they are added later", node.path)


def _spares(topology: Topology) -> Iterator[Problem]:
    if topology.spares == 0:
        message = f"spares: 0: every restart waits at least {format_duration(NEW_PROCESS)} for a new process"
        yield Problem(codes.NO_SPARES, ("spares",), message, "set spares: 2, or leave it out")


def _unused_policies(topology: Topology, resolution: Resolution) -> Iterator[Problem]:
    used = {p.extends for p in topology.policies.values()}
    for node in resolution.root.walk():
        used.update(w.node.policy for w in node.workers)
        if not isinstance(node.node, Root):
            used.add(node.node.policy)
    for name in topology.policies:
        if name not in used:
            message = f"policy {name!r} is never used"
            yield Problem(
                codes.POLICY_UNUSED, ("policies", name), message, "remove it or name it at a child", on_key=True
            )


def _count(topology: Topology, resolution: Resolution) -> Problem:
    nodes = list(resolution.root.walk())
    workers = 0
    for node in nodes:
        initial = node.node.initial
        workers += sum(isinstance(c, ResolvedWorker) for c in node.children)
        workers += initial if isinstance(initial, int) else len(initial)
    standbys = sum(standby_count(node) for node in nodes)
    total = workers + len(nodes) + topology.spares + standbys
    message = f"starts {total} processes: {workers} workers, {len(nodes)} supervisors, {topology.spares} spares"
    if standbys:
        message += f", {standbys} standbys"
    return Problem(codes.PROCESS_COUNT, ("tree",), message, "", on_key=True)


def _members(node: ResolvedSupervisor) -> list[_Node]:
    return [*node.children, *([node.template] if node.template is not None else [])]


def _about(seconds: float) -> str:
    """A reckoned time, to the millisecond."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _names(children: Sequence[_Node]) -> str:
    """The first three paths, and how many more."""
    names = ", ".join(c.path for c in children[:3])
    return names + (f" and {len(children) - 3} more" if len(children) > 3 else "")
