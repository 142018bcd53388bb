"""Scenarios both sides can run: a tree, then one action after another; and the strategies that make them up."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from supervisors.core.reasons import SHUTDOWN, ExitReason
from supervisors.tree.messages import AdminCalled, Call, Reply
from supervisors.tree.model import (
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.conformance.rig import (
    CRASH,
    KILLED,
    NORMAL,
    SHUTDOWN_X,
    Rig,
    child_states,
    count_text,
)

#: what a child that does not heed its stop is given, seconds: both sides really wait for it
DEAF_SHUTDOWN = 0.001
#: longest run of failing starts; more than the highest intensity, so that giving up is among the outcomes
MOST_FAILURES = 7

REASONS: dict[str, ExitReason] = {
    "normal": NORMAL,
    "shutdown": SHUTDOWN,
    "shutdown_x": SHUTDOWN_X,
    "crash": CRASH,
    "kill": KILLED,
}


@dataclass(frozen=True)
class Action:
    """One step.

    Attributes:
        kind: exit, fail, ignore, fail_first and ignore_first (before the start of the tree), hold_start,
            hold_stop, release, advance, change or call.
        path: of the child, or of the supervisor for ``change`` and ``call``.
        word: reason, outcome or order.
        number: starts that fail or are ignored, or seconds.
        child: id for an order.
        spec: for ``start`` the child, for ``change`` the supervisor's new spec.
    """

    kind: str
    path: str = ""
    word: str = ""
    number: int = 0
    child: str = ""
    spec: SupervisorSpec | ChildSpec | None = None


@dataclass(frozen=True, repr=False)
class Scenario:
    """A tree of supervisors by path, and what happens to it."""

    tree: dict[str, SupervisorSpec]
    actions: list[Action] = field(default_factory=list)

    def __repr__(self) -> str:
        return to_erlang(self)


# ---------------------------------------------------------------- as Erlang terms


def to_erlang(scenario: Scenario) -> str:
    """The scenario as the oracle reads it, one line."""
    tree = ",".join(f'{{"{path}",{_supervisor(spec)}}}' for path, spec in scenario.tree.items())
    return f"{{[{tree}],[{','.join(_action(action) for action in scenario.actions)}]}}."


def _supervisor(spec: SupervisorSpec) -> str:
    flags = spec.flags
    children = ",".join(_child(child) for child in spec.children)
    return f"{{{flags.strategy.value},{flags.intensity},{flags.period},{flags.auto_shutdown.value},[{children}]}}"


def _child(spec: ChildSpec) -> str:
    shutdown = {BRUTAL_KILL: "brutal_kill", INFINITY: "infinity"}.get(spec.shutdown) or f"{spec.shutdown * 1000:.0f}"
    deaf = str(spec.shutdown == DEAF_SHUTDOWN).lower()
    significant = str(spec.significant).lower()
    return f"{{{spec.id},{spec.restart.value},{shutdown},{spec.type.value},{significant},{deaf}}}"


def _action(action: Action) -> str:
    path = f'"{action.path}"'
    match action.kind:
        case "exit":
            return f"{{exit,{path},{action.word}}}"
        case "fail" | "fail_first" | "ignore" | "ignore_first":
            return f"{{{action.kind},{path},{action.number}}}"
        case "hold_start" | "hold_stop":
            return f"{{{action.kind},{path}}}"
        case "release":
            return f"{{release,{action.word}}}"
        case "advance":
            return f"{{advance,{action.number}}}"
        case "change":
            assert isinstance(action.spec, SupervisorSpec)
            return f"{{change,{path},{_supervisor(action.spec)}}}"
        case _:
            return f"{{call,{path},{_call(action)}}}"


def _call(action: Action) -> str:
    if action.word in ("which", "count"):
        return action.word
    if action.word == "start":
        assert isinstance(action.spec, ChildSpec)
        return f"{{start,{_child(action.spec)}}}"
    return f"{{{action.word},{action.child}}}"


# ---------------------------------------------------------------- on our machine

_CALLS = {
    "which": Call.WHICH_CHILDREN,
    "count": Call.COUNT_CHILDREN,
    "start": Call.START_CHILD,
    "start_dynamic": Call.START_CHILD,
    "terminate": Call.TERMINATE_CHILD,
    "restart": Call.RESTART_CHILD,
    "delete": Call.DELETE_CHILD,
}


def run_on_machine(scenario: Scenario) -> list[str]:
    """The trace our machine gives, in the oracle's words."""
    rig = Rig(scenario.tree, deaf_shutdown=DEAF_SHUTDOWN)
    asked: list[tuple[str, bool, Action]] = []
    for action in scenario.actions:
        if action.kind in ("fail_first", "ignore_first"):
            rig.script_start(action.path, *[action.kind.removesuffix("_first")] * action.number)
    rig.start()
    if rig.start_failed is None:
        for number, action in enumerate(scenario.actions):
            _act(rig, action, f"r{number}", asked)
    rig.release_all()
    rig.shutdown()
    rig.release_all()
    return rig.trace + [f"reply {_said(rig, ref, is_simple, action)}" for ref, is_simple, action in asked]


