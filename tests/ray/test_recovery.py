"""Recoveries on a real tree: each rung, the ladder, people, checks, ramp, and who survives what."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.state.folders import journal_folder
from supervisors.state.journal import JournalReader
from supervisors.trail.events import EventKind
from supervisors.trail.reader import read_all
from supervisors.trail.recoveries import Recovery, RecoveryFold
from supervisors.trail.status import ChildStatus

from .harness import Running, cli, gone, until
from .recoveries import UNHURRIED

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_LEDGER = 'actor: "examples.ledger:Ledger", config: {post_every: 0.005}'
_NOW = "checkpoint: {every: 500ms}"

TOPOLOGY = f"""
system: recovery
spares: 2
metrics: {{enabled: false}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
  supervisor: {{backoff: null, max_consecutive: null, intensity: 1000, period: 10s}}
tree:
  intensity: 1000
  children:
    - id: hot
      children:
        - {{id: ledger, {_LEDGER}, recovery: {{standbys: 1, {UNHURRIED}}}}}
    - id: warm
      children:
        - {{id: ledger, {_LEDGER}, recovery: {{ladder: [warm, cold], {_NOW}}}}}
        - {{id: cold, {_LEDGER}, recovery: {{ladder: [cold]}}}}
    - id: held
      children:
        - id: ledger
          {_LEDGER.replace(", config", chr(10) + "          config")}
          recovery: {{rules: [{{when: always, then: manual}}]}}
        - {{id: sibling, actor: "tests.ray.actors:Worker"}}
    - id: checked
      children:
        - id: ledger
          actor: "examples.ledger:Ledger"
          recovery:
            ladder: [warm, cold]
            {_NOW}
            ramp: {{steps: [{{size: 0, for: 300ms}}, {{size: 0.1, for: 300ms}}, {{size: 1}}]}}
            validate:
              - {{name: processes, worker: /watch/validate, method: processes}}
              - {{name: well, worker: /watch/validate, method: connectivity}}
    - id: live
      children:
        - {{id: ticker, actor: "tests.ray.actors:Ticker", recovery: {{standbys: 1, rung_timeout: {{hot: 20s}}}}}}
        - {{id: reader, actor: "tests.ray.actors:TickReader"}}
    - id: watch
      children:
        - {{id: validate, actor: "actors.workers.validate:ValidateRecovery"}}
"""


@pytest.fixture(scope="module")
def system(short_folder: Path) -> Iterator[Running]:
    running = Running(short_folder / "recovery", TOPOLOGY)
    try:
        running.up()
        running.wait_up()
        yield running
    finally:
        running.down()


def _synced(system: Running, path: str, after: int = 0) -> ChildStatus:
    """The child once it is ready in a life after ``after`` and has a standby in sync."""

    def look() -> ChildStatus | None:
        child = system.find(path)
        ready = child is not None and child.state == "ready" and child.pid and child.incarnation > after
        return child if ready and child and any(s.state == "synced" for s in child.standbys) else None

    return until(look, f"{path} in sync: {system.find(path)}", 60.0)


def _held(system: Running, path: str) -> ChildStatus:
    """The child once it is held for a person."""

    def look() -> ChildStatus | None:
        child = system.find(path)
        held = child is not None and child.state == "held" and child.recovery is not None and child.recovery.hold
        return child if held else None

    return until(look, f"{path} held: {system.find(path)}")


def _recovery(system: Running, id_: str, state: str = "") -> Recovery:
    """The recovery of a failure, once it is told of as ``recovered`` (or in ``state``)."""

    def look() -> Recovery | None:
        fold = RecoveryFold()
        fold.add_all(one.event for one in read_all(system.data_dir / "trail"))
        one = next((one for one in fold.recoveries if one.id == id_), None)
        if one is None:
            return None
        return one if (one.state == state if state else one.total_ms is not None) else None

    return until(look, f"the recovery of {id_}")


def _post(system: Running, path: str, id_: str, account: str, amount: str) -> object:
    return system.ask(path, "post", id_, account, amount)


def _rayvisor(system: Running, *words: str) -> tuple[int, str]:
    done = cli(*words, "--data-dir", str(system.data_dir))
    return done.returncode, done.stdout + done.stderr


# ---------------------------------------------------------------- rungs


def test_a_killed_primary_is_replaced_by_its_standby_with_all_it_acknowledged(system: Running) -> None:
    before = _synced(system, "/hot/ledger")
    standby = before.standbys[0].pid
    assert _post(system, "/hot/ledger", "h1", "ada", "100") == "100"

    os.kill(before.pid, signal.SIGKILL)

    after = system.ready("/hot/ledger", before.incarnation)
    assert after.pid == standby
    assert after.epoch > before.epoch
    assert after.incarnation == before.incarnation + 1
    assert system.ask("/hot/ledger", "balance", "ada") == "100"
    assert _post(system, "/hot/ledger", "h1", "ada", "100") == "100"  # a repeat changes nothing
    found = _recovery(system, f"/hot/ledger#{before.incarnation}")
    assert [tried.rung for tried in found.tried] == ["hot"]
    assert "standby_synced" in found.because
    assert found.trace[0]["held"] is True
    assert found.promote_ms is not None
    assert found.reason.startswith("killed")
    again = _synced(system, "/hot/ledger", before.incarnation)
    assert again.standbys[0].pid not in (standby, before.pid)


def test_primary_and_standby_killed_together_lose_nothing(system: Running) -> None:
    before = _synced(system, "/hot/ledger")
    _post(system, "/hot/ledger", "h2", "bob", "7")
    os.kill(before.standbys[0].pid, signal.SIGKILL)
    os.kill(before.pid, signal.SIGKILL)
    after = system.ready("/hot/ledger", before.incarnation)
    assert system.ask("/hot/ledger", "balance", "bob") == "7"
    assert after.epoch > before.epoch


def test_a_primary_that_dies_while_its_supervisor_is_away(system: Running) -> None:
    before = _synced(system, "/hot/ledger")
    _post(system, "/hot/ledger", "h3", "cyd", "3")
    supervisor = system.supervisor_pid("/hot")
    os.kill(supervisor, signal.SIGKILL)
    os.kill(before.pid, signal.SIGKILL)
    system.ready("/hot/ledger", before.incarnation)
    assert system.ask("/hot/ledger", "balance", "cyd") == "3"
    until(lambda: system.supervisor_pid("/hot") != supervisor, "another supervisor")
    _synced(system, "/hot/ledger", before.incarnation)


def test_a_standby_that_is_killed_is_replaced_and_its_primary_goes_on(system: Running) -> None:
    before = _synced(system, "/hot/ledger")
    standby = before.standbys[0].pid
    os.kill(standby, signal.SIGKILL)
    assert _post(system, "/hot/ledger", "h4", "dan", "1") == "1"
    until(lambda: _synced(system, "/hot/ledger").standbys[0].pid != standby, "another standby")
    after = system.find("/hot/ledger")
    assert after is not None
    assert after.pid == before.pid


def test_a_hung_primary_leaves_its_stack(system: Running) -> None:
    before = _synced(system, "/hot/ledger")
    since = time.monotonic()
    os.kill(before.pid, signal.SIGSTOP)
    system.ready("/hot/ledger", before.incarnation)
    found = _recovery(system, f"/hot/ledger#{before.incarnation}")
    assert found.rung == "hot"
    kept = system.event(EventKind.STATE_PRESERVED, "/hot/ledger", since)
    folder = Path(str(kept.data["folder"]))
    assert "failure.json" in str(kept.data["items"])
    assert "run" in (folder / "stack.txt").read_text() or "no stack" in (folder / "stack.txt").read_text()
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["path"] == "/hot/ledger"
    assert failure["reason"]["kind"] == "hung"


def test_without_a_standby_it_comes_back_warm(system: Running) -> None:
    before = system.ready("/warm/ledger")
    system.event(EventKind.CHECKPOINT, "/warm/ledger", 0.0)
    _post(system, "/warm/ledger", "w1", "ada", "5")
    os.kill(before.pid, signal.SIGKILL)
    system.ready("/warm/ledger", before.incarnation)
    assert system.ask("/warm/ledger", "balance", "ada") == "5"
    found = _recovery(system, f"/warm/ledger#{before.incarnation}")
    assert found.rung == "warm"
    assert "checkpoint_fresh" in found.because
    assert found.checkpoint


def test_cold_is_the_whole_journal(system: Running) -> None:
    before = system.ready("/warm/cold")
    _post(system, "/warm/cold", "c1", "ada", "9")
    os.kill(before.pid, signal.SIGKILL)
    system.ready("/warm/cold", before.incarnation)
    assert system.ask("/warm/cold", "balance", "ada") == "9"
    found = _recovery(system, f"/warm/cold#{before.incarnation}")
    assert found.rung == "cold"
    assert found.checkpoint == 0


def test_a_live_standby_goes_on_with_the_first_item_its_primary_had_not_published(system: Running) -> None:
    for _ in range(3):
        before = _synced(system, "/live/ticker")
        system.ready("/live/reader")
        standby = before.standbys[0].pid
        time.sleep(0.2)  # some items to compare
        os.kill(before.pid, signal.SIGKILL)
        after = system.ready("/live/ticker", before.incarnation)
        assert after.pid == standby
        assert system.ask("/live/ticker", "acting") is True
    count = _found(system)["count"]
    until(lambda: _found(system)["count"] > count, "items go on")
    found = _found(system)
    assert found["missed"] == 0
    assert found["wrong"] == 0


def _found(system: Running) -> dict[str, int]:
    return msgspec.convert(system.ask("/live/reader", "found"), dict[str, int])


# ---------------------------------------------------------------- people


def test_manual_holds_the_child_and_a_person_lets_it_go(system: Running) -> None:
    before, sibling = system.ready("/held/ledger"), system.ready("/held/sibling")
    _post(system, "/held/ledger", "m1", "ada", "4")
    os.kill(before.pid, signal.SIGKILL)
    held = _held(system, "/held/ledger")
    assert held.state == "held"
    assert held.recovery is not None
    hold = held.recovery.hold
    now = system.find("/held/sibling")
    assert now is not None
    assert now.pid == sibling.pid

    code, said = _rayvisor(system, "recovery", "approve", "/held/ledger#99")
    assert code == 1
    assert "E800" in said
    code, said = _rayvisor(system, "recovery", "approve", hold, "--why", "checked by hand", "--who", "ada")
    assert code == 0, said
    system.ready("/held/ledger", before.incarnation)
    code, said = _rayvisor(system, "recovery", "approve", hold, "--who", "bob")
    assert code == 1
    assert "ada" in said or "E800" in said
    assert system.ask("/held/ledger", "balance", "ada") == "4"
    found = _recovery(system, f"/held/ledger#{before.incarnation}")
    assert found.answers == ["approved by ada: checked by hand"]
    assert found.tried[0].rung == "manual"


def test_rejected_it_stays_down_until_it_is_restarted(system: Running) -> None:
    before = system.ready("/held/ledger")
    os.kill(before.pid, signal.SIGKILL)
    held = _held(system, "/held/ledger")
    assert held.recovery is not None
    code, said = _rayvisor(system, "recovery", "reject", held.recovery.hold, "--why", "flat")
    assert code == 0, said
    until(lambda: (c := system.find("/held/ledger")) and c.state == "stopped", "it is down")
    code, said = _rayvisor(system, "child", "restart", "/held/ledger")
    assert code == 0, said
    assert system.ready("/held/ledger", before.incarnation).pid


def test_a_held_child_survives_its_supervisor(system: Running) -> None:
    before = system.ready("/held/ledger")
    os.kill(before.pid, signal.SIGKILL)
    held = _held(system, "/held/ledger")
    supervisor = system.supervisor_pid("/held")
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: gone(supervisor), "it is gone")
    until(lambda: (s := system.supervisor("/held")) and s.pid and s.pid != supervisor, "another supervisor")
    again = _held(system, "/held/ledger")
    assert held.recovery is not None
    assert again.recovery is not None
    assert again.recovery.hold == held.recovery.hold
    code, said = _rayvisor(system, "recovery", "approve", again.recovery.hold)
    assert code == 0, said
    system.ready("/held/ledger", before.incarnation)


# ---------------------------------------------------------------- checks and ramp


def test_checks_run_and_the_size_is_ramped_up(system: Running) -> None:
    before = system.ready("/checked/ledger")
    _post(system, "/checked/ledger", "v1", "ada", "2")
    system.event(EventKind.CHECKPOINT, "/checked/ledger", 0.0)
    since = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    system.ready("/checked/ledger", before.incarnation)
    until(lambda: (c := system.find("/checked/ledger")) and c.recovery and c.recovery.size == 1.0 and c, "full size")
    sizes = [float(e.data["size"] or 0) for e in system.trail("/checked/ledger", since) if e.kind == EventKind.RAMPED]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[-1] == 1
    checks = [e for e in system.trail("/checked/ledger", since) if e.kind == EventKind.VALIDATED]
    assert {str(e.data["step"]) for e in checks} == {"processes", "well"}
    assert all(e.data["ok"] for e in checks)


# ---------------------------------------------------------------- the record


def test_the_journal_on_the_disk_is_whole(system: Running) -> None:
    for path in ("/hot/ledger", "/warm/ledger", "/held/ledger"):
        reader = JournalReader(journal_folder(system.data_dir, path))
        last, ids = 0, set()
        for record in reader.read():
            assert record.sequence == last + 1
            last = record.sequence
            ids.add(msgspec.msgpack.decode(record.body, type=dict[str, str])["id"])
        assert last > 0
        code, said = _rayvisor(system, "journal", "verify", path)
        assert code == 0, said


def test_history_and_show_tell_it(system: Running) -> None:
    code, said = _rayvisor(system, "recovery", "history", "--json")
    assert code == 0
    ids = [json.loads(line)["id"] for line in said.splitlines()]
    assert ids
    code, said = _rayvisor(system, "recovery", "show", ids[0])
    assert code == 0
    assert "because" in said
    code, said = _rayvisor(system, "recovery", "status")
    assert code == 0
    assert "/hot/ledger" in said
