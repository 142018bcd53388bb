"""YAML text to a ``Document``. Never raises for bad text: what is wrong is marked beside whatever could be read."""

import re
import warnings
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from supervisors.spec import codes
from supervisors.spec.document import Document, Mark, Place, Scalar
from supervisors.spec.findings import Loc

#: 10,000 children with a dozen keys each are 250,000 values; more than this is an alias bomb or no topology
MAX_VALUES = 1_000_000
#: levels of nesting: forty supervisors below one another; keeps every recursion far from Python's limit
MAX_DEPTH = 100
_PREFIX = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_BASES = {"0x": 16, "0o": 8, "0b": 2}
_FLOAT_WORDS = re.compile(r"^([-+]?)\.(inf|nan)$", re.IGNORECASE)


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
            key = self._text(key_node, place.loc)
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
        text = self._text(node, loc)
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

    def _text(self, node: ScalarNode, loc: Loc) -> str:
        """A scalar as written. Half a surrogate pair can be escaped into YAML, but never be sent or printed."""
        text = str(node.value)
        clean = text.encode("utf-8", "replace").decode("utf-8")
        if clean != text:
            message = "the text holds half a surrogate pair, which is no character"
            self._mark(codes.BAD_VALUE, node, message, "write the character itself", loc)
        return clean

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