def _act(rig: Rig, action: Action, ref: str, asked: list[tuple[str, bool, Action]]) -> None:
    match action.kind:
        case "exit":
            rig.exit(action.path, REASONS[action.word])
        case "fail" | "ignore":
            rig.script_start(action.path, *[action.kind] * action.number)
        case "hold_start":
            rig.script_start(action.path, "hold")
        case "hold_stop":
            rig.script_stop(action.path, "hold")
        case "release":
            rig.release(action.word)
        case "advance":
            rig.now += action.number
        case "change":
            _change(rig, action, ref)
        case "call":
            _order(rig, action, ref, asked)


def _change(rig: Rig, action: Action, ref: str) -> None:
    process = rig.processes.get(action.path)
    if rig.held is not None or process is None or process.machine is None:
        return
    assert isinstance(action.spec, SupervisorSpec)
    spec = action.spec
    reply = rig.call(action.path, AdminCalled(ref, Call.CHANGE_SPECS, flags=spec.flags, specs=spec.children))
    assert reply is not None
    rig.trace.append("change refused" if reply.error else "change ok")


def _order(rig: Rig, action: Action, ref: str, asked: list[tuple[str, bool, Action]]) -> None:
    process = rig.processes.get(action.path)
    if process is None or process.machine is None or not rig.permits(action.path):
        return
    is_simple = process.machine.is_simple
    if rig.held is not None and is_simple and action.word == "terminate":
        return  # OTP names a dynamic child by its pid, which may be another's when the order is read
    asked.append((ref, is_simple, action))
    spec = action.spec if isinstance(action.spec, ChildSpec) else None
    rig.call(action.path, AdminCalled(ref, _CALLS[action.word], action.child, spec))


def _said(rig: Rig, ref: str, is_simple: bool, action: Action) -> str:
    reply = rig.replies.get(ref)
    if reply is None:
        return "noproc"  # the supervisor was killed before it came to it
    if reply.counts is not None:
        return count_text(reply.counts)
    if action.word == "which" and not reply.error:
        return child_states(reply.children, is_simple=is_simple)
    return _word_of(rig, reply, is_simple, action)


def _word_of(rig: Rig, reply: Reply, is_simple: bool, action: Action) -> str:
    if reply.error == "not_found" and is_simple and f"{action.path}/{action.child}" in rig.born:
        return "ok"  # OTP says ok to a pid that is dead; we know an id or we do not
    if reply.error:
        return reply.error.partition(":")[0]
    if action.word in ("start", "start_dynamic", "restart") and reply.incarnation == 0:
        return "ok_undefined"
    return "ok"


