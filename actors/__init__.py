"""rayvisor's doing half: everything here can be named in ``topology.yaml``."""

from actors.base import Actor
from actors.context import Context, Subscription

__all__ = ["Actor", "Context", "Subscription"]
