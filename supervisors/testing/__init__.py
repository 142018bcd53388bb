"""Doubles we ship: a clock moved by hand, and a world in which supervisors run without processes or real time."""

from supervisors.testing.clock import ManualClock
from supervisors.testing.scripted import ScriptedChild
from supervisors.testing.trace import TraceEvent
from supervisors.testing.world import World, WorldStuck

__all__ = ["ManualClock", "ScriptedChild", "TraceEvent", "World", "WorldStuck"]
