"""The catalogue: each kind of fault with its parameters, where it acts, whom it may hit, and what should notice it.

Kinds are data. Those of the framework stand in ``supervisors.faults.kinds``; an actor's class adds its own with the
class attribute ``Faults`` (see ``actors.base``). Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum

import msgspec

from supervisors.core.errors import FaultError
from supervisors.faults.order import Scalar
from supervisors.faults.values import Parameter, ValueType, read_value, show_value


class Where(StrEnum):
    """What carries a fault out."""

    PROCESS = "process"  #: a signal, or ray.kill, to the target's process; by the injector
    HOST = "host"  #: armed in the target's process
    STANDING = "standing"  #: armed at the target's supervisor too, which hands it to each later life of the target
    SUPERVISOR = "supervisor"  #: armed in the process of the target's supervisor, about the target
    FILES = "files"  #: the injector changes files of the target's state and keeps a copy
    NODE = "node"  #: helper processes on this machine
    ACTOR = "actor"  #: the target's own class carries it out


class Target(StrEnum):
    """Whom a kind may hit."""

    WORKER = "worker"
    STANDBY = "standby"
    SUPERVISOR = "supervisor"


class FaultKind(msgspec.Struct, frozen=True):
    """One kind of fault.

    Attributes:
        name: as people write it, e.g. ``hang``.
        group: process, actor, message, state, control, network, resource, or one of an actor's own.
        where: what carries it out.
        about: one line for people.
        undo: how it is undone and how that is proved, one line.
        parameters: in the order they are shown.
        targets: whom it may hit.
        hooks: where it acts in a process (``order.Hook``).
        slot: two kinds of one slot exclude each other at one target.
        lasting: False: over once it is done (a kill); there is nothing to disarm then.
        detected: signals (``trail.events.Signal``) one of which is the right first one; empty: it is no failure of the
            target by itself, and nothing has to be seen.
        recovers: the target (or its successor) is healthy again by itself once detected.
        seconds: how long it lasts unless told otherwise.
        needs_journal: the target must keep a journal.
        needs_lease: the target must hold a lease.
        needs_standby: it must have a standby.
    """

    name: str
    group: str
    where: Where
    about: str
    undo: str
    parameters: tuple[Parameter, ...] = ()
    targets: frozenset[Target] = frozenset({Target.WORKER, Target.STANDBY})
    hooks: tuple[str, ...] = ()
    slot: str = ""
    lasting: bool = True
    detected: tuple[str, ...] = ()
    recovers: bool = True
    seconds: float = 10.0
    needs_journal: bool = False
    needs_lease: bool = False
    needs_standby: bool = False

    def read(self, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """All parameters, from those that were given as people write them.

        Raises:
            FaultError: an unknown name (9003), a missing one (9005) or a bad value (9004).
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, 1)
                offers = ", ".join(known) or "it takes none"
                raise FaultError(
                    f"{self.name} has no parameter {name!r}",
                    code=9003,
                    fix=f"did you mean {near[0]}?" if near else f"parameters: {offers}",
                )
        values: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if parameter.name in given:
                values[parameter.name] = read_value(self.name, parameter, given[parameter.name])
            elif parameter.default is None:
                raise FaultError(
                    f"{self.name} needs the parameter {parameter.name}: {parameter.about}",
                    code=9005,
                    fix=f"--param {parameter.name}=...",
                )
            else:
                values[parameter.name] = parameter.default
        return values

    def shown(self, values: Mapping[str, Scalar]) -> dict[str, str]:
        """Parameters as people write them."""
        types = {parameter.name: parameter.type for parameter in self.parameters}
        return {name: show_value(types.get(name, ValueType.TEXT), value) for name, value in values.items()}


class Catalogue:
    """Kinds by name.

    Args:
        kinds: those it holds.

    Raises:
        ValueError: two share a name.
    """

    def __init__(self, kinds: Iterable[FaultKind] = ()) -> None:
        self._kinds: dict[str, FaultKind] = {}
        self.add(*kinds)

    def add(self, *kinds: FaultKind) -> None:
        """Take more kinds; one that is held already and is the same is no error.

        Raises:
            ValueError: another kind has the name.
        """
        for kind in kinds:
            if self._kinds.setdefault(kind.name, kind) != kind:
                raise ValueError(f"two kinds of fault are called {kind.name!r}")

    def __iter__(self) -> Iterator[FaultKind]:
        return iter(self._kinds.values())

    def __contains__(self, name: str) -> bool:
        return name in self._kinds

    def find(self, name: str) -> FaultKind:
        """The kind called ``name``.

        Raises:
            FaultError: there is none (9002).
        """
        kind = self._kinds.get(name)
        if kind is None:
            near = get_close_matches(name, self._kinds, 1)
            raise FaultError(
                f"there is no fault called {name!r}",
                code=9002,
                fix=f"did you mean {near[0]}?" if near else "rayvisor inject list shows all",
            )
        return kind
