"""rayvisor's doing half: everything here can be named in ``topology.yaml``."""

from actors.base import Actor
from actors.context import Context, Subscription
from supervisors.core.errors import Ignore

__all__ = ["Actor", "Context", "Ignore", "Subscription"]
