"""The config of an actor that takes none."""

from pydantic import BaseModel, ConfigDict


class NoConfig(BaseModel):
    """Any key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
