"""Which disk this is: an id kept beside the journals, so that the state folder of another machine is told apart.

A folder that machines share has one id, and is one disk for all of them.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from supervisors.state.folders import STATE

VOLUME = ".volume"


def volume_id(data_dir: Path) -> str:
    """The id of the disk that holds the journals of this machine, made when there is none, durable before it is told.

    Returns:
        Empty where it can be neither read nor made; nothing can be journalled there either.
    """
    file = data_dir / STATE / VOLUME
    with suppress(OSError):
        return file.read_text()
    try:
        _make(file)
        return file.read_text()
    except OSError:
        return ""


def _make(file: Path) -> None:
    """In one step, the first of several processes: none may tell an id that another one replaces."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{VOLUME}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with made.open("x") as out:
            out.write(secrets.token_hex(8))
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(made, file)
    finally:
        made.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
