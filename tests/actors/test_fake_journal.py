"""The doubles a user tests an actor with: a journal in memory, and a context that stands by."""

import asyncio
import gc
from pathlib import Path

import msgspec
import pytest

from actors.base import Actor, Journalled, Migrating
from actors.testing import FakeContext, FakeJournal, make
from supervisors.core.errors import JournalFailed, NotActing, RecoveryError


class Deposited(msgspec.Struct, tag="d", frozen=True):
    amount: int


class Withdrawn(msgspec.Struct, tag="w", frozen=True):
    amount: int


class Balance(Actor):
    """As a user writes one: no base class but ``Actor``."""

    Event = Deposited | Withdrawn
    State = dict[str, int]

    def __init__(self, config: object) -> None:
        super().__init__(None)
        self.total = 0
        self.seen: list[object] = []

    def apply(self, event: Deposited | Withdrawn) -> int:
        if event.amount < 0:
            raise ValueError("a negative amount")
        self.seen.append(event)
        self.total += event.amount if isinstance(event, Deposited) else -event.amount
        return self.total

    def snapshot(self) -> dict[str, int]:
        return {"total": self.total}

    def restore(self, state: dict[str, int]) -> None:
        self.total = state["total"]

    async def deposit(self, amount: int) -> object:
        return await self.ctx.journal.append(Deposited(amount))


class NewBalance(Balance):
    STATE_VERSION = 2
    State = dict[str, list[int]]

    def snapshot(self) -> dict[str, list[int]]:  # type: ignore[override]
        return {"totals": [self.total]}

    def restore(self, state: dict[str, list[int]]) -> None:  # type: ignore[override]
        self.total = state["totals"][0]

    def migrate(self, version: int, state: object) -> object:
        assert isinstance(state, dict)
        return {"totals": [state["total"]]}


class WithoutMigrate(Balance):
    STATE_VERSION = 2


class Async(Balance):
    async def apply(self, event: object) -> int:  # type: ignore[override]
        return 0


def balance(kind: type[Balance] = Balance) -> Balance:
    return make(kind, {}, FakeContext())


async def test_append_applies_at_once_what_msgspec_gives_back() -> None:
    actor = balance()
    journal = FakeJournal(actor)
    assert actor.ctx.journal is journal
    assert [await actor.deposit(5), await journal.append(Withdrawn(2))] == [5, 3]
    assert journal.sequence == 2
    assert actor.seen == journal.events == [Deposited(5), Withdrawn(2)]
    event = Deposited(1)
    await journal.append(event)
    assert actor.seen[-1] is not event, "it went through the bytes, as in the real one"


async def test_what_cannot_be_an_event_is_not_written() -> None:
    actor = balance()
    journal = FakeJournal(actor)
    with pytest.raises(msgspec.ValidationError):
        await journal.append({"amount": 1})
    with pytest.raises(TypeError):
        await journal.append(object())
    assert (journal.sequence, actor.total) == (0, 0)


async def test_failures_as_scripted() -> None:
    actor = balance()
    journal = FakeJournal(actor)
    journal.fail_next(JournalFailed("the disk is full"), JournalFailed("still full"))
    with pytest.raises(JournalFailed, match="is full"):
        await actor.deposit(5)
    with pytest.raises(JournalFailed, match="still full"):
        await journal.checkpoint()
    assert (journal.sequence, actor.total, journal.checkpoints) == (0, 0, [])
    assert await actor.deposit(5) == 5
    with pytest.raises(ValueError, match="negative"):
        await actor.deposit(-1)
    assert journal.sequence == 2, "it was written before it was applied"


@pytest.mark.parametrize(("warm", "applied"), [(True, 1), (False, 3)])
async def test_a_successor_has_the_same_state(warm: bool, applied: int) -> None:
    actor = balance()
    journal = FakeJournal(actor)
    await actor.deposit(5)
    await actor.deposit(6)
    assert await journal.checkpoint() == 2
    await actor.deposit(7)
    successor = balance()
    assert journal.recover(successor, warm=warm) == applied
    assert successor.snapshot() == actor.snapshot() == {"total": 18}
    await successor.deposit(1)
    assert (successor.total, actor.total, journal.sequence) == (19, 18, 4), "the journal is the successor's now"


async def test_a_newer_class_reads_an_older_state_by_its_migrate() -> None:
    actor = balance()
    journal = FakeJournal(actor)
    await actor.deposit(5)
    await journal.checkpoint()
    await actor.deposit(1)
    newer = balance(NewBalance)
    assert isinstance(newer, Migrating)
    assert journal.recover(newer) == 1
    assert newer.total == 6
    with pytest.raises(RecoveryError, match="migrate"):
        journal.recover(balance(WithoutMigrate))
    await journal.checkpoint()


@pytest.mark.parametrize(("kind", "words"), [(Actor, "journals nothing"), (Async, "async")])
def test_what_cannot_have_a_journal(kind: type[Actor], words: str) -> None:
    with pytest.raises(RecoveryError, match=words):
        FakeJournal(make(kind, {}, FakeContext()) if kind is Actor else balance(Async))


async def test_a_context_without_a_journal_and_one_that_stands_by() -> None:
    actor = balance()
    with pytest.raises(NotActing):
        _ = actor.ctx.journal
    journal = FakeJournal(actor)
    context = actor.ctx
    assert isinstance(context, FakeContext)
    context.acting = False
    with pytest.raises(NotActing):
        await actor.deposit(1)
    with pytest.raises(NotActing):
        await context.call("/b", "act")
    context.publish("a", b"1", 1)
    context.note("n")
    context.cast("/b", "act")
    context.metric("m", 1.0)
    context.evidence("e", 1.0)
    assert (context.published, context.notes, context.calls, context.metrics, context.given) == ([], [], [], {}, {})
    context.acting = True
    context.publish("a", b"1", 1)
    context.publish("a", b"2")
    context.evidence("e", 1.0)
    assert (context.published, context.marks) == ([("a", b"1"), ("a", b"2")], [1, None])
    assert (context.given, journal.sequence) == ({"e": 1.0}, 0)


async def test_sizes() -> None:
    context = FakeContext()
    sizes = context.size_multipliers()
    assert await anext(sizes) == 1.0
    context.resize(0.1)
    assert await asyncio.wait_for(anext(sizes), 5) == 0.1
    assert context.size_multiplier == 0.1


def test_the_protocols_are_met_by_the_methods_alone() -> None:
    typed: Journalled[Deposited | Withdrawn, dict[str, int]] = balance()
    assert isinstance(typed, Journalled)
    assert not isinstance(Actor(None), Journalled)
    assert not isinstance(balance(), Migrating)


def test_the_folder_a_context_makes_for_itself_goes_with_it(tmp_path: Path) -> None:
    context, given = FakeContext(), FakeContext(data_dir=str(tmp_path))
    folder = Path(context.data_dir)
    assert folder.is_dir()
    del context, given
    gc.collect()
    assert not folder.exists()
    assert tmp_path.is_dir()
