"""Paths name places in the tree: ``/`` is the root supervisor, ``/cell/md`` a child two levels down."""

import re
from typing import NewType

TreePath = NewType("TreePath", str)

ROOT = TreePath("/")
#: A child id: what may stand between two slashes of a path.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$"
_ID = re.compile(ID_PATTERN)


def is_id(text: str) -> bool:
    """True when ``text`` may name a child (letters, digits, ``_ . -``; 63 characters at most)."""
    return _ID.match(text) is not None


def parse(text: str) -> TreePath:
    """Return ``text`` as a path.

    Raises:
        ValueError: it does not begin with a slash, or a part of it is no child id.
    """
    if text == "/":
        return ROOT
    if not text.startswith("/"):
        raise ValueError(f"a path begins with '/': {text!r}")
    for part in text[1:].split("/"):
        if not is_id(part):
            raise ValueError(f"{part!r} in {text!r} is no child id")
    return TreePath(text)


def join(parent: TreePath, child_id: str) -> TreePath:
    """The path of ``child_id`` below ``parent``."""
    return TreePath(f"/{child_id}" if parent == ROOT else f"{parent}/{child_id}")


def parent_of(path: TreePath) -> TreePath:
    """The path of the supervisor above ``path``; the root is its own parent."""
    return TreePath(path.rpartition("/")[0] or "/")


def id_of(path: TreePath) -> str:
    """The last part of ``path``: the id its supervisor knows it by (empty for the root)."""
    return path.rpartition("/")[2]


def is_below(path: TreePath, top: TreePath) -> bool:
    """True when ``path`` lies in the subtree under ``top`` (``top`` itself excluded)."""
    return path != top and (top == ROOT or path.startswith(f"{top}/"))


def failure_id(path: str, incarnation: int) -> str:
    """The id that joins all that belongs to one failure: the life that failed, as ``/cell/md#3``."""
    return f"{path}#{incarnation}"
