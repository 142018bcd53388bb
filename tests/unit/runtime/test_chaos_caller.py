"""A caller of chaos runs knows which life answered: the one that was asked last, in each call by itself."""

import asyncio

import pytest

from supervisors.runtime.calls import Place, WrongIncarnation
from supervisors.runtime.chaos_caller import TellingCaller


class _Method:
    def __init__(self, host: "_Host") -> None:
        self._host = host

    async def remote(self, call: tuple[int, str, str, tuple[object, ...], dict[str, object]]) -> object:
        incarnation, _, method, _, _ = call
        await asyncio.sleep(self._host.takes)
        if incarnation != self._host.life:
            raise WrongIncarnation
        return f"{method} by {incarnation}"


class _Host:
    def __init__(self, life: int, takes: float = 0.0) -> None:
        self.life, self.takes = life, takes
        self.invoke = _Method(self)


def _caller(monkeypatch: pytest.MonkeyPatch, places: list[Place], hosts: dict[str, _Host]) -> TellingCaller:
    async def resolve(path: str) -> Place:
        del path
        return places.pop(0) if len(places) > 1 else places[0]

    async def handle(self: TellingCaller, actor: str) -> _Host:
        return hosts[actor]

    monkeypatch.setattr(TellingCaller, "_handle", handle)
    return TellingCaller("n", resolve)


async def test_the_life_that_was_asked_last_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [Place("running", "old", 1, 2), Place("running", "new", 2, 7)]
    caller = _caller(monkeypatch, places, {"old": _Host(9), "new": _Host(2)})
    found = await caller.ask("/a", "get", (), 1.0)
    assert (found.value, found.incarnation, found.epoch) == ("get by 2", 2, 7)


async def test_calls_at_once_do_not_mix_up_whom_they_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [Place("running", "old", 1, 2), Place("running", "new", 2, 7)]
    caller = _caller(monkeypatch, places, {"old": _Host(1, 0.05), "new": _Host(2)})
    first = asyncio.create_task(caller.ask("/a", "get", (), 1.0))
    await asyncio.sleep(0)  # it is on its way to the old one
    caller._cache.clear()
    second = await asyncio.create_task(caller.ask("/a", "get", (), 1.0))
    assert {(one.value, one.incarnation, one.epoch) for one in (await first, second)} == {
        ("get by 1", 1, 2),
        ("get by 2", 2, 7),
    }
