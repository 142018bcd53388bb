"""On which disk the newest journal of a child is: where a warm or a cold start misses nothing. Pure.

A life begins on that disk, and nowhere else unless a person says so. One that begins, or takes over, on another disk
first has everything there, then its supervisor writes down that this is the home from now on, then it acts: at each
moment, whoever dies, everything that was acknowledged is at the home that is written down.
"""

import msgspec


class Home(msgspec.Struct, frozen=True):
    """Where a child's newest journal is.

    Attributes:
        volume: id of the disk (``supervisors.state.volume``); empty: a person said that any will do.
        node: Ray's id of the node that it was reached from last: a new one each time that node comes up.
        address: of that node; empty for the launching node.
    """

    volume: str
    node: str
    address: str = ""


#: the person's word
ANYWHERE = Home("", "")


def is_new(home: Home | None, volume: str) -> bool:
    """Whether a life that acts on that disk moves the home: it has to be written down before it does."""
    return (home.volume if home is not None else "") != volume


def why_not(home: Home | None, volume: str) -> str:
    """Why a start from the journal on that disk would miss what was acknowledged; empty: it would not."""
    if home is None or home.volume in ("", volume):
        return ""
    return f"its newest journal is on another disk, that of node {home.node[:8]} {home.address}".rstrip()
