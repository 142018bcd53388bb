"""The verification of healed connectors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from actors.testing import FakeContext, make
from actors.workers.verify import VerifyRecovery
from actors.workers.verify_core import Check, Verification
from tests.actors.helpers import RealClock, until

GOOD_TOP = {"valid": True, "reason": "", "bids": [["1.0", "1"]], "asks": [["1.1", "1"]]}


def status(trades: int, incarnation: int = 2, **other: object) -> dict[str, object]:
    base: dict[str, object] = {"incarnation": incarnation, "connected": True, "subscribed": True, "book_valid": True}
    return base | {"trades": trades} | other


def run() -> Verification:
    return Verification("/cell/md", 2, 100.0, 5.0, tuple(Check))


def test_passes_when_everything_holds_at_once() -> None:
    check = run()
    check.observe(status(0, connected=False, subscribed=False, book_valid=False), {}, 100.1)
    assert set(check.failed) == {str(step) for step in Check}
    check.observe(status(3), GOOD_TOP, 100.5)
    assert check.done
    assert check.passed[Check.TRADES_FLOWING] == 500.0
    assert not check.failed


def test_trades_must_flow_after_we_began_to_look() -> None:
    check = run()
    check.observe(status(50), GOOD_TOP, 100.1)
    check.observe(status(50), GOOD_TOP, 100.2)
    assert list(check.failed) == ["trades_flowing"]
    check.observe(status(51), GOOD_TOP, 100.3)
    assert check.done


def test_a_check_that_fails_again_is_taken_back() -> None:
    check = run()
    check.observe(status(1), GOOD_TOP, 100.1)
    check.observe(status(2, book_valid=False), {"reason": "gap: 5 then 7"}, 100.2)
    assert check.failed == {"book_valid": "gap: 5 then 7", "not_crossed": "a side of the book is empty"}


def test_crossed_book_and_wrong_life_fail() -> None:
    check = run()
    check.observe(status(1), GOOD_TOP | {"bids": [["1.2", "1"]]}, 100.1)
    assert "not_crossed" in check.failed
    check.observe(status(9, incarnation=1), GOOD_TOP, 100.2)
    assert "incarnation 1 answers, not 2" in check.failed["connected"]
    senseless: tuple[dict[str, object], ...] = ({"bids": 5}, {"bids": [[]]}, {"bids": [["x"]], "asks": [["y"]]})
    for junk in senseless:
        check.observe(status(9), junk, 100.2)
        assert "not_crossed" in check.failed


def test_time_box() -> None:
    check = run()
    assert not check.over(104.9)
    assert check.over(105.1)


@contextlib.asynccontextmanager
async def watching(context: FakeContext, **config: object) -> AsyncIterator[VerifyRecovery]:
    wanted: dict[str, object] = {"targets": ["/cell/md"], "interval": "5ms", "box": "100ms"}
    actor = make(VerifyRecovery, wanted | config, context)
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        yield actor
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def living(context: FakeContext, incarnation: int) -> None:
    context.scripted_children["/cell"] = [{"id": "other", "incarnation": 9}, {"id": "md", "incarnation": incarnation}]


async def test_worker_verifies_a_new_life_once() -> None:
    context = FakeContext(clock=RealClock())
    counter = iter(range(10_000))
    context.answers["/cell/md", "status"] = lambda: status(next(counter))
    context.answers["/cell/md", "top"] = GOOD_TOP
    living(context, 1)
    async with watching(context) as actor:
        await asyncio.sleep(0.05)
        assert context.kinds() == []
        living(context, 2)
        await until(lambda: context.kinds() == ["verified"])
        result = actor.last()["/cell/md"]
        assert (result["ok"], result["incarnation"], result["failed"]) == (True, 2, {})
        data = context.notes[0].data
        assert data["incarnation"] == 2
        assert "book_valid" in str(data["steps"])
        await asyncio.sleep(0.05)
        assert context.kinds() == ["verified"]


async def test_worker_says_what_failed_when_the_box_is_over() -> None:
    context = FakeContext(clock=RealClock())
    context.answers["/cell/md", "status"] = status(5, incarnation=1)
    context.answers["/cell/md", "top"] = GOOD_TOP
    living(context, 1)
    async with watching(context, verify_first=True):
        await until(lambda: context.kinds() == ["verification_failed"])
        assert "trades_flowing: 5 trades" in str(context.notes[0].data["failed"])
        assert "book_valid" in str(context.notes[0].data["steps"])


async def test_worker_outlives_silence_and_a_second_death() -> None:
    context = FakeContext(clock=RealClock())
    living(context, 2)
    async with watching(context) as actor:
        await until(lambda: context.kinds() == ["verification_failed"])
        assert "no answer" in str(context.notes[0].data["failed"])
        counter = iter(range(10_000))
        context.answers["/cell/md", "status"] = lambda: status(next(counter), incarnation=4)
        context.answers["/cell/md", "top"] = GOOD_TOP
        living(context, 3)
        await asyncio.sleep(0.03)
        living(context, 4)
        await until(lambda: "verified" in context.kinds())
        assert actor.last()["/cell/md"]["incarnation"] == 4
        assert len(context.notes) == 2
