"""Where a system keeps things: the data directory a user names, and short-named private folders for sockets.

``data_dir``          goals.sqlite, trail/, logs/, warden.lock, system.json: stays after ``down``
``runtime_dir``       ray/, plane/ (ipc sockets), token: gone after ``down``. A socket's name may have 107 characters.
``shm_dir``           death-watch words, in /dev/shm where there is one: gone after ``down``
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from supervisors.core.errors import LaunchError

_SHM = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one system, derived from its data directory."""

    data: Path
    runtime: Path
    shm: Path

    @property
    def plane(self) -> Path:
        """Folder of ipc sockets."""
        return self.runtime / "plane"

    @property
    def ray(self) -> Path:
        """Ray's own temporary folder."""
        return self.runtime / "ray"

    @property
    def token(self) -> Path:
        """File with the token of our Ray cluster."""
        return self.runtime / "token"


def folders_of(data_dir: Path) -> Folders:
    """Derive the folders; creates nothing."""
    data = data_dir.resolve()
    name = f"rayvisor-{os.getuid()}-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"
    temporary = Path(tempfile.gettempdir())
    runtime = temporary / name
    if len(str(runtime)) > 40:
        runtime = Path("/tmp") / name
    shm = _SHM / name if _SHM.is_dir() and os.access(_SHM, os.W_OK) else runtime / "shm"
    return Folders(data, runtime, shm)


def make(folders: Folders) -> None:
    """Create what is missing, for this user only.

    Raises:
        LaunchError: a folder cannot be made, or somebody else has prepared it.
    """
    try:
        (folders.data / "trail").mkdir(exist_ok=True)
        (folders.data / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"data directory {folders.data}: {error.strerror}", code=2002, fix="choose another"
        ) from error
    for folder in (folders.runtime, folders.shm, folders.plane, folders.ray):
        _private(folder)


def _private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise LaunchError(f"{folder}: {error.strerror}", code=2003) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LaunchError(f"{folder} is not a folder of ours", code=2004, fix="remove it")
    folder.chmod(0o700)


def clear(folders: Folders) -> None:
    """Remove everything that must not outlive the system."""
    for folder in (folders.shm, folders.runtime):
        shutil.rmtree(folder, ignore_errors=True)


class DirectoryLock:
    """One ``up`` at a time per data directory. The kernel lets go of it when its holder dies, however it dies.

    Args:
        folders: of the system.
    """

    def __init__(self, folders: Folders) -> None:
        self._file = folders.data / "warden.lock"
        self._descriptor = -1

    def take(self) -> None:
        """Take the lock; makes the data directory when it is missing.

        Raises:
            LaunchError: another process holds it, or the directory cannot be made.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"data directory {self._file.parent}: {error.strerror}"
            raise LaunchError(text, code=2002, fix="choose another") from error
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise LaunchError(
                f"{self._file.parent} is in use by process {holder or '?'}",
                code=2005,
                fix="rayvisor down ends it; another --data-dir starts a second system",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def holder(self) -> int:
        """Pid of the process that holds it, 0 when nobody does."""
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else -1
        finally:
            os.close(descriptor)
        return 0
