"""The lease store as a service: its rules, its silence, and the processes that ask it."""

from supervisors.simulate.dst.leasing import Grant, Held, Row
from supervisors.simulate.dst.model import LAUNCH, Options, Parts
from supervisors.simulate.dst.world import World


def _world() -> World:
    return World(Options(seed=1), [], Parts())


def test_a_lease_is_given_to_one_and_to_another_when_it_is_over() -> None:
    world = _world()
    store = world.store
    assert store.acquire("/a", "1", 5.0, "", 7) == Grant(7)
    held = store.acquire("/a", "2", 5.0, "", 1)
    assert isinstance(held, Held)
    assert held.holder == "1"
    assert store.acquire("/a", "2", 5.0, "1", 1) == Grant(8)
    assert not store.renew("/a", "1", 7, 5.0)
    assert store.renew("/a", "2", 8, 5.0)
    world.kernel.run(6.0)
    assert store.acquire("/a", "3", 5.0, "", 1) == Grant(9)
    store.release("/a", "3", 9)
    assert store.acquire("/a", "4", 5.0, "", 1) == Grant(10)


def test_a_silent_store_is_no_answer_and_a_late_answer_counts_no_more() -> None:
    world = _world()
    proc, seen = world.spawn(LAUNCH, "/a"), list[object]()
    world.store.acquire("/a", "1", 5.0, "", 1)
    world.store.down = 1
    world.store.ask(proc, lambda: world.store.read("/a"), seen.append)
    world.kernel.run(0.9)
    assert seen == []
    world.kernel.run(1.1)
    assert seen == [None]
    world.store.down = 0
    world.store.slow = 5.0
    for _ in range(20):
        world.store.ask(proc, lambda: world.store.read("/a"), seen.append)
    world.kernel.run(9.0)
    assert len(seen) == 21
    assert {type(answer) for answer in seen} == {Row, type(None)}
