"""On which disk the newest journal of a child is: where a warm or a cold start misses nothing. Pure.

A life begins on that disk, and nowhere else unless a person says so. A standby with another disk first has everything
there, then its supervisor writes down that this is the home from now on, then it acts: at each moment, whoever dies,
everything that was acknowledged is at the home that is written down.
"""

import msgspec


class Home(msgspec.Struct, frozen=True):
    """Where a child's newest journal is.

    Attributes:
        volume: id of the disk (``supervisors.state.volume``).
        node: id of the node that it was reached from last.
    """

    volume: str
    node: str


def is_elsewhere(home: Home | None, volume: str) -> bool:
    """Whether a life on that disk has another journal than the newest; nobody's is nowhere."""
    return home is not None and home.volume != volume


def why_not(home: Home | None, volume: str) -> str:
    """Why a start from the journal on that disk would miss what was acknowledged; empty: it would not."""
    if home is None or not is_elsewhere(home, volume):
        return ""
    return f"its newest journal is on another disk, that of node {home.node[:8]}"