def settled(trace: list[str], scenario: Scenario) -> list[str]:
    """The trace with what OTP leaves open put into one order: dynamic children are all stopped at once."""
    simple = {p for p, s in scenario.tree.items() if s.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE}

    def runs() -> Iterator[list[str]]:
        run: list[str] = []
        for line in trace:
            if _stops_dynamic(line, simple):
                run.append(line)
                continue
            yield sorted(run)
            run = []
            yield [line]
        yield sorted(run)

    return [line for run in runs() for line in run]


def _stops_dynamic(line: str, simple: set[str]) -> bool:
    kind, _, rest = line.partition(" ")
    return kind in ("order", "end") and rest.split(" ")[0].rpartition("/")[0] in simple


# ---------------------------------------------------------------- making them up

_IDS = "abcdefgh"
_SUBS = ("s", "u")
_STATIC = (Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
_SHUTDOWNS = (5.0, 5.0, 5.0, BRUTAL_KILL, INFINITY, DEAF_SHUTDOWN)


@st.composite
def flags(draw: DrawFn, *, simple: bool | None = None) -> SupervisorFlags:
    """A supervisor's flags; ``simple`` fixes whether it is simple_one_for_one."""
    strategy = Strategy.SIMPLE_ONE_FOR_ONE
    if simple is None:
        strategy = draw(st.sampled_from((*_STATIC, *_STATIC, Strategy.SIMPLE_ONE_FOR_ONE)))
    elif not simple:
        strategy = draw(st.sampled_from(_STATIC))
    return SupervisorFlags(
        strategy,
        intensity=draw(st.integers(0, 5)),
        period=draw(st.integers(1, 10)),
        auto_shutdown=draw(st.sampled_from((AutoShutdown.NEVER, *AutoShutdown))),
    )


@st.composite
def child(draw: DrawFn, child_id: str, flags: SupervisorFlags, kind: ChildType = ChildType.WORKER) -> ChildSpec:
    """A valid child below a supervisor with ``flags``."""
    restart = draw(st.sampled_from(Restart))
    may_be = flags.auto_shutdown is not AutoShutdown.NEVER and restart is not Restart.PERMANENT
    shutdown = draw(st.sampled_from(_SHUTDOWNS))
    if kind is ChildType.SUPERVISOR and shutdown != BRUTAL_KILL:
        shutdown = INFINITY
    return ChildSpec(child_id, restart, shutdown, kind, significant=may_be and draw(st.booleans()))


@st.composite
def supervisor(draw: DrawFn, ids: str, subs: tuple[str, ...]) -> SupervisorSpec:
    """A supervisor with up to all of ``ids`` as workers and some of ``subs`` as supervisors, in any order."""
    own = draw(flags())
    if own.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        return SupervisorSpec(own, (draw(child("t", own)),))
    workers = list(ids[: draw(st.integers(1, len(ids)))])
    below = list(subs[: draw(st.integers(0, len(subs)))]) if subs else []
    names = draw(st.permutations(workers + below)) if below else workers
    kinds = [ChildType.SUPERVISOR if name in below else ChildType.WORKER for name in names]
    return SupervisorSpec(own, tuple(draw(child(name, own, kind)) for name, kind in zip(names, kinds, strict=True)))


@dataclass
class _Places:
    """Where things may happen in a tree."""

    sups: list[str]
    static: list[str]
    workers: list[str]
    subs: list[str]
    simple: list[str]
    dynamic: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tree: dict[str, SupervisorSpec]) -> "_Places":
        simple = [p for p, s in tree.items() if s.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE]
        static = [p for p in tree if p not in simple]
        subs = [p for p in tree if p]
        workers = [f"{p}/{c.id}" for p in static for c in tree[p].children if c.type is ChildType.WORKER]
        return cls(list(tree), static, workers, subs, simple)


