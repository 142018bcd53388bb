"""YAML text as a tree that knows the line and column of every key and value.

``read_document`` never raises for bad text: what is wrong is returned as marks beside whatever could be read.
"""

import re
import warnings
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from supervisors.core.paths import ROOT, TreePath, is_id, join
from supervisors.spec import codes
from supervisors.spec.findings import Loc

#: 10,000 children with a dozen keys each are 250,000 values; more than this is an alias bomb or no topology
MAX_VALUES = 1_000_000
#: levels of nesting: forty supervisors below one another; keeps every recursion far from Python's limit
MAX_DEPTH = 100
_PREFIX = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_FLOAT_WORDS = re.compile(r"^([-+]?)\.(inf|nan)$", re.IGNORECASE)

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


def read_document(text: str) -> Document:
    """Parse ``text``. Never raises for bad text."""
    document = Document()
    try:
        with warnings.catch_warnings():
            # ruamel warns about reused anchors and the like; no warning may reach the user's terminal from here
            warnings.simplefilter("ignore")
            top: object = YAML(typ="safe", pure=True).compose(text)
        if isinstance(top, Node):
            document.root = _Builder(document.marks).build(top, (), ())
    except MarkedYAMLError as error:
        document.marks.append(_syntax(error))
    except ReaderError as error:
        line, column = _line_of(text, error.position)
        fix = "remove it, or write it as an escape in double quotes"
        message = f"character {_printable(error.character)} is not allowed in YAML"
        document.marks.append(Mark(codes.YAML_SYNTAX, line, column, message, fix))
    except (YAMLError, ValueError, IndexError, KeyError, AttributeError, TypeError, AssertionError) as error:
        # ruamel meets hostile text with errors of many kinds, not only its own
        message = f"not valid YAML: {str(error)[:200]}"
        document.marks.append(Mark(codes.YAML_SYNTAX, 0, 0, message, "see https://yaml.org/spec/1.2.2"))
    except (_TooLargeError, RecursionError):
        document.root = None
        message = f"more than {MAX_VALUES} values (aliases count each time), or nested deeper than {MAX_DEPTH} levels"
        document.marks.append(Mark(codes.TOO_LARGE, 0, 0, message, "use fewer aliases or a flatter tree"))
    return document


class _TooLargeError(Exception):
    """The document passes MAX_VALUES or MAX_DEPTH."""


@dataclass(slots=True)
class _Builder:
    marks: list[Mark]
    count: int = 0

    def build(self, node: Node, loc: Loc, above: tuple[int, ...]) -> Place:
        self.count += 1
        if self.count > MAX_VALUES or len(above) > MAX_DEPTH:
            raise _TooLargeError
        place = Place(loc, node.start_mark.line + 1, node.start_mark.column + 1)
        if id(node) in above:
            message = "this value contains itself through its alias"
            self._mark(codes.ALIAS_CYCLE, node, message, "write the value out instead of the alias", loc)
            return place
        tag = _tag(node)
        inside = (*above, id(node))
        if isinstance(node, MappingNode):
            place.items = {}
            self._expect(tag, "map", node, loc)
            self._mapping(node, place, inside)
        elif isinstance(node, SequenceNode):
            place.items, place.is_list = {}, True
            self._expect(tag, "seq", node, loc)
            for index, item in enumerate(node.value):
                place.items[index] = self.build(item, (*loc, index), inside)
        elif isinstance(node, ScalarNode):
            place.value = self._scalar(tag, node, loc)
        return place

    def _mapping(self, node: MappingNode, place: Place, inside: tuple[int, ...]) -> None:
        items = place.items if place.items is not None else {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._mark(codes.KEY_NOT_TEXT, key_node, "a key must be text", "write the key as one word", place.loc)
                continue
            if _tag(key_node) == "merge":
                merges += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            key = str(key_node.value)
            if key in items:
                first = place.keys[key]
                message = f"key {key!r} stands twice in this mapping (first at {first[0]}:{first[1]})"
                self._mark(codes.DUPLICATE_KEY, key_node, message, "remove one of them", (*place.loc, key))
                continue
            items[key] = self.build(value_node, (*place.loc, key), inside)
            place.keys[key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        for merged in merges:
            if not isinstance(merged, MappingNode):
                self._mark(codes.UNKNOWN_TAG, merged, "<< takes a mapping", "name the anchor of a mapping", place.loc)
                continue
            other = self.build(merged, place.loc, inside)
            for name, value in (other.items or {}).items():
                # what stands here wins over what is merged in, and an earlier merge over a later one (YAML 1.1)
                if name not in items:
                    items[name] = value
                    place.keys[name] = other.keys[name]

    def _scalar(self, tag: str, node: ScalarNode, loc: Loc) -> Scalar:
        text = str(node.value)
        try:
            match tag:
                case "str" | "timestamp" | "value" | "!":
                    return text
                case "null":
                    return None
                case "bool":
                    return _BOOLS[text.lower()]
                case "int":
                    return _whole(text)
                case "float":
                    return _real(text)
        except (ValueError, KeyError):
            pass
        self._mark(
            codes.UNKNOWN_TAG,
            node,
            f"{text[:60]!r} cannot be read as {tag}",
            "use text, numbers, true, false or null; quote what is meant as text",
            loc,
        )
        return text

    def _expect(self, tag: str, wanted: str, node: Node, loc: Loc) -> None:
        if tag != wanted:
            self._mark(codes.UNKNOWN_TAG, node, f"tag {tag} is not supported", "remove the tag", loc)

    def _mark(self, code: int, node: Node, message: str, fix: str, loc: Loc) -> None:
        self.marks.append(Mark(code, node.start_mark.line + 1, node.start_mark.column + 1, message, fix, loc))


def _tag(node: Node) -> str:
    return str(node.tag).removeprefix(_PREFIX)


def _whole(text: str) -> int:
    clean = text.replace("_", "")
    sign = -1 if clean.startswith("-") else 1
    clean = clean.lstrip("+-")
    base = _BASES.get(clean[:2].lower())
    return sign * (int(clean, 10) if base is None else int(clean[2:], base))


def _real(text: str) -> float:
    word = _FLOAT_WORDS.match(text)
    return float(word[1] + word[2]) if word else float(text.replace("_", ""))


def _syntax(error: MarkedYAMLError) -> Mark:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    problem = str(error.problem or error.context or "not valid YAML").strip()
    if "'\\t'" in problem:
        return Mark(codes.TAB_INDENT, line, column, "YAML is not indented with tabs", "use two spaces for each tab")
    fix = "check indentation, quotes and colons here and on the line above"
    if "another document" in problem:
        problem, fix = "the file holds more than one document", "keep one topology in a file; remove the line ---"
    elif "undefined alias" in problem:
        fix = "declare the anchor with & above its use, or quote a text that begins with *"
    return Mark(codes.YAML_SYNTAX, line, column, f"not valid YAML: {problem}", fix)


def _line_of(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def _printable(character: object) -> str:
    number = character if isinstance(character, int) else ord(str(character)[:1] or "\0")
    return f"U+{number:04X}"
