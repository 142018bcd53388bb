"""Where a path is now: read from the goal state on the launching node, asked of the supervisor elsewhere."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from supervisors.runtime.boot import HostBoot
from supervisors.runtime.calls import Place
from supervisors.runtime.store import GoalStore, HostRow, PlaceRow

NEVER = Place("never")
GONE = Place("gone")
_CACHE_FOR = 0.5


def place_of(store: GoalStore, path: str, *, here: bool = True) -> tuple[Place, HostRow | None]:
    """What the goal state says of ``path``, for a reader on this node (``here``) or another."""
    row = store.place(path)
    if row is None:
        return NEVER, None
    if row.state != "running":
        return (GONE if _will_come_back(row) else NEVER), None
    host = store.host(row.host)
    if host is None:
        return GONE, None
    standbys = tuple(_pick(standby.pub, here) for standby in store.standbys(path))
    return Place("running", host.actor, row.incarnation, row.epoch, _pick(host.pub, here), standbys), host


def _pick(endpoints: str, here: bool) -> str:
    """Of a publisher's endpoints the one for this node (the first), or the one for other nodes (the last)."""
    words = endpoints.split()
    if not words:
        return ""
    return words[0] if here else words[-1]


def _will_come_back(row: PlaceRow) -> bool:
    return row.wanted or row.state in ("starting", "restarting")


class PlaceFinder:
    """Resolves paths for one process.

    Args:
        boot: tells whether the goal state is at hand.
        ask: asks the supervisor otherwise.
    """

    def __init__(self, boot: HostBoot, ask: Callable[[str], Awaitable[Place]]) -> None:
        self._data_dir = Path(boot.data_dir) if boot.local else None
        self._store: GoalStore | None = None
        self._ask = ask
        self._asked: dict[str, tuple[float, Place]] = {}

    async def find(self, path: str) -> Place:
        """Where ``path`` is now; ``gone`` when nobody could tell."""
        if self._data_dir is not None:
            # opened on first use: most children never look anybody up
            self._store = self._store or GoalStore(self._data_dir)
            return place_of(self._store, path)[0]
        known = self._asked.get(path)
        if known is not None and time.monotonic() - known[0] < _CACHE_FOR and known[1].state == "running":
            return known[1]
        place = await self._ask(path)
        self._asked[path] = time.monotonic(), place
        return place
