"""Recovery worker that answers validation steps of a recovery policy (REC-5).

    - id: validate
      actor: actors.workers.validate:ValidateRecovery

and in the policy of the child that is to be validated:

    recovery:
      validate:
        - {name: processes, worker: /watch/validate, method: processes}
        - {name: market data, worker: /watch/validate, method: market_data, args: {max_age: 1.0}}
        - {name: positions, worker: /watch/validate, method: answers, args: {method: check_positions}}

Every method takes the ``path`` that was recovered and the ``failure`` it recovers from, changes nothing, may be
repeated at will, and answers ``{"ok": bool, "why": str}``.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from actors.base import Actor
from actors.workers.validate_core import Answer, busy_share, memory_share, percentile, stale_channels
from supervisors.core.durations import Duration
from supervisors.core.errors import CallError
from supervisors.core.paths import TreePath, parent_of

Judge = Callable[[object], Answer]


class ValidateConfig(BaseModel):
    """Config of ``ValidateRecovery``. Bounds of 003 §4.3.

    Attributes:
        timeout: seconds for one question to the recovered child.
        latency: bound on the 99th percentile of a question's round trip, seconds.
        cpu, memory: bound on the machine's use, as a share.
        pings: questions asked for the latency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: Duration = Field(default=2.0, gt=0)
    latency: Duration = Field(default=0.01, gt=0)
    cpu: float = Field(default=0.8, gt=0, le=1)
    memory: float = Field(default=0.8, gt=0, le=1)
    pings: int = Field(default=50, ge=1, le=10_000)


class ValidateRecovery(Actor):
    """Checks a recovered child from outside. Holds no state: any life of it can answer."""

    Config = ValidateConfig
    config: ValidateConfig

    async def processes(self, path: str, failure: str = "") -> Mapping[str, object]:
        """The child, and its siblings, run and beat."""
        children = await self.ctx.children(parent_of(TreePath(path)))
        if not children:
            return Answer(False, f"the supervisor of {path} does not answer").told()
        bad = [
            f"{child['id']} {child.get('verdict') or child.get('state')}"
            for child in children
            if child.get("state") not in ("ready", "stopped") or child.get("verdict") in ("dead", "hung", "suspect")
        ]
        return Answer(not bad, ", ".join(bad)).told()

    async def connectivity(self, path: str, failure: str = "") -> Mapping[str, object]:
        """Its own ``health()`` says that it is well."""
        return await self._ask(path, "health", lambda found: Answer(found is True, f"health() gave {found!r}"))

    async def market_data(self, path: str, failure: str = "", max_age: float = 1.0) -> Mapping[str, object]:
        """No channel of a connector is older than ``max_age`` seconds, and its books are valid."""
        return await self._ask(path, "status", lambda found: stale_channels(found, max_age))

    async def answers(self, path: str, failure: str = "", method: str = "health") -> Mapping[str, object]:
        """A check of the child's own: its ``method`` answers true, or ``{"ok": bool, "why": str}``.

        Positions, orders, order routing, risk and P&L are checked by those who know them.
        """
        return await self._ask(path, method, Answer.read)

    async def performance(self, path: str, failure: str = "") -> Mapping[str, object]:
        """Round trips to the child, and the machine's processor and memory, are within bounds."""
        rules = self.config
        trips = []
        busy = _cpu_times()
        for _ in range(rules.pings):
            began = time.perf_counter()
            try:
                await self.ctx.call(path, "health", timeout=rules.timeout)
            except CallError as error:
                return Answer(False, str(error)).told()
            trips.append(time.perf_counter() - began)
        cpu, memory = busy_share(busy, _cpu_times()), memory_share(_meminfo())
        p99 = percentile(trips, 0.99)
        why = []
        if p99 > rules.latency:
            why.append(f"p99 {p99 * 1e3:.1f} ms over {rules.latency * 1e3:g} ms")
        if cpu > rules.cpu:
            why.append(f"processor {cpu:.0%} over {rules.cpu:.0%}")
        if memory > rules.memory:
            why.append(f"memory {memory:.0%} over {rules.memory:.0%}")
        return Answer(not why, ", ".join(why) or f"p99 {p99 * 1e3:.1f} ms").told()

    async def _ask(self, path: str, method: str, judge: Judge) -> Mapping[str, object]:
        try:
            found = await self.ctx.call(path, method, timeout=self.config.timeout)
        except (CallError, AttributeError) as error:
            return Answer(False, str(error)).told()
        return judge(found).told()


def _meminfo() -> str:
    return Path("/proc/meminfo").read_text()


def _cpu_times() -> tuple[int, ...]:
    with Path("/proc/stat").open() as file:
        return tuple(int(word) for word in file.readline().split()[1:9])
