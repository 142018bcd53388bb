"""Makes and unmakes hosts through Ray. Every call here may block for long: never from the plane's thread.

Ray is asked for processes, nodes and resources only; whether and when a host is made is decided elsewhere.
"""

import contextlib
import functools
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supervisors.core.errors import LaunchError
from supervisors.recovery.home import Home
from supervisors.runtime.boot import HostBoot, HostInfo
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.beacon import remove_files
from supervisors.signals.proc import kill_certain, pid_alive
from supervisors.spec.compiled import PlacementSpec

if TYPE_CHECKING:
    from supervisors.runtime.host import Host

#: seconds Ray gets to bring up a host process; a worker takes 0.5-2 s, on a loaded machine far more
CREATE_TIMEOUT = 60.0
#: seconds before Ray is asked again about an actor that it calls unavailable
_ASK_AGAIN = 0.5
_ANYWHERE = frozenset({"any", "launch"})


def bury_files(plane_dir: Path, shm_dir: Path, host: str) -> None:
    """Remove the names of a host that is dead: sockets and notes in the one folder, the beacon's in the other."""
    for kind in ("h", "p", "exit", "fault"):
        (plane_dir / f"{kind}-{host}").unlink(missing_ok=True)
    remove_files(shm_dir, host)


class _Node(NamedTuple):
    """A live node, as Ray knows it."""

    id: str
    names: tuple[str, str]
    labels: dict[str, str]
    resources: dict[str, float]


