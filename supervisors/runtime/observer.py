"""Looks at a running system from outside its supervisors: for the live view, metrics, health and every command."""

import os
import threading
from functools import partial
from pathlib import Path

import msgspec

from supervisors.core.paths import ROOT, TreePath, parent_of
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.store import GoalStore
from supervisors.signals.client import Answer, PlaneClient
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Order, Ordered, Status
from supervisors.trail.status import SupervisorStatus, SystemStatus


class Observer:
    """Asks supervisors how they are. Thread-safe.

    Args:
        data_dir: of the system.
        loop: a plane loop that runs already; None: one of its own.
    """

    def __init__(self, data_dir: Path, loop: PlaneLoop | None = None) -> None:
        self._data_dir = data_dir
        self._store = GoalStore(data_dir)
        self._own = loop is None
        self._loop = loop or PlaneLoop("observer", lambda error: None)
        self._client = PlaneClient(self._loop)
        self._endpoints: set[str] = set()
        if self._own:
            self._loop.start()

    def close(self) -> None:
        """End what was started here."""
        if self._own:
            self._loop.stop()

    # ------------------------------------------------------------ questions

    def endpoint(self, path: str) -> str:
        """Where the host of ``path`` listens, empty when nothing runs there."""
        place = self._store.place(path)
        host = self._store.host(place.host) if place is not None and place.host else None
        return host.endpoint if host is not None else ""

    def supervisors(self) -> list[str]:
        """All declared supervisors, parents before children."""
        return self._store.supervisors()

    def status(self, timeout: float = 1.0) -> SystemStatus:
        """The whole system; a supervisor that does not answer in ``timeout`` seconds is left as ``not answering``."""
        wanted = {path: self.endpoint(path) for path in self.supervisors()}
        answers: dict[str, SupervisorStatus] = {}
        lock = threading.Lock()
        left = threading.Semaphore(0)

        def ask(path: str, endpoint: str) -> None:
            def answered(answer: Answer | None) -> None:
                if isinstance(answer, Status) and answer.body:
                    with lock:
                        answers[path] = msgspec.json.decode(answer.body, type=SupervisorStatus)
                left.release()

            self._client.ask_status(endpoint, path, timeout, answered)

        asked = {path: endpoint for path, endpoint in wanted.items() if endpoint}
        self._loop.call_soon(lambda: self._forget_all_but(set(asked.values())))
        for path, endpoint in asked.items():
            self._loop.call_soon(partial(ask, path, endpoint))
        for _ in asked:
            left.acquire(timeout=timeout + 1.0)
        clock = SystemClock()
        return SystemStatus(
            system=self._store.get("system"),
            data_dir=str(self._data_dir),
            warden_pid=int(self._store.get("warden_pid", "0")),
            started_utc=int(self._store.get("started_utc", "0")),
            supervisors=[answers.get(path) or self._silent(path) for path in self._meant(wanted, answers)],
            at=clock.monotonic(),
        )

    @staticmethod
    def _meant(wanted: dict[str, str], answers: dict[str, SupervisorStatus]) -> list[str]:
        """Without those that are not to run now, and what is below them: the supervisor above tells of them."""
        meant: list[str] = []
        for path, endpoint in wanted.items():
            parent = parent_of(TreePath(path))
            if path != ROOT and parent not in meant:
                continue
            above = answers.get(parent)
            if path == ROOT or endpoint or above is None or _is_missing(path, above):
                meant.append(path)
        return meant

    def _forget_all_but(self, endpoints: set[str]) -> None:
        for endpoint in self._endpoints - endpoints:
            self._client.forget(endpoint)
        self._endpoints = endpoints

    def _silent(self, path: str) -> SupervisorStatus:
        place = self._store.place(path)
        host = self._store.host(place.host) if place is not None and place.host else None
        state = "not answering" if host is not None else (place.state if place is not None else "starting")
        return SupervisorStatus(
            path=path,
            pid=host.pid if host is not None else 0,
            incarnation=place.incarnation if place is not None else 0,
            state="stopped" if state == "undefined" else state,
        )

    def order(self, supervisor: str, call: str, child: str = "", args: str = "", timeout: float = 60.0) -> Ordered:
        """Give an administrator's order and wait for its answer; the error ``noproc`` when nobody answers (OTP)."""
        endpoint = self.endpoint(supervisor)
        if not endpoint:
            return Ordered(0, "noproc", child, detail=f"no supervisor runs at {supervisor}")
        done = threading.Event()
        answers: list[Ordered] = []

        def answered(answer: Answer | None) -> None:
            if isinstance(answer, Ordered):
                answers.append(answer)
            done.set()

        order = Order(0, call, child, args, f"uid {os.getuid()}")
        self._loop.call_soon(lambda: self._client.order(endpoint, order, timeout, answered))
        done.wait(timeout + 1.0)
        return answers[0] if answers else Ordered(0, "noproc", child, detail=f"{supervisor} does not answer")


def _is_missing(path: str, above: SupervisorStatus) -> bool:
    """True when the supervisor above wants the one at ``path`` to run."""
    return any(child.path == path and child.state not in ("stopped", "starting") for child in above.children)


def is_up(status: SystemStatus) -> bool:
    """True when every supervisor answers and all their children are up or at rest."""
    if not status.supervisors or status.supervisors[0].path != ROOT:
        return False
    return all(
        supervisor.state == "running" and all(c.state in ("ready", "stopped") for c in supervisor.children)
        for supervisor in status.supervisors
    )
