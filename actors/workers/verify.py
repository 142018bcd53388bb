"""The first recovery worker: verifies a connector after each of its restarts.

- id: verify
  actor: actors.workers.verify:VerifyRecovery
  config: {targets: [/cell/md]}
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from actors.base import Actor
from actors.context import Context
from actors.workers.verify_core import Check, Verification
from supervisors.core.durations import Duration
from supervisors.core.errors import CallError, NotActing
from supervisors.core.paths import TreePath, id_of, parent_of


class VerifyConfig(BaseModel):
    """Config of ``VerifyRecovery``.

    Attributes:
        targets: paths of connectors.
        box: seconds in which all checks must pass (REC-9: exchange 5 s).
        interval: seconds between looks.
        checks: which ones; leave out ``trades_flowing`` for a symbol that trades seldom.
        verify_first: verify the first life too, not only those after a restart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: Annotated[list[Annotated[str, StringConstraints(pattern=r"^/.+")]], Field(min_length=1)]
    box: Duration = Field(default=5.0, gt=0)
    interval: Duration = Field(default=0.1, gt=0)
    checks: Annotated[list[Check], Field(min_length=1)] = list(Check)
    verify_first: bool = False


class VerifyRecovery(Actor):
    """Notes ``verified`` or ``verification_failed`` for each new incarnation of its targets.

    Methods for others: ``last()``.
    """

    Config = VerifyConfig
    config: VerifyConfig

    async def start(self, ctx: Context) -> None:
        """Nothing known yet."""
        self._now = ctx.clock.monotonic
        self._lives: dict[str, int] = {}
        self._last: dict[str, dict[str, object]] = {}

    async def run(self) -> None:
        """Watch every target, for ever."""
        async with asyncio.TaskGroup() as group:
            for target in self.config.targets:
                group.create_task(self._watch(target))

    def last(self) -> dict[str, dict[str, object]]:
        """The latest result per target: ok, incarnation, milliseconds taken, steps, and what failed."""
        return dict(self._last)

    async def _watch(self, target: str) -> None:
        while True:
            if not self.ctx.acting:  # a standby may not ask; once promoted it knows of no life yet, and looks
                await asyncio.sleep(self.config.interval)
                continue
            life = await self._incarnation(target)
            known = self._lives.get(target)
            if life is not None and life != known:
                self._lives[target] = life
                # a worker that was itself restarted does not know whether this life was verified: it looks
                if known is not None or life > 1 or self.config.verify_first:
                    await self._verify(target, life)
                    continue
            await asyncio.sleep(self.config.interval)

    async def _incarnation(self, target: str) -> int | None:
        """The target's present life as its supervisor says it; None when that is not known."""
        path = TreePath(target)
        try:
            children = await self.ctx.children(parent_of(path))
        except CallError:
            return None
        for child in children:
            if child.get("id") == id_of(path):
                life = child.get("incarnation")
                return life if isinstance(life, int) and life > 0 else None
        return None

    async def _verify(self, target: str, life: int) -> None:
        run = Verification(target, life, self._now(), self.config.box, tuple(self.config.checks))
        while True:
            status = await self._ask(target, "status")
            if status is not None:
                answering = status.get("incarnation")
                if isinstance(answering, int) and answering > life:
                    return  # it died again; the next round verifies its successor
                run.observe(status, await self._ask(target, "top", 1) or {}, self._now())
            if run.done or run.over(self._now()):
                break
            await asyncio.sleep(self.config.interval)
        self._report(run)

    async def _ask(self, target: str, method: str, *args: object) -> Mapping[str, object] | None:
        try:
            answer = await self.ctx.call(target, method, *args, timeout=max(0.5, self.config.interval))
        except (CallError, NotActing):
            return None
        return answer if isinstance(answer, Mapping) else None

    def _report(self, run: Verification) -> None:
        took_ms = round((self._now() - run.began) * 1000, 1)
        steps = {str(check): ms for check, ms in run.passed.items()}
        self._last[run.path] = {
            "ok": run.done,
            "incarnation": run.incarnation,
            "took_ms": took_ms,
            "steps": steps,
            "failed": run.failed,
        }
        text = ", ".join(f"{step} {ms:g} ms" for step, ms in steps.items())
        self.ctx.metric("verified", float(run.done), target=run.path)
        if run.done:
            self.ctx.note("verified", path=run.path, incarnation=run.incarnation, took_ms=took_ms, steps=text)
            return
        why = ", ".join(f"{step}: {reason}" for step, reason in run.failed.items())
        self.ctx.note(
            "verification_failed",
            path=run.path,
            incarnation=run.incarnation,
            took_ms=took_ms,
            steps=text,
            failed=why,
        )