def _live_nodes() -> list[_Node]:
    return [
        _Node(
            str(node["NodeID"]),
            (str(node["NodeManagerAddress"]), str(node["NodeName"])),
            dict(node.get("Labels", {})),
            dict(node["Resources"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _find(home: Home | None) -> str:
    """The id of the live node that a disk is reached from; empty: it is none, or none that is known to be."""
    if home is None:
        return ""
    nodes = _live_nodes()
    if any(node.id == home.node for node in nodes):
        return home.node
    # a node that came up anew has another id
    return next((node.id for node in nodes if home.address and home.address in node.names), "")


def is_default(placement: PlacementSpec) -> bool:
    """True when the child may run in any spare of the launching node."""
    return (
        placement.node in _ANYWHERE
        and not placement.labels
        and not placement.resources
        and not placement.anti_affinity
        and placement.num_cpus == 0
    )


class HostFactory:
    """Makes hosts for one system.

    Args:
        boot: of the process this runs in; what a new host is told is derived from it.
    """

    def __init__(self, boot: HostBoot) -> None:
        self._boot = boot
        self._store = GoalStore(Path(boot.data_dir))
        #: this machine's Ray node
        self.node = str(ray.get_runtime_context().get_node_id())

    # ------------------------------------------------------------ making

    def acquire(self, path: str, placement: PlacementSpec, near: Home | None = None) -> HostRow:
        """A claimed host for ``path``: a spare, one that is being made for the pool, or a new one.

        On the node of ``near`` (None: any) where the placement leaves that choice and that node lives.

        Raises:
            LaunchError: Ray could not make one in time.
        """
        node = _find(near)
        if node or not is_default(placement):
            return self.create(path, placement, near=node)
        deadline = time.monotonic() + CREATE_TIMEOUT
        while time.monotonic() < deadline:
            row = self._store.claim_spare(path, "")
            if row is not None:
                if pid_alive(row.pid, row.start_time):
                    return row
                self.forget(row.id)
                continue
            if not self._in_the_making():
                return self.create(path, placement)
            time.sleep(0.005)
        raise LaunchError(f"{path}: no host within {CREATE_TIMEOUT:g} s", code=2030, fix="is the machine overloaded?")

    def _in_the_making(self) -> bool:
        """Hosts that nobody has claimed yet are being made, by a process that still lives."""
        rows = self._store.hosts("state='creating' AND path='' AND pool=''")
        recent = time.monotonic() - CREATE_TIMEOUT
        return any(row.created > recent and Path(f"/proc/{row.creator}").exists() for row in rows)

    def create(self, path: str, placement: PlacementSpec, state: str = "", near: str = "") -> HostRow:
        """A new host, claimed for ``path`` (a spare when ``path`` is empty), or in another ``state``; see ``acquire``.

        Raises:
            LaunchError: Ray could not make one in time, or no node satisfies the placement.
        """
        return self.create_many(1, path, placement, state=state, near=near)[0]

    def create_many(
        self,
        count: int,
        path: str = "",
        placement: PlacementSpec | None = None,
        made: Callable[[HostRow], None] = lambda row: None,
        state: str = "",
        near: str = "",
    ) -> list[HostRow]:
        """``count`` new hosts at once, written down as they come up.

        Args:
            count: how many.
            path: claimed for it; empty: spares.
            placement: where; None: the launching node.
            made: told of each.
            state: they get once they are up; empty: claimed or spare.
            near: the live node to prefer; empty: any.

        Raises:
            LaunchError: one of them did not come up in time.
        """
        placement = placement or PlacementSpec()
        nodes = _live_nodes() if not is_default(placement) else []
        local = is_default(placement) and near in ("", self.node)
        actor_class = _host_class()
        options = self._options(path, placement, nodes, near)
        pending: dict[ray.ObjectRef[bytes], HostRow] = {}
        for _ in range(count):
            host = uuid.uuid4().hex[:12]
            row = HostRow(
                id=host, actor=f"host-{host}", local=local, path=path, creator=os.getpid(), created=time.monotonic()
            )
            self._store.add_host(row)
            boot = msgspec.structs.replace(
                self._boot, host=host, local=local, transport=self._boot.transport if local else "tcp"
            )
            handle = actor_class.options(name=row.actor, namespace=self._boot.namespace, **options).remote(
                msgspec.msgpack.encode(boot)
            )
            pending[handle.describe.remote()] = row
        return self._await(pending, made, state)

    def _await(
        self, pending: "dict[ray.ObjectRef[bytes], HostRow]", made: Callable[[HostRow], None], state: str
    ) -> list[HostRow]:
        rows: list[HostRow] = []
        deadline = time.monotonic() + CREATE_TIMEOUT
        error = ""
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                error = f"Ray brought up no host process within {CREATE_TIMEOUT:g} s"
                break
            row = pending.pop(ready[0])
            try:
                info = msgspec.msgpack.decode(ray.get(ready[0]), type=HostInfo)
            except ray.exceptions.RayError as failure:
                error = f"a host process failed to start: {_last_line(failure)}"
                self.forget(row.id)
                continue
            rows.append(self._up(row, info, state))
            made(rows[-1])
        for row in pending.values():
            self.destroy(row)
        if error:
            for row in rows if len(rows) == 1 else ():
                self.destroy(row)
            raise LaunchError(error, code=2031, fix="see the Ray logs, and whether a placement can be satisfied")
        return rows

    def _up(self, row: HostRow, info: HostInfo, state: str) -> HostRow:
        up = msgspec.structs.replace(
            row,
            pid=info.pid,
            start_time=info.start_time,
            node=info.node,
            local=row.local and info.node == self.node,
            endpoint=info.endpoint,
            pub=info.pub,
            volume=info.volume,
            state=state or ("claimed" if row.path else "spare"),
        )
        self._store.add_host(up)
        return up

    def _options(self, path: str, placement: PlacementSpec, nodes: "list[_Node]", near: str) -> dict[str, object]:
        options: dict[str, object] = {
            "lifetime": "detached",
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": placement.num_cpus,
            "resources": placement.resources or None,
        }
        node = self._wanted_node(path, placement, nodes, near)
        if node:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
        if placement.labels:
            options["label_selector"] = placement.labels
        return options

    def _wanted_node(self, path: str, placement: PlacementSpec, nodes: "list[_Node]", near: str) -> str:
        """The node id to pin to, or an empty string when Ray may choose.

        A path that names itself in its ``anti_affinity`` means its standbys; they are kept apart by whoever makes them.

        Raises:
            LaunchError: no live node satisfies the placement.
        """
        if placement.node == "launch":
            return self.node
        if is_default(placement):
            return near or self.node
        if placement.node != "any":
            for node in nodes:
                if placement.node in (node.id, *node.names):
                    return node.id
            raise LaunchError(f"no live node {placement.node!r}", code=2032, fix="see: ray list nodes")
        taken = {host.node for other in placement.anti_affinity if other != path for host in self._hosts_at(other)}
        free = [
            node.id
            for node in nodes
            if node.id not in taken
            and placement.labels.items() <= node.labels.items()
            and all(node.resources.get(name, 0.0) >= wanted for name, wanted in placement.resources.items())
        ]
        if near in free:
            return near
        if not taken:
            return ""
        if free:
            return free[0]
        if len(nodes) == 1:
            return ""  # one machine: apart is not to be had, and running beats not running
        raise LaunchError(f"no live node apart from {', '.join(placement.anti_affinity)}", code=2033)

    def _hosts_at(self, path: str) -> list[HostRow]:
        return self._store.hosts("path=? AND state='claimed'", (path,))

    def agent(self, node: str, path: str) -> HostRow:
        """The agent process of another node, made when there is none.

        Raises:
            LaunchError: Ray could not make one in time.
        """
        for row in self._store.hosts("path=? AND state='claimed'", (path,)):
            try:
                ray.get_actor(row.actor, namespace=self._boot.namespace)
            except ValueError:
                self.forget(row.id)
                continue
            return row
        return self.create(path, PlacementSpec(node=node))

    # ------------------------------------------------------------ unmaking

    def destroy(self, row: HostRow) -> None:
        """End a host for certain, as far as it can be reached."""
        if row.local and row.pid:
            kill_certain(row.pid, row.start_time)
        else:
            with contextlib.suppress(ValueError, ray.exceptions.RayError):  # gone already
                ray.kill(ray.get_actor(row.actor, namespace=self._boot.namespace), no_restart=True)
        self.forget(row.id)

    def forget(self, host: str) -> None:
        """Of a host that is dead, or was told to end, leave nothing: row, sockets and notes, words. From any thread."""
        self._store.drop_host(host)
        bury_files(Path(self._boot.plane_dir), Path(self._boot.shm_dir), host)

    def watch(self, row: HostRow, died: Callable[[str], None]) -> None:
        """Tell when Ray says that a host is dead (``died`` gets Ray's words, in a thread of Ray's)."""
        try:
            handle = ray.get_actor(row.actor, namespace=self._boot.namespace)
        except ValueError as error:
            died(str(error))
            return

        def ended(error: BaseException | None) -> None:
            if not isinstance(error, ray.exceptions.ActorUnavailableError):
                died(_last_line(error))
                return
            # unavailable is not dead: ask again until Ray knows
            timer = threading.Timer(_ASK_AGAIN, lambda: self.watch(row, died))
            timer.daemon = True
            timer.start()

        handle.linger.remote().future().add_done_callback(lambda done: ended(done.exception()))

    def node_of(self, row: HostRow) -> bool:
        """True while Ray counts the node of ``row`` among the living."""
        return any(node["NodeID"] == row.node and node["Alive"] for node in ray.nodes())


@functools.cache
def _host_class() -> "ray.actor.ActorClass[Host]":
    """Made once: Ray keeps some 30 kB in this process, and a pickled class in its head, for each it is given."""
    from supervisors.runtime.host import Host

    return ray.remote(Host)


def _last_line(error: BaseException | None) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
