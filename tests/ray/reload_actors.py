"""Children for the tests of ``apply``."""

import asyncio

from pydantic import BaseModel, ConfigDict

from actors.base import Actor
from actors.context import Context


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int = 0
    slow: float = 0.0
    fails: bool = False


class Part(Actor):
    """Tells its config; its start may take a while, or fail."""

    Config = Settings
    config: Settings

    async def start(self, ctx: Context) -> None:
        await asyncio.sleep(self.config.slow)
        if self.config.fails:
            raise RuntimeError("no connection to the venue")

    def value(self) -> int:
        return self.config.value
