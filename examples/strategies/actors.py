"""An actor that does as little as an actor can: it lives until it is stopped, so that only its place matters."""

import asyncio

from pydantic import BaseModel, ConfigDict, Field

from actors.base import Actor


class Ticker(Actor):
    """Counts at a steady pace and says how far it has come."""

    class Config(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")

        every: float = Field(default=1.0, gt=0)
        """Seconds between two counts."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._count = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.config.every)
            self._count += 1

    def count(self) -> int:
        """How often it has counted in this life."""
        return self._count
