"""Failures by chance, the same for the same seed."""

import random
import re

from supervisors.core.paths import TreePath, join
from supervisors.core.reasons import ExitReason
from supervisors.simulate.script import RandomExits
from supervisors.spec.compiled import CompiledTopology
from supervisors.testing.world import World


class RandomPlan:
    """Draws of one ``random_exits`` step. Static workers are listed once; children of pools are looked up each time."""

    def __init__(self, action: RandomExits, world: World, compiled: CompiledTopology, seed: int, number: int) -> None:
        self._action = action
        self._world = world
        self._random = random.Random(f"{seed if action.seed is None else action.seed}:{number}")
        self._pattern = _pattern(action.paths)
        self._static = [TreePath(path) for path in compiled.workers if self._pattern.fullmatch(path)]
        self._pools = [TreePath(path) for path, part in compiled.supervisors.items() if part.template is not None]

    def gap(self) -> float:
        """Seconds until the next failure."""
        return self._random.expovariate(self._action.rate_per_s)

    def reason(self) -> ExitReason:
        """Why it fails."""
        return ExitReason(self._random.choice(self._action.reasons), "by chance")

    def choose(self) -> TreePath | None:
        """Who fails; None when nobody matches."""
        dynamic = [path for pool in self._pools for path in self._children(pool)]
        count = len(self._static) + len(dynamic)
        if count == 0:
            return None
        index = self._random.randrange(count)
        return self._static[index] if index < len(self._static) else dynamic[index - len(self._static)]

    def _children(self, pool: TreePath) -> list[TreePath]:
        machine = self._world.machine(pool)
        if machine is None:
            return []
        paths = [join(pool, child_id) for child_id in machine.children]
        return [path for path in paths if self._pattern.fullmatch(path)]


def _pattern(glob: str) -> re.Pattern[str]:
    """``*``: anything within one level; ``**``: any number of levels."""
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))
