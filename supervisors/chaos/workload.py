"""Clients that call an actor while it is broken, and write down what they asked and heard (after Jepsen).

Each call carries a value that no other has, so that afterwards each can be looked for in the actor's journal. A client
asks once and does not ask again: what it did not hear of is *info*, done or not.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import msgspec
from pydantic import JsonValue

from supervisors.chaos.document import Workload
from supervisors.chaos.ground import Answer, Ground, Works
from supervisors.chaos.history import RunWord
from supervisors.chaos.operations import UNIQUE
from supervisors.chaos.recording import Recorder, result_of
from supervisors.core.errors import RayvisorError


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


def texts_of(value: JsonValue) -> Iterator[str]:
    """The texts in a call's arguments that carry the unique value: one of them is what its event is found by."""
    if isinstance(value, str):
        if UNIQUE in value:
            yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_of(one)


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
        # whoever reads the run, now or after its runner was killed, has to know by what events are found
        self._recorder.note(
            RunWord.WORKLOAD,
            sync=True,
            path=self._load.path,
            method=self._load.method,
            id_field=self._load.id_field,
            ids=msgspec.json.encode(list(dict.fromkeys(texts_of(self._load.args)))).decode(),
        )
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
        answer = Answer()
        try:
            answer = self._ground.ask(load.path, load.method, filled(load.args, unique), load.timeout)
        except RayvisorError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - whatever the actor's method raised is what the client heard
            failed = error
        result = result_of(failed)
        sequence, incarnation, epoch = named(answer)
        self._recorder.complete(
            unique, result, sequence=sequence, epoch=epoch, incarnation=incarnation, error=_words(failed)
        )
        with self._lock:
            self.ended[result.value] += 1


def named(answer: Answer) -> tuple[int, int, int]:
    """The event's sequence, the life and the epoch, as a reply has them; life and epoch else as the call found them."""
    said = answer.value if isinstance(answer.value, Mapping) else {}
    sequence, incarnation, epoch = (_number(said.get(name)) for name in ("sequence", "incarnation", "epoch"))
    if incarnation and epoch:  # the actor's own word; one of the two alone may be about anything
        return sequence, incarnation, epoch
    return sequence, answer.incarnation, answer.epoch


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _words(error: BaseException | None) -> str:
    """What it says, in a line: Ray puts the actor's whole traceback before it."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    kind = type(error).__name__
    return "" if error is None else f"{kind}: {lines[-1]}"[:300] if lines else kind
