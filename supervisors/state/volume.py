"""Which disk this is: an id kept beside the journals, so that the state folder of another machine is told apart.

A folder that machines share has one id, and is one disk for all of them.
"""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from supervisors.state.folders import STATE

VOLUME = ".volume"


def volume_id(data_dir: Path) -> str:
    """The id of the disk that holds the journals of this machine, made when there is none, durable before it is told.

    Returns:
        Empty where it can be neither read nor made: such a disk is told apart from no other.
    """
    file = data_dir / STATE / VOLUME
    with suppress(OSError):
        return _read(file)
    try:
        _make(file)
        return _read(file)
    except OSError:
        return ""


def _read(file: Path) -> str:
    """Where names cannot be linked, another process may be about to write it."""
    for _ in range(100):
        if found := file.read_text():
            return found
        time.sleep(0.01)
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
        try:
            os.link(made, file)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            with suppress(FileExistsError), file.open("x") as out:
                out.write(made.read_text())
                out.flush()
                os.fsync(out.fileno())
    finally:
        made.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
