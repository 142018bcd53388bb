"""A document that knows the line and column of every key and value. ``reader.read_document`` makes it from text."""

from dataclasses import dataclass, field

from supervisors.core.paths import ROOT, TreePath, is_id, join
from supervisors.spec.findings import Loc

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Place:
    """One value of the document.

    Attributes:
        loc: where it stands.
        line: of its first character, from 1.
        column: of its first character, from 1.
        value: of a scalar.
        keys: of a mapping: line and column of each key.
        items: of a mapping: the value of each key; of a list: by index. None for a scalar.
    """

    loc: Loc
    line: int
    column: int
    value: Scalar = None
    keys: dict[str | int, tuple[int, int]] = field(default_factory=dict)
    items: "dict[str | int, Place] | None" = None
    is_list: bool = False
    #: values that were left out for being wrong, kept for their places
    lost: "dict[str | int, Place]" = field(default_factory=dict)

    def leave_out(self, part: str | int, stand_in: "Place | None" = None) -> None:
        """Take item ``part`` out of the data, or put ``stand_in`` in its place."""
        if self.items is None:
            return
        old = self.items.get(part)
        if old is not None:
            self.lost.setdefault(part, old)
        if stand_in is not None:
            self.items[part] = stand_in
        else:
            self.items.pop(part, None)

    def data(self) -> object:
        """The value as plain Python: dicts with text keys, lists, scalars."""
        if self.items is None:
            return self.value
        if self.is_list:
            return [item.data() for item in self.items.values()]
        return {str(key): item.data() for key, item in self.items.items()}

    def get(self, *parts: str | int) -> "Place | None":
        """The place ``parts`` below this one, or None."""
        place: Place | None = self
        for part in parts:
            place = place.items.get(part) if place is not None and place.items is not None else None
        return place

    def nth(self, part: int | str) -> int | str:
        """The key of item ``part``: in a list that lost items, the key of its n-th item is more than n."""
        if self.is_list and isinstance(part, int) and self.items is not None and part < len(self.items):
            return list(self.items)[part]
        return part

    def children(self) -> "list[Place]":
        """Values of a mapping or list in order; empty for a scalar."""
        return list(self.items.values()) if self.items is not None else []


@dataclass(frozen=True, slots=True)
class Mark:
    """A fault of the text itself, with its place (line 0: the whole file)."""

    code: int
    line: int
    column: int
    message: str
    fix: str
    loc: Loc = ()


@dataclass(slots=True)
class Document:
    """A document: its top value, None when nothing could be read, and the faults of the text."""

    root: Place | None = None
    marks: list[Mark] = field(default_factory=list)
    #: the whole document was left out: its place
    lost_root: Place | None = None
    #: where a wrong or missing value was replaced by a harmless one, so that the rest can be checked
    stand_ins: set[Loc] = field(default_factory=set)

    def position(self, loc: Loc, *, on_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at ``loc`` (or of its key), or of the nearest thing above it that exists."""
        place = self.root or self.lost_root
        if place is None:
            return 0, 0
        at = place.line, place.column
        for index, part in enumerate(loc):
            below = place.lost.get(part) or place.get(part)
            if below is None:
                # an absent setting: the key of what it belongs to says it best
                return at
            last = index == len(loc) - 1
            at = below.line, below.column
            if part in place.keys and (on_key or (below.items is not None and not last)):
                at = place.keys[part]
            place = below
        return at

    def locate(self, loc: Loc) -> Loc:
        """Where ``loc`` of the validated topology stands in the text: a list may have lost items on the way."""
        place = self.root
        for index, part in enumerate(loc):
            below = place.get(place.nth(part)) if place is not None else None
            if place is None or below is None:
                return (*place.loc, *loc[index:]) if place is not None else loc
            place = below
        return place.loc if place is not None else loc

    def tree_path(self, loc: Loc) -> str:
        """The path in the supervision tree that ``loc`` belongs to; empty outside of ``tree`` or without ids."""
        if not loc or loc[0] != "tree" or self.root is None:
            return ""
        path: TreePath = ROOT
        place = self.root.get("tree")
        rest = loc[1:]
        while place is not None and len(rest) >= 2 and rest[0] == "children":
            place = place.get(*rest[:2])
            name = place.get("id") if place is not None else None
            if place is not None and (*place.loc, "id") in self.stand_ins:
                return ""
            if name is None or not isinstance(name.value, str) or not is_id(name.value):
                return ""
            path, rest = join(path, name.value), rest[2:]
        return path
