"""Whatever befalls a tree: once it is quiet, supervisors and processes agree on who lives."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.core.paths import ROOT, TreePath, id_of, join
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.testing import World
from supervisors.tree.child import ChildState
from supervisors.tree.messages import AdminCalled, Call
from supervisors.tree.model import (
    INFINITY,
    Backoff,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)

SUPERVISORS = [TreePath(p) for p in ("/", "/s", "/s/t")]
WORKERS = [TreePath(p) for p in ("/x", "/s/a", "/s/b", "/s/t/c", "/s/t/d")]


@dataclass(frozen=True)
class Act:
    """One thing that befalls the tree, ``wait`` seconds after the one before."""

    what: str
    path: TreePath
    wait: float
    kind: ExitKind = ExitKind.CRASH


waits = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0, 7.0])
acts = st.one_of(
    st.builds(
        Act, st.just("exit"), st.sampled_from(WORKERS), waits, st.sampled_from([ExitKind.CRASH, ExitKind.NORMAL])
    ),
    st.builds(Act, st.sampled_from(["crash", "hang"]), st.sampled_from(SUPERVISORS), waits),
    st.builds(
        Act,
        st.sampled_from(["hang", "fail", "ignore", "never", "deaf", "stop", "restart"]),
        st.sampled_from(WORKERS),
        waits,
    ),
)


def build(strategy: Strategy, on_crash: OnSupervisorCrash, backoff: Backoff | None, takes: float) -> World:
    def worker(child_id: str, restart: Restart = Restart.PERMANENT) -> ChildSpec:
        return ChildSpec(child_id, restart, shutdown=0.5, start_timeout=2.0, backoff=backoff)

    def below(child_id: str) -> ChildSpec:
        return ChildSpec(child_id, Restart.PERMANENT, INFINITY, ChildType.SUPERVISOR, on_crash=on_crash)

    flags = SupervisorFlags(strategy, intensity=3, period=5)
    return World(
        {
            ROOT: SupervisorSpec(SupervisorFlags(intensity=50, period=300), (below("s"), worker("x"))),
            SUPERVISORS[1]: SupervisorSpec(flags, (worker("a"), below("t"), worker("b", Restart.TRANSIENT))),
            SUPERVISORS[2]: SupervisorSpec(flags, (worker("c"), worker("d", Restart.TEMPORARY))),
        },
        start_takes=takes,
        stop_takes=takes,
    )


def apply(world: World, act: Act, number: int) -> None:
    parent = TreePath(act.path.rpartition("/")[0] or "/")
    match act.what:
        case "exit":
            world.exit_child(act.path, ExitReason(act.kind))
        case "crash":
            world.crash_supervisor(act.path)
        case "hang":
            world.hang(act.path)
        case "fail":
            world.fail_starts(act.path, 1)
        case "ignore":
            world.ignore_starts(act.path, 1)
        case "never":
            world.never_start(act.path, 1)
        case "deaf":
            world.ignore_stop(act.path)
        case "stop":
            world.order(parent, AdminCalled(str(number), Call.TERMINATE_CHILD, id_of(act.path)))
        case "restart":
            world.order(parent, AdminCalled(str(number), Call.RESTART_CHILD, id_of(act.path)))
    world.advance(act.wait)


def agree(world: World) -> None:
    if world.ended is not None:
        assert world.up() == ()
        return
    seen = {ROOT}
    for path in SUPERVISORS:
        machine = world.machine(path)
        if machine is None:
            continue
        assert not machine.is_busy
        for child in machine.children.values():
            place = join(path, child.id)
            assert child.state in (ChildState.RUNNING, ChildState.UNDEFINED)
            if child.state is ChildState.RUNNING:
                assert world.incarnation(place) == child.incarnation
                seen.add(place)
    assert set(world.up()) == seen


@settings(max_examples=300, deadline=None)
@given(
    strategy=st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]),
    on_crash=st.sampled_from(OnSupervisorCrash),
    backoff=st.sampled_from([None, Backoff(base=0.2, jitter=0.0)]),
    takes=st.sampled_from([0.0, 0.1]),
    script=st.lists(acts, max_size=12),
)
def test_supervisors_and_processes_agree(
    strategy: Strategy, on_crash: OnSupervisorCrash, backoff: Backoff | None, takes: float, script: list[Act]
) -> None:
    world = build(strategy, on_crash, backoff, takes)
    world.start()
    world.advance(2.0)
    for number, act in enumerate(script):
        apply(world, act, number)
    assert world.run_until_quiet()
    agree(world)
    world.shutdown()
    assert world.run_until_quiet()
    assert world.ended is not None
    assert world.up() == ()