@st.composite
def scenarios(draw: DrawFn, *, most_actions: int = 14) -> Scenario:
    """A tree of 1 to 8 workers and up to two supervisors below the root, and what happens to it."""
    root = draw(supervisor(_IDS, _SUBS))
    tree = {"": root}
    for spec in root.children:
        if spec.type is ChildType.SUPERVISOR:
            tree[f"/{spec.id}"] = draw(supervisor("abcd", ()))
    places = _Places.of(tree)
    actions = []
    if draw(st.integers(0, 9)) == 0:
        first = draw(st.sampled_from(places.workers + places.subs or [""]))
        kind = draw(st.sampled_from(("fail_first", "ignore_first", "ignore_first")))
        actions.append(Action(kind, first, number=draw(st.integers(1, 2))))
    for sup in places.simple:
        actions += [_new_dynamic(places, sup) for _ in range(draw(st.integers(0, 3)))]
    while len(actions) < most_actions:
        kind = draw(st.sampled_from(_GADGETS))
        if kind == "stop":
            break
        if kind == "held":
            actions += draw(_held_restarts(places, tree))
        elif kind == "failing":
            actions += draw(_failing_restarts(places))
        elif kind == "window":
            actions += draw(_full_windows(places, tree))
        else:
            actions.append(draw(_actions(places, tree)))
    return Scenario(tree, actions)


def _new_dynamic(places: _Places, sup: str) -> Action:
    name = f"d{len(places.dynamic) + 1}"
    places.dynamic.append(f"{sup}/{name}")
    return Action("call", sup, "start_dynamic", child=name)


#: how a scenario goes on
_GADGETS = ("stop", *["one"] * 10, *["failing"] * 4, *["held"] * 6, *["window"] * 3)


@st.composite
def _failing_restarts(draw: DrawFn, places: _Places) -> list[Action]:
    """A child that ends and does not start again at once, or answers ignore."""
    children = places.workers + places.dynamic
    if not children:
        return []
    fails = draw(st.sampled_from(children))
    ends = draw(st.sampled_from([fails, fails, *children]))
    kind = draw(st.sampled_from(("fail", "fail", "ignore")))
    number = draw(st.integers(1, MOST_FAILURES if kind == "fail" else 2))
    return [Action(kind, fails, number=number), Action("exit", ends, draw(st.sampled_from(tuple(REASONS))))]


@st.composite
def _full_windows(draw: DrawFn, places: _Places, tree: dict[str, SupervisorSpec]) -> list[Action]:
    """As many crashes as a supervisor allows, the edge of its period, and one or two more."""
    sup = draw(st.sampled_from(places.sups))
    children = [path for path in places.workers + places.dynamic if path.rpartition("/")[0] == sup]
    if not children:
        return []
    flags = tree[sup].flags
    crash = Action("exit", draw(st.sampled_from(children)), "crash")
    wait = Action("advance", number=max(1, flags.period + draw(st.integers(-1, 1))))
    return [*[crash] * flags.intensity, wait, *[crash] * draw(st.integers(1, 2))]


@st.composite
def _held_restarts(draw: DrawFn, places: _Places, tree: dict[str, SupervisorSpec]) -> list[Action]:
    """While one child's start or stop is held open, exits and orders queue up behind it."""
    sup = draw(st.sampled_from(places.sups))
    children = [path for path in places.workers + places.dynamic if path.rpartition("/")[0] == sup]
    if not children:
        return []
    held, ends = draw(st.sampled_from(children)), draw(st.sampled_from(children))
    kind = draw(st.sampled_from(("hold_start", "hold_start", "hold_start", "hold_stop")))
    if kind == "hold_stop" and sup in places.simple:
        kind = "hold_start"
    actions = [Action(kind, held), Action("exit", ends, draw(st.sampled_from(("crash", "kill", "normal"))))]
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            actions.append(Action("exit", draw(st.sampled_from(children)), draw(st.sampled_from(tuple(REASONS)))))
        else:
            actions.append(draw(_calls(places, tree, sup)))
    if draw(st.booleans()):
        actions.append(Action("fail", held, number=draw(st.integers(1, MOST_FAILURES))))
    return [*actions, Action("release", word=draw(st.sampled_from(("ok", "fail", "fail", "ignore"))))]


