"""Sections of the topology beside the tree: plane, metrics, logs, trail, defaults."""

from typing import Annotated

from pydantic import Field

from supervisors.spec.enums import DeathWatch, LogLevel, Transport
from supervisors.spec.fields import Address, Flag, Size, SpecModel, WholeNumber
from supervisors.spec.settings import SupervisorSettings, WorkerSettings

Port = Annotated[WholeNumber, Field(ge=0, le=65535)]


class Plane(SpecModel):
    """The signal plane: heartbeats, exits, orders."""

    transport: Transport = Transport.AUTO
    """auto, ipc or tcp. Default auto: ipc on one node, tcp when there are more."""
    bind: Address = "127.0.0.1"
    """Address tcp sockets listen on. Default 127.0.0.1: nobody outside reaches the plane unless told to."""
    death_watch: DeathWatch = DeathWatch.AUTO
    """auto, futex, pidfd or socket. Default auto: futex (told in 0.4-6 ms) where it works, else pidfd, else socket."""


class Metrics(SpecModel):
    """The Prometheus endpoint."""

    enabled: Flag = True
    """Serve metrics. Default true: a tree nobody can see into is not supervised."""
    host: Address = "127.0.0.1"
    """Address to listen on. Default 127.0.0.1: opened to others only when asked for."""
    port: Port = 9464
    """Port; 0 takes any free one. Default 9464, OpenTelemetry's for Prometheus."""


class Logs(SpecModel):
    """Log files, one per process."""

    level: LogLevel = LogLevel.INFO
    """Least severity that is written. Default INFO: starts, ends and decisions, not every message."""
    rotate: Annotated[Size, Field(ge=1000)] = 20_000_000
    """Size at which a file is closed and a new one begun. Default 20MB: opens in any editor."""
    keep: Annotated[WholeNumber, Field(ge=1)] = 5
    """Old files kept for each process. Default 5: with ``rotate`` 120MB for a process at most."""
    lines_per_second: Annotated[WholeNumber, Field(ge=1)] = 1000
    """Lines one process may write in a second; the rest are counted and dropped. Default 1000: a child that fails
    in a loop cannot fill the disk."""


class Trail(SpecModel):
    """The event record all explanations are read from (design §8)."""

    rotate: Annotated[Size, Field(ge=1000)] = 50_000_000
    """Size at which a file is closed and a new one begun. Default 50MB: a file is still easy to copy and read."""
    keep: Annotated[WholeNumber, Field(ge=1)] = 10
    """Old files kept. Default 10: with ``rotate`` 550MB at most."""


class Defaults(SpecModel):
    """Settings for all children that do not say otherwise."""

    child: WorkerSettings = WorkerSettings()
    """For every worker."""
    supervisor: SupervisorSettings = SupervisorSettings()
    """For every supervisor below the root; the root's stand at ``tree``."""
