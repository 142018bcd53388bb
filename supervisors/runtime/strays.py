"""Processes of a system, found on the machine and not by its goal state."""

import os
from pathlib import Path

from supervisors.runtime.folders import folders_of

#: how the titles of our hosts begin
_HOSTS = ("ray::Host", "ray::rayvisor:/", "rayvisor:/")


def stray_processes(data_dir: Path, known: set[int]) -> list[str]:
    """Hosts of this system that the goal state does not know, and helpers of faults that are over."""
    marker = str(folders_of(data_dir).token).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in known or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # Ray writes the class's name into the title, or what the host calls itself
            is_host = line.startswith(_HOSTS) and marker in (entry / "environ").read_bytes()
        except OSError:
            continue
        if is_host or ("supervisors.runtime.helper" in line and str(data_dir) in line):
            found.append(f"process {entry.name}: {line[:200]}")
    return sorted(found)
