"""Random supervisors for the properties of the tree's machine."""

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason, crash
from supervisors.tree.model import (
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    Backoff,
    Budget,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)

REASONS = (NORMAL, SHUTDOWN, crash("boom"), ExitReason(ExitKind.KILLED), ExitReason(ExitKind.ESCALATED))
BUDGETS = ((), (), (Budget((ExitKind.KILLED,), 1, 5),), (Budget((ExitKind.KILLED, ExitKind.ESCALATED), 2, 3),))


@st.composite
def child_specs(draw: DrawFn, child_id: str, flags: SupervisorFlags) -> ChildSpec:
    """Any valid child below a supervisor with ``flags``."""
    restart = draw(st.sampled_from(Restart))
    may_be = flags.auto_shutdown is not AutoShutdown.NEVER and restart is not Restart.PERMANENT
    return ChildSpec(
        child_id,
        restart,
        shutdown=draw(st.sampled_from((1.0, 5.0, BRUTAL_KILL, INFINITY))),
        type=draw(st.sampled_from(ChildType)),
        significant=may_be and draw(st.booleans()),
        start_timeout=draw(st.sampled_from((INFINITY, 2.0))),
        ready_timeout=draw(st.sampled_from((None, None, 3.0, INFINITY))),
        backoff=draw(st.sampled_from((None, Backoff(), Backoff(base=1.0, immediate=0, jitter=0.0)))),
        max_consecutive=draw(st.sampled_from((None, None, 1, 3))),
        on_crash=draw(st.sampled_from(OnSupervisorCrash)),
        concurrent=draw(st.booleans()),
    )


@st.composite
def supervisor_specs(draw: DrawFn) -> SupervisorSpec:
    """Any supervisor with up to five children."""
    flags = SupervisorFlags(
        draw(st.sampled_from(Strategy)),
        draw(st.integers(0, 4)),
        draw(st.integers(1, 10)),
        draw(st.sampled_from(AutoShutdown)),
        max_children=draw(st.sampled_from((None, 3))),
        budgets=draw(st.sampled_from(BUDGETS)),
    )
    ids = "t" if flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE else "abcde"[: draw(st.integers(0, 5))]
    return SupervisorSpec(flags, tuple(draw(child_specs(i, flags)) for i in ids))
