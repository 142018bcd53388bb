"""The hooks of a host with nothing armed, against the same code without them; for ``benchmarks.injection``."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import zmq

from benchmarks._report import Row, percentile, timed_row
from supervisors.core.paths import TreePath
from supervisors.runtime.calls import Caller, Place
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.context import HostContext
from supervisors.runtime.faulthooks import Call
from supervisors.runtime.pubsub import Publisher

LIMIT_US = 1.0
#: operations timed together: one of them is shorter than the clock's own cost
BLOCK = 100
BLOCKS = 1_000
WARM_UP = 20
WITHOUT = "the same code without the hook, in turns"
_PATH = "/idle"


class _Runner:
    """Stands for the worker behind a host."""

    state = "running"

    async def invoke(self, method: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        return args


class _Caller:
    """Stands for what makes calls."""

    async def call(self, *words: object) -> object:
        return words


async def _alternate(
    with_hook: Callable[[int], Awaitable[None]], without: Callable[[int], Awaitable[None]]
) -> tuple[list[float], list[float]]:
    """Microseconds of one operation, by blocks that take turns."""
    found: tuple[list[float], list[float]] = ([], [])
    ways = [(with_hook, found[0]), (without, found[1])]
    gc.disable()  # its walks hit the one or the other by chance
    try:
        for turn in range(BLOCKS + WARM_UP):
            for way, times in ways:
                began = time.perf_counter_ns()
                await way(BLOCK)
                elapsed = (time.perf_counter_ns() - began) / 1e3 / BLOCK
                if turn >= WARM_UP:
                    times.append(elapsed)
            ways.reverse()
    finally:
        gc.enable()
    return found


def _hook_row(name: str, times: tuple[list[float], list[float]]) -> Row:
    more = percentile(times[0], 50) - percentile(times[1], 50)
    return timed_row(
        f"{name} ({more * 1e3:+.0f} ns)",
        "us",
        times[0],
        peer=times[1],
        peer_name=WITHOUT,
        target=f"<= {LIMIT_US:g} us more",
        ok=more <= LIMIT_US,
    )


async def _invoke_times() -> tuple[list[float], list[float]]:
    from supervisors.runtime.host import Host
    from supervisors.runtime.repeats import Repeats

    host = Host.__new__(Host)  # no sockets, no Ray: what a call meets, and nothing else
    vars(host).update(_faults=None, _runner=_Runner(), _incarnation=1, _path=_PATH)
    invoke, carry_out = host.invoke, host._carry_out
    calls: list[Call] = [(1, f"r{number}", "echo", (1,), {}) for number in range(BLOCK)]

    async def with_hook(count: int) -> None:
        host._repeats = Repeats(SystemClock())
        for call in calls:
            await invoke(call)

    async def without(count: int) -> None:
        host._repeats = Repeats(SystemClock())
        for call in calls:
            await carry_out(call)

    return await _alternate(with_hook, without)


async def _context_times(folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{folder}/p")

    async def resolve(path: str) -> Place:
        return Place("gone")

    async def children(path: str) -> list[Mapping[str, object]]:
        return []

    def log() -> object:
        raise AssertionError("nobody logs here")

    def context_of(kind: type[HostContext]) -> HostContext:
        return kind(
            path=TreePath(_PATH),
            incarnation=1,
            epoch=1,
            clock=SystemClock(),
            log=log,  # type: ignore[arg-type]
            data_dir="",
            caller=cast(Caller, _Caller()),
            resolve=resolve,
            ask_children=children,
            publisher=publisher,
            zmq_context=context,
            report=lambda message: None,
        )

    hooked, bare = context_of(HostContext), context_of(_BareContext)

    def calling(made: HostContext) -> Callable[[int], Awaitable[None]]:
        async def way(count: int) -> None:
            for number in range(count):
                await made.call("/b", "echo", number)

        return way

    def publishing(made: HostContext) -> Callable[[int], Awaitable[None]]:
        async def way(count: int) -> None:
            for _ in range(count):
                made.publish("t", b"12345678")

        return way

    found = {
        "ctx.call up to the caller": await _alternate(calling(hooked), calling(bare)),
        "ctx.publish, nobody listens": await _alternate(publishing(hooked), publishing(bare)),
    }
    publisher.close()
    context.destroy(linger=0)
    return found


class _BareContext(HostContext):
    """The context without its hooks, line for line."""

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        if not self.acting:
            raise AssertionError(path)
        return self._caller.call(path, method, args, kwargs, timeout, once)

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        self.publisher.publish(topic, payload, mark)


def hooks() -> list[Row]:
    """Each hook by itself, and both ends of a call together."""
    with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as folder:
        times = {"Host.invoke": asyncio.run(_invoke_times())} | asyncio.run(_context_times(Path(folder)))
    rows = [_hook_row(name, found) for name, found in times.items()]
    more = sum(rows[at].ours - (rows[at].peer or 0.0) for at in (0, 1))
    target = f"<= {LIMIT_US:g} us"
    rows.append(Row("both ends of an actor's call: what the hooks add", "us", more, target=target, ok=more <= LIMIT_US))
    return rows
