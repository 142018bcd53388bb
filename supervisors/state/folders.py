"""Where one actor's state is kept: ``<data_dir>/state/<name>/`` with ``journal/`` and ``checkpoints/``."""

import hashlib
from pathlib import Path

from supervisors.core.paths import parse

STATE = "state"
JOURNAL = "journal"
CHECKPOINTS = "checkpoints"
_LONGEST = 200  # file systems take 255 bytes; a child id may have 63


def state_folder(data_dir: Path, path: str) -> Path:
    """The folder of the actor at ``path``: ``/cell/md`` is ``state/cell~md``; the root is ``state/~``.

    A name that would be too long for a file system ends in ``~~`` and a digest of the path.

    Raises:
        ValueError: ``path`` is no path of a tree.
    """
    name = parse(path)[1:].replace("/", "~") or "~"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 18]}~~{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    return data_dir / STATE / name


def journal_folder(data_dir: Path, path: str) -> Path:
    """Where the events of the actor at ``path`` are."""
    return state_folder(data_dir, path) / JOURNAL


def checkpoint_folder(data_dir: Path, path: str) -> Path:
    """Where the checkpoints of the actor at ``path`` are."""
    return state_folder(data_dir, path) / CHECKPOINTS
