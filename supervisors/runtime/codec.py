"""How events and states become bytes and back, by a class's ``Event``, ``State``, ``STATE_VERSION`` and ``migrate``.

Events and states are msgpack. States are encoded in a fixed order (dict keys and sets sorted) where msgspec can do so,
which is where all dict keys are texts: then equal states have equal bytes, and digests of them can be compared.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Protocol, TypeGuard

import msgspec

from supervisors.core.errors import RecoveryError

_BUILTIN = msgspec.msgpack.Decoder()
_WRITE_FIX = "raise STATE_VERSION with each change of State and give the class migrate(version, state)"


class Journaled(Protocol):
    """What the framework calls of an actor whose state is made of events."""

    def apply(self, event: object) -> object:
        """Change the state by one event; the same events give the same state, on every host and in every replay."""
        ...

    def snapshot(self) -> object:
        """The whole state as something msgspec encodes."""
        ...

    def restore(self, state: object) -> None:
        """Take over a state that ``snapshot`` gave."""
        ...


def is_journaled(target: object) -> TypeGuard[Journaled]:
    """Whether ``target`` keeps its state by events: it has ``apply``, ``snapshot`` and ``restore``."""
    return all(callable(getattr(target, name, None)) for name in ("apply", "snapshot", "restore"))


class StateCodec:
    """Encoders and decoders of one class.

    Args:
        target: the object (or its class).

    Raises:
        RecoveryError: ``apply``, ``snapshot`` or ``restore`` is a coroutine function, or msgspec cannot take ``Event``
            or ``State``.
    """

    def __init__(self, target: object) -> None:
        cls = target if isinstance(target, type) else type(target)
        self.name = f"{cls.__module__}:{cls.__qualname__}"
        for name in ("apply", "snapshot", "restore"):
            if inspect.iscoroutinefunction(getattr(cls, name, None)):
                raise RecoveryError(
                    f"{self.name}.{name} is async",
                    code=8020,
                    fix="state changes must not wait for anything: make it a plain def",
                )
        #: what ``snapshot`` gives now
        self.version = int(getattr(cls, "STATE_VERSION", 1))
        self._migrate: Callable[[int, object], object] | None = getattr(target, "migrate", None)
        event_type = getattr(cls, "Event", object)
        self._state_type = getattr(cls, "State", object)
        try:
            self._event: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(event_type)
            self._events: msgspec.msgpack.Decoder[list[object]] = msgspec.msgpack.Decoder(list[event_type])  # type: ignore[valid-type]
            self._state: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(self._state_type)
        except (TypeError, NameError) as error:
            raise RecoveryError(f"{self.name}: msgspec cannot read its Event or State: {error}", code=8020) from error
        self._encoder = msgspec.msgpack.Encoder()
        self._ordered: msgspec.msgpack.Encoder | None = msgspec.msgpack.Encoder(order="deterministic")

    def encode_event(self, event: object) -> bytes:
        """The bytes of one event.

        Raises:
            TypeError: it holds something msgspec does not encode.
        """
        return self._encoder.encode(event)

    def decode_event(self, body: bytes) -> object:
        """One event, as ``apply`` is given it.

        Raises:
            msgspec.MsgspecError: it is no ``Event``.
        """
        return self._event.decode(body)

    def decode_events(self, bodies: Sequence[bytes], first: int) -> list[object]:
        """The events of ``bodies``, whose sequences begin with ``first``; in one go: half the cost of one by one.

        Raises:
            RecoveryError: one cannot be read; its sequence is named.
        """
        head = b"\xdd" + len(bodies).to_bytes(4, "big")  # msgpack array of 32 bit length
        try:
            events = self._events.decode(head + b"".join(bodies))
        except msgspec.MsgspecError:
            events = []  # a body that runs over into the next would be hidden here: look at each alone
        if len(events) == len(bodies):
            return events
        return [self._decode_named(body, first + number) for number, body in enumerate(bodies)]

    def _decode_named(self, body: bytes, sequence: int) -> object:
        try:
            return self._event.decode(body)
        except msgspec.MsgspecError as error:
            raise RecoveryError(
                f"event {sequence} is no {self.name}.Event: {error}",
                code=8020,
                fix="Event must go on reading what older code wrote: give new fields defaults, keep old tags",
            ) from error

    def encode_state(self, state: object) -> bytes:
        """The bytes of a state.

        Raises:
            TypeError: it holds something msgspec does not encode.
        """
        if self._ordered is not None:
            try:
                return self._ordered.encode(state)
            except TypeError:
                body = self._encoder.encode(state)  # raises again unless only the order was impossible
                self._ordered = None
                return body
        return self._encoder.encode(state)

    def same_state(self, one: bytes, other: bytes) -> bool:
        """Whether two encoded states of the present version are equal, in whatever order they were encoded.

        Raises:
            msgspec.MsgspecError: one of them is no ``State``.
        """
        return one == other or bool(self._state.decode(one) == self._state.decode(other))

    def decode_state(self, version: int, body: bytes) -> object:
        """A state as ``restore`` is given it; one of an older version goes through ``migrate(version, state)`` first,
        which gets plain dicts, lists and scalars and gives what the present ``State`` is made from.

        Raises:
            RecoveryError: the version is unknown, there is no ``migrate``, it raised, or the state is not a ``State``.
        """
        try:
            if version == self.version:
                return self._state.decode(body)
            if version > self.version:
                raise RecoveryError(
                    f"state of version {version}; {self.name} knows versions up to {self.version}",
                    code=8020,
                    fix="it was written by newer code: run that, or recover cold",
                )
            if self._migrate is None:
                raise RecoveryError(
                    f"state of version {version}, {self.name} has {self.version} and no migrate",
                    code=8020,
                    fix=_WRITE_FIX,
                )
            return msgspec.convert(self._migrate(version, _BUILTIN.decode(body)), self._state_type)
        except RecoveryError:
            raise
        except Exception as error:
            what = f"version {version}" if version != self.version else "its version"
            raise RecoveryError(
                f"a state of {what} is no {self.name}.State: {error}", code=8020, fix=_WRITE_FIX
            ) from error
