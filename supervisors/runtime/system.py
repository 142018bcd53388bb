"""A running system for programs outside its tree: ``with System.connect(".rayvisor") as system: system.call(...)``."""

import asyncio
from pathlib import Path
from types import TracebackType

from supervisors.core.errors import LaunchError
from supervisors.runtime.environment import prepare
from supervisors.runtime.folders import folders_of
from supervisors.runtime.store import GoalStore


class System:
    """A connection to a running system. Make it with ``connect``; close it when done."""

    def __init__(self, data_dir: Path) -> None:
        folders = folders_of(data_dir)
        store = GoalStore(folders.data)
        address, namespace = store.get("ray_address"), store.get("namespace")
        if not address or not store.hosts("state='claimed'"):
            raise LaunchError(f"nothing runs in {data_dir}", code=2006, fix="rayvisor up starts it")
        prepare(folders, owned=store.get("ray_owned") == "1")
        from supervisors.runtime import cluster
        from supervisors.runtime.calls import Caller, Place
        from supervisors.runtime.places import place_of

        async def resolve(path: str) -> Place:
            return place_of(store, path)[0]

        cluster.connect(address, namespace)
        self._disconnect = cluster.disconnect
        self._caller = Caller(namespace, resolve)
        self._runner = asyncio.Runner()

    @classmethod
    def connect(cls, data_dir: str | Path = ".rayvisor") -> "System":
        """Connect to the system in ``data_dir``.

        Raises:
            LaunchError: nothing runs there, or its Ray cluster cannot be joined.
        """
        return cls(Path(data_dir))

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> object:
        """Call a method of a child; see ``Context.call`` for the rules and errors."""
        return self._runner.run(self._caller.call(path, method, args, kwargs, timeout, once))

    def close(self) -> None:
        """Disconnect."""
        self._runner.close()
        self._disconnect()

    def __enter__(self) -> "System":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
