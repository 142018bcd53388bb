"""One worker's life in plain asyncio: no host, no Ray, a context that does nothing."""

import asyncio
import json
import threading
from collections.abc import Callable

import pytest

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.runtime.worker import WorkerRunner, load_class
from supervisors.signals.messages import Exited, Ignored, Message, Started, StartFailed
from supervisors.spec.compiled import WorkerSpec

_HERE = "tests.unit.runtime.bodies"
LONG = 10.0


class Life:
    """A runner and all it said, its last word included."""

    def __init__(self, actor: str, **config: object) -> None:
        spec = WorkerSpec("/a", f"{_HERE}:{actor}", json.dumps(config).encode())
        self.said: list[Message] = []
        self.runner = WorkerRunner(spec, 7, object(), self.said.append, self.said.append, 0.02)
        self.task = asyncio.ensure_future(self.runner.live())

    async def started(self) -> None:
        await self.until(lambda: bool(self.said))
        assert self.said[0] == Started("/a", 7)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG):
            while not condition():
                await asyncio.sleep(0.001)

    async def end(self) -> Message:
        async with asyncio.timeout(LONG):
            await self.task
        assert self.runner.state == "ended"
        assert len([one for one in self.said if not isinstance(one, Started)]) == 1, "one last word"
        return self.said[-1]

    async def reason(self) -> ExitReason:
        last = await self.end()
        assert isinstance(last, Exited)
        assert (last.path, last.incarnation) == ("/a", 7)
        return last.reason


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("returns", ExitKind.NORMAL, ""),
        ("raises", ExitKind.CRASH, "ValueError: bad book"),
        ("raises nothing to say", ExitKind.CRASH, "ValueError"),
        ("exits 0", ExitKind.NORMAL, ""),
        ("exits 3", ExitKind.CRASH, "SystemExit: 3"),
        ("interrupt", ExitKind.CRASH, "KeyboardInterrupt"),
        ("memory", ExitKind.OOM, "MemoryError"),
        ("cancels itself", ExitKind.CRASH, "cancelled itself"),
    ],
)
async def test_how_run_ends_is_why_it_ended(how: str, kind: ExitKind, message: str) -> None:
    life = Life("Body", how=how)
    reason = await life.reason()
    assert life.said[0] == Started("/a", 7)
    assert (reason.kind, reason.message) == (kind, message)
    if how == "raises":
        assert "bodies.py" in reason.detail, "with its traceback"


@pytest.mark.parametrize(
    ("actor", "config", "says"),
    [
        ("Body", {"how": "start raises"}, "OSError: no route"),
        ("Body", {"how": "start exits"}, "SystemExit: 2"),
        ("Body", {"colour": "red"}, "colour"),
        ("Missing", {}, "Missing"),
        ("not_a_class", {}, "no class"),
        ("Plain", {"name": "bad"}, "ValueError: bad name"),
        ("Plain", {"colour": "red"}, "colour"),
    ],
)
async def test_a_start_that_fails_says_why(actor: str, config: dict[str, object], says: str) -> None:
    life = Life(actor, **config)
    last = await life.end()
    assert isinstance(last, StartFailed)
    assert last.reason.kind is ExitKind.INIT_ERROR
    assert says in last.reason.message
    assert life.said == [last]


async def test_a_start_may_say_that_there_is_nothing_to_do() -> None:
    assert await Life("Body", how="start ignores").end() == Ignored("/a", 7)


async def test_a_failure_named_alike_is_a_failed_start() -> None:
    ended = await Life("Body", how="start fails alike").end()
    assert isinstance(ended, StartFailed)
    assert "IgnoredSymbol" in ended.reason.message


@pytest.mark.parametrize("how", ["wait", "start never"])
async def test_an_order_to_stop_is_a_shutdown(how: str) -> None:
    life = Life("Body", how=how)
    if how == "wait":
        await life.started()
    await asyncio.sleep(0.01)
    life.runner.order_stop()
    assert (await life.reason()).kind is ExitKind.SHUTDOWN


async def test_a_stop_that_raises_is_told() -> None:
    life = Life("Body", how="stop raises")
    await life.started()
    life.runner.order_stop()
    reason = await life.reason()
    assert (reason.kind, reason.message) == (ExitKind.CRASH, "RuntimeError: not put away")


async def test_progress_is_the_loops_own() -> None:
    life = Life("Body")
    await life.started()
    before = life.runner.progress
    await life.until(lambda: life.runner.progress > before + 2)
    life.runner.order_stop()
    await life.end()


async def test_calls() -> None:
    life = Life("Body")
    await life.started()
    assert await life.runner.invoke("quick", (3,), {"factor": 4}) == 12
    assert await life.runner.invoke("slow", (), {}) == "slow"
    with pytest.raises(TypeError):
        await life.runner.invoke("quick", (), {})
    for private in ("_private", "__init__", "__class__"):
        with pytest.raises(AttributeError, match="private"):
            await life.runner.invoke(private, (), {})
    for missing in ("nothing", "attribute"):
        with pytest.raises(AttributeError, match=r"it has: .*quick.*slow"):
            await life.runner.invoke(missing, (), {})
    life.runner.order_stop()
    await life.end()


@pytest.mark.parametrize(
    ("actor", "arguments", "kind"),
    [("Body", (0,), ExitKind.NORMAL), ("Body", (4,), ExitKind.CRASH), ("Plain", (), ExitKind.CRASH)],
)
async def test_a_method_may_end_the_worker(actor: str, arguments: tuple[int, ...], kind: ExitKind) -> None:
    life = Life(actor)
    await life.started()
    with pytest.raises(RuntimeError, match="leave ended the worker"):
        await life.runner.invoke("leave", arguments, {})
    assert (await life.reason()).kind is kind


async def test_a_plain_class_lives_on_one_thread_of_its_own() -> None:
    life = Life("Plain", name="y")
    await life.started()
    where = await life.runner.invoke("where", (), {})
    assert isinstance(where, tuple)
    made_in, called_in = where
    assert made_in == called_in != threading.get_ident()
    before = life.runner.progress
    most = await asyncio.gather(*(life.runner.invoke("work", (0.05,), {}) for _ in range(4)))
    assert most == [1, 1, 1, 1], "one at a time"
    assert life.runner.progress > before, "the loop went on meanwhile"
    life.runner.order_stop()
    assert (await life.reason()).kind is ExitKind.SHUTDOWN


async def test_a_plain_class_with_coroutines_lives_in_the_loop() -> None:
    life = Life("PlainAsync", begin=5)
    await life.started()
    assert await life.runner.invoke("double", (), {}) == 10
    life.runner.order_stop()
    await life.end()


def test_what_an_import_string_names() -> None:
    assert load_class(f"{_HERE}:Body.Config").__name__ == "Settings"
    with pytest.raises(ModuleNotFoundError):
        load_class("no.such.module:Thing")
