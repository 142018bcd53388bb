"""Two classes that know nothing of rayvisor: a plain one and a Ray actor. Both run under supervision unchanged."""

import time

import ray


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int = 1) -> int:
        self.value += amount
        return self.value


@ray.remote(num_cpus=1, max_restarts=-1)
class Cache:
    def __init__(self, keep: float) -> None:
        self.keep = keep
        self.stored: dict[str, tuple[float, str]] = {}

    def put(self, key: str, value: str) -> None:
        self.stored[key] = (time.monotonic(), value)

    def get(self, key: str) -> str | None:
        at, value = self.stored.get(key, (0.0, None))
        return value if time.monotonic() - at < self.keep else None
