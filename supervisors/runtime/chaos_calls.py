"""Calls to actors from many threads of one program: a loop of its own in a thread, connected before it is needed."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import TimeoutError as NotInTime
from functools import partial
from pathlib import Path

from supervisors.chaos.ground import Answer
from supervisors.core.errors import CallTimeout, LaunchError
from supervisors.runtime.environment import prepare
from supervisors.runtime.folders import folders_of
from supervisors.runtime.store import GoalStore

#: seconds beyond its own time-out that a call is waited for
_GRACE = 2.0


class Calls:
    """A connection to a running system, for several threads. Close it when done.

    Args:
        data_dir: of the system.

    Raises:
        LaunchError: nothing runs there, or its Ray cluster cannot be joined.
    """

    def __init__(self, data_dir: Path) -> None:
        folders = folders_of(data_dir)
        store = GoalStore(folders.data)
        address, namespace = store.get("ray_address"), store.get("namespace")
        if not address or not store.hosts("state='claimed'"):
            raise LaunchError(f"nothing runs in {data_dir}", code=2006, fix="rayvisor up starts it")
        prepare(folders, owned=store.get("ray_owned") == "1")
        # Ray reads its settings when it is imported
        from supervisors.runtime import cluster
        from supervisors.runtime.calls import Place
        from supervisors.runtime.chaos_caller import TellingCaller, actors_of
        from supervisors.runtime.places import place_of

        async def resolve(path: str) -> Place:
            return place_of(store, path)[0]

        cluster.connect(address, namespace)
        self._disconnect = cluster.disconnect
        self._caller = TellingCaller(namespace, resolve)
        self._actors = partial(actors_of, namespace)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._thread.start()

    def call(self, path: str, method: str, args: Sequence[object], timeout: float) -> object:
        """Call a method of a child once; see ``Context.call`` for the errors. From any thread.

        Raises:
            CallError: it did not come to an answer.
            Exception: what the actor's method raised.
        """
        return self.ask(path, method, args, timeout).value

    def ask(self, path: str, method: str, args: Sequence[object], timeout: float) -> Answer:
        """As ``call``; which life answered comes with it.

        Raises:
            CallError: it did not come to an answer.
            Exception: what the actor's method raised.
        """
        asked = self._caller.ask(path, method, tuple(args), timeout)
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result(timeout + _GRACE)
        except NotInTime as error:
            # of the method itself, or of our waiting
            if future.done():
                raise
            future.cancel()
            raise CallTimeout(f"{path}.{method}: no answer within {timeout:g} s") from error

    def actors(self) -> frozenset[str]:
        """Names of all Ray actors in the system's namespace.

        Raises:
            LaunchError: Ray does not answer.
        """
        return self._actors()

    def close(self) -> None:
        """Disconnect."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()
        self._disconnect()
