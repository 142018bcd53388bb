import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.core.errors import LaunchError
from supervisors.runtime.folders import DirectoryLock, Folders, clear, folders_of, make


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    data = tmp_path / "data"
    data.mkdir()
    found = folders_of(data)
    yield found
    clear(found)


def test_names_follow_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = folders_of(tmp_path / "a")
    assert one == folders_of(tmp_path / "b" / ".." / "a")
    assert one.runtime != folders_of(tmp_path / "b").runtime
    monkeypatch.chdir(tmp_path)
    assert folders_of(Path("a")) == one
    assert not one.runtime.exists(), "nothing is made"
    # Ray's and our own sockets below it must fit into 107 characters
    assert len(str(one.plane / ("h-" + 12 * "x"))) < 80


def test_what_is_made_is_private_and_goes_again(folders: Folders) -> None:
    old = os.umask(0)
    try:
        make(folders)
    finally:
        os.umask(old)
    for folder in (folders.runtime, folders.plane, folders.shm, folders.ray):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    folders.runtime.chmod(0o777)
    make(folders)
    assert stat.S_IMODE(folders.runtime.stat().st_mode) == 0o700, "put right again"
    clear(folders)
    clear(folders)
    assert not folders.runtime.exists()
    assert not folders.shm.exists()
    assert (folders.data / "trail").is_dir(), "what is kept stays"


@pytest.mark.parametrize("which", ["runtime", "shm"])
def test_a_link_in_the_place_of_a_folder_is_refused(folders: Folders, tmp_path: Path, which: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    place: Path = getattr(folders, which)
    place.symlink_to(elsewhere)
    try:
        with pytest.raises(LaunchError) as failure:
            make(folders)
    finally:
        place.unlink()
    assert failure.value.code == 2004
    assert str(place) in failure.value.message
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755, "untouched"


def test_a_file_in_the_place_of_a_folder_is_refused(folders: Folders) -> None:
    folders.runtime.write_text("mine")
    try:
        with pytest.raises(LaunchError) as failure:
            make(folders)
    finally:
        folders.runtime.unlink()
    assert failure.value.code in (2003, 2004)
    shutil.rmtree(folders.data / "logs", ignore_errors=True)
    (folders.data / "logs").write_text("in the way")
    with pytest.raises(LaunchError) as failure:
        make(folders)
    assert failure.value.code == 2002


# ---------------------------------------------------------------- one at a time

_HOLD = """
import sys
from pathlib import Path
from supervisors.core.errors import LaunchError
from supervisors.runtime.folders import DirectoryLock, folders_of
lock = DirectoryLock(folders_of(Path(sys.argv[1])))
try:
    lock.take()
except LaunchError as error:
    print(error.code, flush=True)
    raise SystemExit
print("taken", flush=True)
if sys.stdin.readline().strip() == "release":
    lock.release()
    print("released", flush=True)
    sys.stdin.readline()
"""


class Holder:
    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.said = self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_one_process_holds_it_until_it_lets_go(folders: Folders) -> None:
    lock = DirectoryLock(folders)
    assert lock.holder() == 0
    holder = Holder(folders.data)
    try:
        assert holder.said == "taken"
        assert lock.holder() == holder.process.pid
        with pytest.raises(LaunchError) as failure:
            lock.take()
        assert failure.value.code == 2005
        assert str(holder.process.pid) in failure.value.message
        assert lock.holder() == holder.process.pid, "a refused try changes nothing"
        assert holder.process.stdin is not None
        holder.process.stdin.write("release\n")
        holder.process.stdin.flush()
        assert holder.read() == "released"
        assert lock.holder() == 0
        lock.take()
        second = Holder(folders.data)
        second.end()
        assert second.said == "2005"
        lock.release()
        lock.release()
    finally:
        holder.end()


def test_the_kernel_lets_go_for_one_that_is_killed(folders: Folders) -> None:
    holder = Holder(folders.data)
    assert holder.said == "taken"
    os.kill(holder.process.pid, signal.SIGKILL)
    holder.process.communicate()
    lock = DirectoryLock(folders)
    assert lock.holder() == 0
    lock.take()
    lock.release()


def test_of_many_at_once_one_gets_it(folders: Folders) -> None:
    began = time.monotonic()
    holders = [Holder(folders.data) for _ in range(4)]
    try:
        assert sorted(holder.said for holder in holders) == ["2005", "2005", "2005", "taken"]
    finally:
        for holder in holders:
            holder.end()
    assert time.monotonic() - began < 60


def test_a_lock_where_no_directory_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock = DirectoryLock(folders_of(tmp_path / "file" / "below"))
    with pytest.raises(LaunchError) as failure:
        lock.take()
    assert failure.value.code == 2002
    assert lock.holder() == 0
