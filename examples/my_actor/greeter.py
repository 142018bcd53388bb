"""An actor of one's own: it greets at a steady pace, and answers whoever asks."""

import asyncio

from pydantic import BaseModel, Field

from actors import Actor


class Greeter(Actor):
    class Config(BaseModel):
        name: str = "world"
        every: float = Field(default=1.0, gt=0)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.greeted = 0

    async def run(self) -> None:
        while True:
            self.ctx.log.info("hello {}", self.config.name)
            self.greeted += 1
            self.ctx.metric("greeted", self.greeted)
            await asyncio.sleep(self.config.every)

    def greet(self, name: str) -> str:
        return f"hello {name}, from {self.ctx.path} in life {self.ctx.incarnation}"
