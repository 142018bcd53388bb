"""Changes a running system to another topology (TOP-5), from any process of the launching node, over the plane alone.

The stored topology always says what runs: it moves on with each step that is done. So whatever breaks this off, a kill
of this process included, another ``apply`` of any file finds out by comparison what is left to do.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isinf
from pathlib import Path

import msgspec

from supervisors.core.errors import AdminError, LaunchError
from supervisors.core.paths import ROOT, TreePath, id_of, parent_of
from supervisors.runtime.casebook import forget_cases
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.reloading import APPLY, pack
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.client import Answer, PlaneClient
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Order, Ordered
from supervisors.signals.proc import pid_alive, process_start_time
from supervisors.spec.changes import Changes, compare
from supervisors.spec.compiled import CompiledTopology, SupervisorPart, decode, encode
from supervisors.spec.steps import Step, StepKind, advance, plan, subtree
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter
from supervisors.tree.child import ChildState

#: seconds an order may take beside the times the child itself is given: a host process may have to be made for it
_MARGIN = 90.0
#: seconds for an order to a child without a limit of its own
_NO_LIMIT = 86_400.0
#: seconds a supervisor that is between two lives is waited for
_COME_BACK = 30.0
_ATTEMPTS = 3
_LOOK_EVERY = 0.1
#: settings of the goal state: who applies now, and the child that was stopped to be started anew
_OPERATOR = "reload"
_HALF_WAY = "reload_half_way"


class Done(msgspec.Struct, frozen=True):
    """A step that was carried out; ``note`` says what was not as usual."""

    step: Step
    note: str = ""


class Applied(msgspec.Struct, frozen=True):
    """What came of an ``apply``.

    Attributes:
        changes: what was to be done.
        done, left: the steps; ``left`` begins with the one that failed.
        error: why it stopped, empty when all was done.
        before, after: digests of what ran and of what runs.
    """

    changes: Changes
    done: tuple[Done, ...]
    left: tuple[Step, ...]
    error: str
    before: str
    after: str


class Operator(msgspec.Struct, frozen=True):
    """Who applies a topology at this moment."""

    who: str
    pid: int
    start_time: int
    since: str


class StepFailed(Exception):
    """A step could not be done; what it had begun is taken back, or said."""


class _Lost(Exception):
    """The supervisor went away while it had an order."""


def running_topology(store: GoalStore) -> CompiledTopology:
    """What runs, as far as it is ordered.

    Raises:
        LaunchError: nothing runs there.
    """
    if not store.hosts("state='claimed'"):
        raise LaunchError("nothing runs here", code=2006, fix="rayvisor up starts it")
    return decode(store.part("topology"), CompiledTopology)


class Reload:
    """Applies topologies to the system in one data directory.

    Args:
        folder: the data directory.
        told: called with each step that is done.
    """

    def __init__(self, folder: Path, told: Callable[[Done], None] = lambda done: None) -> None:
        self._store = GoalStore(folder)
        self._told = told
        self._who = f"uid {os.getuid()}"
        self._clock = SystemClock()
        self._trail = TrailWriter(folder / "trail", "cli", self._clock)
        self._loop = PlaneLoop("reload", lambda error: None)
        self._client = PlaneClient(self._loop)
        self._loop.start()

    def close(self) -> None:
        """End what was started here."""
        self._loop.stop()
        self._trail.close()
        self._store.close()

    def running(self) -> CompiledTopology:
        """See ``running_topology``."""
        return running_topology(self._store)

    def apply(self, new: CompiledTopology) -> Applied:
        """Change what runs to ``new``, which must not need a restart of the system (``Changes.refused``).

        Raises:
            AdminError: somebody else is at it (3002), or a supervisor concerned does not answer (3003): nothing was
                done.
            LaunchError: nothing runs.
        """
        with self._alone():
            topology = self.running()
            changes = compare(topology, new)
            steps = plan(changes)
            for supervisor in dict.fromkeys(step.supervisor for step in steps):
                self._is_live(supervisor, steps)
            return self._carry_out(changes, steps, topology)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One operator at a time; one whose process is gone is no more."""
        pid = os.getpid()
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._clock.utc_ns() / 1e9))
        me = Operator(self._who, pid, process_start_time(pid) or 0, since)
        other = self._store.claim(_OPERATOR, msgspec.json.encode(me).decode(), _is_stale)
        if other:
            found = msgspec.json.decode(other, type=Operator)
            raise AdminError(
                f"{found.who} (process {found.pid}) applies a topology since {found.since}",
                code=3002,
                fix="wait until it is done, then look at rayvisor diff again",
            )
        try:
            yield
        finally:
            self._store.put(**{_OPERATOR: ""})

    def _carry_out(self, changes: Changes, steps: tuple[Step, ...], topology: CompiledTopology) -> Applied:
        done: list[Done] = []
        before, error = topology.digest, "interrupted"
        try:
            for step in steps:
                there = advance(topology, step, changes.new)
                note = self._do(step, topology, there)
                topology = there
                self._keep(topology)
                done.append(Done(step, note))
                self._told(done[-1])
            error = ""
        except StepFailed as failure:
            error = str(failure)
        finally:
            self._record(changes, before, topology.digest, error)
        return Applied(changes, tuple(done), steps[len(done) :], error, before, topology.digest)

    def _keep(self, topology: CompiledTopology) -> None:
        """The stored topology is what runs; the digest last, since it tells readers to look again."""
        self._store.redeclare({"topology": encode(topology), "system": encode(topology.system)})
        self._store.put(digest=topology.digest, **{_HALF_WAY: ""})

    def _record(self, changes: Changes, before: str, after: str, error: str) -> None:
        self._trail.write(
            EventKind.TOPOLOGY_APPLIED,
            ROOT,
            data={
                "who": self._who,
                "result": error or "ok",
                "added": len(changes.added),
                "removed": len(changes.removed),
                "changed": len(changes.changed),
                "moved": len(changes.moved),
                "digest_before": before,
                "digest": after,
            },
        )

    # ------------------------------------------------------------ steps; each may be repeated

    def _do(self, step: Step, here: CompiledTopology, there: CompiledTopology) -> str:
        """Carry out one step; the answer says what was not as usual.

        Raises:
            StepFailed: it could not be done.
        """
        for _ in range(_ATTEMPTS):
            try:
                match step.kind:
                    case StepKind.SYSTEM:
                        return ""  # read from the goal state
                    case StepKind.ADJUST:
                        return self._put(step.path, there)
                    case StepKind.REMOVE:
                        return self._remove(step, here, there)
                    case StepKind.REPLACE:
                        return self._replace(step, here, there)
                    case StepKind.ADD:
                        return self._add(step, here, there)
            except _Lost:
                continue
        raise StepFailed(f"{step.supervisor} did not stay up to answer")

    def _put(self, supervisor: str, topology: CompiledTopology, expected: str = "") -> str:
        """Tell a supervisor its part."""
        part = topology.supervisors[supervisor]
        if not self._is_live(supervisor):
            self._store.redeclare({supervisor: encode(part)})
            return f"{supervisor} is not running; holds when it is started"
        answer = self._order(supervisor, APPLY, expected, pack(part))
        if answer.error:
            raise StepFailed(f"{supervisor} does not take its new settings: {_words(answer)}")
        return ""

    def _remove(self, step: Step, here: CompiledTopology, there: CompiledTopology) -> str:
        supervisor, child = step.supervisor, id_of(TreePath(step.path))
        if self._is_live(supervisor):
            self._must(self._order(supervisor, "terminate_child", child, timeout=_stop_limit(here, step)), "not_found")
            self._must(self._order(supervisor, "delete_child", child), "not_found")
        note = self._put(supervisor, there)
        self._store.undeclare(step.path)
        forget_cases(self._store, TreePath(step.path))
        return note

    def _replace(self, step: Step, here: CompiledTopology, there: CompiledTopology) -> str:
        supervisor, child = step.supervisor, id_of(TreePath(step.path))
        if not self._is_live(supervisor):
            return self._put(supervisor, there)
        place = self._store.place(step.path)
        if self._store.get(_HALF_WAY) != step.path and (place is None or not place.wanted):
            # ended for good, or stopped by hand: what is down stays down
            return self._put(supervisor, there) or "it is not running and stays so; holds when it is started"
        self._store.put(**{_HALF_WAY: step.path})
        self._must(self._order(supervisor, "terminate_child", child, timeout=_stop_limit(here, step)), "not_found")
        self._put(supervisor, there, child)
        answer = self._start(supervisor, child, there)
        if not answer.error:
            return ""
        self._put(supervisor, here, child)
        back = self._start(supervisor, child, here)
        if not back.error:
            self._store.put(**{_HALF_WAY: ""})
            raise StepFailed(f"{step.path} did not start: {_words(answer)}; it runs with its old settings again")
        raise StepFailed(
            f"{step.path} did not start: {_words(answer)}; with its old settings neither: {_words(back)}; it is down"
        )

    def _add(self, step: Step, here: CompiledTopology, there: CompiledTopology) -> str:
        supervisor, child = step.supervisor, id_of(TreePath(step.path))
        below = {path: encode(there.supervisors[path]) for path in subtree(there, step.path)}
        if below:
            self._store.redeclare(below)
        note = self._put(supervisor, there, child)
        if note:
            return note
        answer = self._start(supervisor, child, there)
        if not answer.error:
            return ""
        self._order(supervisor, "delete_child", child)
        self._put(supervisor, here)
        self._store.undeclare(step.path)
        raise StepFailed(f"{step.path} did not start: {_words(answer)}; it is not kept")

    def _start(self, supervisor: str, child: str, topology: CompiledTopology) -> Ordered:
        """Start a child that its supervisor knows; one that came up with its group in the meantime is started."""
        limit = _start_limit(topology.supervisors[supervisor], child)
        answer = self._order(supervisor, "restart_child", child, timeout=limit)
        if answer.error in ("running", "restarting"):
            return Ordered(answer.ref, "", child)
        return answer

    @staticmethod
    def _must(answer: Ordered, *harmless: str) -> None:
        if answer.error and answer.error not in harmless:
            raise StepFailed(_words(answer))

    # ------------------------------------------------------------ the plane

    def _host(self, path: str) -> HostRow | None:
        """The host that carries the supervisor at ``path``, while its process lives."""
        place = self._store.place(path)
        if place is None or place.state != ChildState.RUNNING.value:
            return None
        host = self._store.host(place.host)
        return host if host is not None and pid_alive(host.pid, host.start_time) else None

    def _is_live(self, path: str, steps: tuple[Step, ...] = ()) -> bool:
        """True when a supervisor runs, False when it is meant to be down; one between two lives is waited for.

        Raises:
            AdminError: it did not come back. With ``steps`` (before the first of them) nothing was done yet.
            StepFailed: the same, on the way.
        """
        deadline = time.monotonic() + _COME_BACK
        while self._host(path) is None:
            if self._rests(path):
                return False
            if time.monotonic() > deadline:
                text = f"{path} does not run, although it should"
                if steps:
                    raise AdminError(f"{text}; nothing was changed", code=3003, fix="see rayvisor tree, then try again")
                raise StepFailed(text)
            time.sleep(_LOOK_EVERY)
        return True

    def _rests(self, path: str) -> bool:
        """True when the supervisor at ``path``, or one above it, was stopped by hand or ended for good."""
        while path != ROOT:
            place = self._store.place(path)
            if place is None or (not place.wanted and place.state == ChildState.UNDEFINED.value):
                return True
            path = parent_of(TreePath(path))
        return False

    def _order(self, supervisor: str, call: str, child: str = "", args: str = "", timeout: float = _MARGIN) -> Ordered:
        """Give an order and wait for its answer, but not for a supervisor that is gone."""
        host = self._host(supervisor)
        if host is None:
            raise _Lost
        done = threading.Event()
        answers: list[Ordered] = []

        def answered(answer: Answer | None) -> None:
            if isinstance(answer, Ordered):
                answers.append(answer)
            done.set()

        order = Order(0, call, child, args, self._who)
        self._loop.call_soon(partial(self._client.order, host.endpoint, order, timeout, answered))
        while not done.wait(_LOOK_EVERY):
            if not pid_alive(host.pid, host.start_time):
                raise _Lost
        if not answers or answers[0].error == "noproc":
            raise _Lost
        return answers[0]


def _is_stale(row: str) -> bool:
    operator = msgspec.json.decode(row, type=Operator)
    return not pid_alive(operator.pid, operator.start_time)


def _stop_limit(topology: CompiledTopology, step: Step) -> float:
    limits = [
        c.shutdown for c in topology.supervisors[step.supervisor].spec.children if c.id == id_of(TreePath(step.path))
    ]
    return _bounded(sum(limits))


def _start_limit(part: SupervisorPart, child_id: str) -> float:
    limits = [c.start_timeout + (c.ready_timeout or 0.0) for c in part.spec.children if c.id == child_id]
    return _bounded(sum(limits))


def _bounded(limit: float) -> float:
    return _NO_LIMIT if isinf(limit) else limit + _MARGIN


def _words(answer: Ordered) -> str:
    return f"{answer.error}: {answer.detail}" if answer.detail else answer.error
