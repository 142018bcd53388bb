"""The injector and how faults end: what is stuck counts, what nobody reverts it reverts, the watchdog is kept up."""

import os
import signal
from pathlib import Path

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.request import RecordState
from supervisors.faults.undo import boot_time
from supervisors.runtime import watching
from supervisors.runtime.injecting import Injector
from supervisors.signals.proc import pid_alive

from .faulted import FakeSystem, until
from .test_injecting import _ask, _code


def _stuck(system: FakeSystem, injector: Injector, fault: str, path: str, host: str) -> str:
    """A fault at ``path`` that could not be undone, and cannot be for now."""
    injection = injector.inject(_ask(fault, path, seconds=50.0))
    system.host(host).stubborn = True
    injector._reverter._patience = 0.1
    assert injector.revert(injection.id)[0].state is RecordState.UNREVERTABLE
    return injection.id


def test_what_could_not_be_undone_counts_as_hit(system: FakeSystem, injector: Injector) -> None:
    for path in ("/cell/a", "/cell/b"):
        _stuck(system, injector, "delay", path, path)
    assert _code(injector, _ask("delay", "/cell/kept")) == 9009
    with pytest.raises(FaultError) as caught:
        injector.plan(_ask("delay", "/cell/kept"))
    assert caught.value.code == 9009


def test_what_could_not_be_undone_is_one_of_its_injector_until_it_is(system: FakeSystem, injector: Injector) -> None:
    """A run that ends asks for it once more, and says so when it is in vain."""
    fault_id = _stuck(system, injector, "delay", "/cell/a", "/cell/a")
    assert [record.order.id for record in injector.active()] == [fault_id]
    assert [record.stuck for record in injector.active()] == [True]
    system.host("/cell/a").stubborn = False
    until(lambda: injector.revert(fault_id)[0].state is RecordState.REVERTED, "undone")
    assert injector.active() == []


def test_what_could_not_be_undone_excludes_others(system: FakeSystem, injector: Injector) -> None:
    _stuck(system, injector, "slow_start", "/cell/a", "/cell")
    assert _code(injector, _ask("fail_start", "/cell/a")) == 9010


def test_what_could_not_be_written_down_as_armed_is_undone(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody was stopped while it had the lock."""
    update = injector.log.update

    def refused(fault_id: str, change: object) -> None:
        raise FaultError("locked", code=9015)

    act = injector._carrier.act

    def acts(records: object) -> None:
        act(records)  # type: ignore[arg-type]
        monkeypatch.setattr(injector.log, "update", refused)

    injector._carrier.act = acts  # type: ignore[method-assign]
    assert _code(injector, _ask("delay", "/cell/a")) == 9015
    assert system.host("/cell/a").armed == {}
    assert system.log.unclosed() == []
    monkeypatch.setattr(injector.log, "update", update)


def test_a_watchdog_is_looked_after_in_however_short_waits(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(watching, "look_after", looked.append)
    injection = injector.inject(_ask("delay", "/cell/a", seconds=50.0))

    def looks() -> bool:
        injector.wait_over(injection, 0.05)
        return len(looked) >= 2

    until(looks, "it was looked after")


def test_what_nobody_reverts_in_time_is_reverted_by_who_waits(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "look_after", lambda folder: None)
    begin = watching.begin
    begun: list[Path] = []

    def once(data_dir: Path) -> None:
        """One only: on a slow machine a second would be started, which takes the place of the first."""
        if not begun:
            begun.append(data_dir)
            begin(data_dir)

    monkeypatch.setattr(watching, "begin", once)
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(_ask("delay", "/cell/a", seconds=3.0))
        watchdog, start = watching.watcher(system.data_dir)
        os.kill(watchdog, signal.SIGKILL)
        until(lambda: not pid_alive(watchdog, start), "killed")
        ended = until(
            lambda: [one for one in injector.wait_over(injection, 0.25) if one.state is RecordState.REVERTED],
            "reverted",
        )
        assert [(one.by, one.why) for one in ended] == [("injector", "its time is over")]
        assert boot_time() >= ended[0].deadline + 1.0
    assert system.host("/cell/a").armed == {}