#: what happens how often
_KINDS = (
    ["exit"] * 12
    + ["call"] * 9
    + ["fail"] * 3
    + ["hold_start"] * 2
    + ["release"] * 2
    + ["advance", "advance", "ignore", "hold_stop", "change", "kill_sub", "new_dynamic"]
)


@st.composite
def _actions(draw: DrawFn, places: _Places, tree: dict[str, SupervisorSpec]) -> Action:
    kind = draw(st.sampled_from(_KINDS))
    children = places.workers + places.dynamic
    if kind == "kill_sub" and places.subs:
        return Action("exit", draw(st.sampled_from(places.subs)), "kill")
    if kind == "new_dynamic" and places.simple:
        return _new_dynamic(places, draw(st.sampled_from(places.simple)))
    if kind == "advance" or not children:
        return Action("advance", number=draw(st.integers(1, 12)))
    if kind == "release":
        return Action("release", word=draw(st.sampled_from(("ok", "fail", "ignore"))))
    if kind in ("fail", "ignore"):
        path = draw(st.sampled_from(children + places.subs if kind == "fail" else places.workers + places.subs or [""]))
        return Action(kind, path, number=draw(st.integers(1, MOST_FAILURES if kind == "fail" else 2)))
    if kind == "hold_start":
        return Action(kind, draw(st.sampled_from(children)))
    if kind == "hold_stop" and places.workers:
        return Action(kind, draw(st.sampled_from(places.workers)))
    if kind == "change":
        return draw(_changes(tree))
    if kind == "call":
        return draw(_calls(places, tree))
    return Action("exit", draw(st.sampled_from(children)), draw(st.sampled_from(tuple(REASONS))))


@st.composite
def _calls(draw: DrawFn, places: _Places, tree: dict[str, SupervisorSpec], at: str | None = None) -> Action:
    sup = draw(st.sampled_from(places.sups)) if at is None else at
    word = draw(st.sampled_from(("which", "count", "start", "terminate", "terminate", "restart", "restart", "delete")))
    if word in ("which", "count"):
        return Action("call", sup, word)
    if sup in places.simple:
        mine = [p.rpartition("/")[2] for p in places.dynamic if p.startswith(f"{sup}/")]
        if word == "start" or not mine:
            return _new_dynamic(places, sup)
        return Action("call", sup, word, child=draw(st.sampled_from(mine)))
    known = [c.id for c in tree[sup].children]
    name = draw(st.sampled_from([*known, "x", "y"]))
    if word != "start":
        return Action("call", sup, word, child=name)
    if (path := f"{sup}/{name}") not in places.workers and path not in places.subs:
        places.workers.append(path)
    return Action("call", sup, word, spec=draw(_maybe_wrong_child(name, tree[sup].flags)))


@st.composite
def _maybe_wrong_child(draw: DrawFn, child_id: str, flags: SupervisorFlags) -> ChildSpec:
    restart = draw(st.sampled_from(Restart))
    return ChildSpec(child_id, restart, significant=draw(st.integers(0, 3)) == 0)


@st.composite
def _changes(draw: DrawFn, tree: dict[str, SupervisorSpec]) -> Action:
    """A new spec for a running supervisor: other flags, children changed, left out or added."""
    path = draw(st.sampled_from(list(tree)))
    old = tree[path]
    simple = old.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE
    new = draw(flags(simple=simple))
    if simple:
        return Action("change", path, spec=SupervisorSpec(new, old.children))
    kept = [c for c in old.children if draw(st.integers(0, 4))]
    changed = [
        ChildSpec(c.id, draw(st.sampled_from(Restart)), c.shutdown, c.type, significant=draw(st.integers(0, 5)) == 0)
        for c in kept
    ]
    added = [ChildSpec("z", draw(st.sampled_from(Restart)))] if draw(st.booleans()) else []
    return Action("change", path, spec=SupervisorSpec(new, tuple(changed + added)))
