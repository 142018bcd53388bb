"""Clients that call an actor while it is broken, and write down what they asked and heard (after Jepsen).

Each call carries a value that no other has, so that afterwards each can be looked for in the actor's journal. A client
asks once and does not ask again: what it did not hear of is *info*, done or not.
"""

import random
import threading
from collections.abc import Sequence
from functools import partial

from pydantic import JsonValue

from supervisors.chaos.document import Workload
from supervisors.chaos.ground import Ground, Works
from supervisors.chaos.recording import Recorder, result_of
from supervisors.core.errors import RayvisorError

#: what becomes the unique value
UNIQUE = "{n}"


def filled(args: Sequence[JsonValue], unique: str) -> list[JsonValue]:
    """``args`` with ``unique`` for each ``{n}``."""
    return [_fill(one, unique) for one in args]


def _fill(value: JsonValue, unique: str) -> JsonValue:
    if isinstance(value, str):
        return value.replace(UNIQUE, unique)
    if isinstance(value, list):
        return [_fill(one, unique) for one in value]
    if isinstance(value, dict):
        return {key: _fill(one, unique) for key, one in value.items()}
    return value


class Clients:
    """The clients of one run.

    Args:
        load: what they do.
        seed: of their pauses.
        ground: of the run.
        works: of the run.
        recorder: takes what they asked and heard.
    """

    def __init__(self, load: Workload, seed: int, ground: Ground, works: Works, recorder: Recorder) -> None:
        self._load = load
        self._seed = seed
        self._ground = ground
        self._works = works
        self._recorder = recorder
        self._lock = threading.Lock()
        self._stopping = False
        place = (ground.known.places or {}).get(load.path)
        journals = load.appends and (place is None or place.journal)
        self._what = "append" if journals else load.method
        self._running = 0
        #: calls so far, by how they ended: ok, fail, info
        self.ended: dict[str, int] = {"ok": 0, "fail": 0, "info": 0}

    def start(self) -> None:
        """Begin. Once."""
        self._running = self._load.clients
        for number in range(self._load.clients):
            self._works.spawn(partial(self._client, number), f"client-{number}")

    def stop(self) -> None:
        """No more calls."""
        self._stopping = True

    def wait(self, timeout: float) -> bool:
        """Wait until the last call has ended; False: one still goes on, and counts as never answered."""
        deadline = self._works.clock.monotonic() + timeout
        while self._running and self._works.clock.monotonic() < deadline:
            self._works.sleep(0.02)
        return not self._running

    def _client(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/client/{number}").random
        pause = self._load.clients / self._load.rate
        clock = self._works.clock
        due = clock.monotonic() + pause * draw()
        try:
            while not self._stopping:
                if (left := due - clock.monotonic()) > 0:
                    self._works.sleep(min(left, 0.1))
                    continue
                self._ask()
                # a client that was kept waiting does not make up for it
                due = max(due + pause * (0.5 + draw()), clock.monotonic())
        finally:
            with self._lock:
                self._running -= 1

    def _ask(self) -> None:
        load = self._load
        unique = self._recorder.invoke(load.path, load.method, f=self._what)
        failed: BaseException | None = None
        try:
            self._ground.call(load.path, load.method, filled(load.args, unique), load.timeout)
        except RayvisorError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - whatever the actor's method raised is what the client heard
            failed = error
        result = result_of(failed)
        self._recorder.complete(unique, result, error=_words(failed))
        with self._lock:
            self.ended[result.value] += 1


def _words(error: BaseException | None) -> str:
    """What it says, in a line: Ray puts the actor's whole traceback before it."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    kind = type(error).__name__
    return "" if error is None else f"{kind}: {lines[-1]}"[:300] if lines else kind
