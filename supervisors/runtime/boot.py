"""What a fresh host process is told, and the check that it runs the same code as the process that made it."""

import hashlib
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

from supervisors.core.errors import LaunchError

#: seconds a busy Python thread of a supervisor may keep the plane's thread waiting (Python's own default is 5 ms)
SWITCH_INTERVAL = 0.0005


class HostBoot(msgspec.Struct, frozen=True):
    """First words to a host.

    Attributes:
        host: its id, unique in the system.
        system: name of the system.
        namespace: the Ray namespace its actors live in.
        data_dir: the system's data directory.
        plane_dir: folder of ipc sockets (0700), short enough for a socket's name.
        shm_dir: folder of death-watch words; empty where there is no /dev/shm.
        transport: ipc or tcp.
        bind: address for tcp.
        methods: death-watch methods the host has to serve.
        nodes: there may be other nodes: what is published must be reachable from them.
        local: it is to run on the launching node, with the data directory at hand.
        build: build id of the maker's code.
        cwd: directory the system was started in: relative paths in configs are relative to it.
        search: folders to add to the import path, for users' own actors.
    """

    host: str
    system: str
    namespace: str
    data_dir: str
    plane_dir: str
    shm_dir: str
    transport: str
    bind: str
    methods: tuple[str, ...]
    nodes: bool
    local: bool
    build: str
    cwd: str
    search: tuple[str, ...]


class HostInfo(msgspec.Struct, frozen=True):
    """A host's answer: how to reach it, and on which disk it journals (``supervisors.state.volume``)."""

    host: str
    pid: int
    start_time: int
    node: str
    endpoint: str
    pub: str
    volume: str


@cache
def build_id() -> str:
    """A digest over the sources of both packages, with the folder of each: ``digest actors-folder supervisors-folder``.

    A user's own folder called ``actors`` would shadow ours; the digest tells.
    """
    digest = hashlib.sha256()
    folders = []
    for package in ("actors", "supervisors"):
        spec = find_spec(package)
        folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()
        folders.append(str(folder))
        for file in sorted(folder.rglob("*.py")) if spec else ():
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(file.read_bytes())
    return f"{digest.hexdigest()[:16]} {folders[0]} {folders[1]}"


def check_build(expected: str) -> None:
    """Refuse to run other code than the launcher's.

    Raises:
        LaunchError: the digests differ; names both places.
    """
    mine = build_id()
    if mine.split(" ", 1)[0] != expected.split(" ", 1)[0]:
        raise LaunchError(
            f"this process runs other code than its launcher: {mine} here, {expected} there",
            code=2020,
            fix="a folder called 'actors' or 'supervisors' on the import path may shadow rayvisor's",
        )


def extend_search(folders: tuple[str, ...]) -> None:
    """Put users' folders behind everything that is installed, so that they cannot shadow rayvisor."""
    for folder in folders:
        if folder not in sys.path:
            sys.path.append(folder)
