"""A PostgreSQL server of the tests' own, in a temporary directory with a Unix socket in it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from psycopg import pq

#: seconds a server may take to answer on a busy machine
PATIENCE = 60.0


def binaries() -> Path:
    """The folder with ``postgres`` and ``initdb``; skips the test where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server on this machine: install the package postgresql")


class Server:
    """One server process that can be stopped, killed, paused and started again."""

    def __init__(self) -> None:
        self._bin = binaries()
        self._user: str | None = None
        if os.getuid() == 0:  # postgres refuses to run as root
            try:
                self._user = pwd.getpwnam("postgres").pw_name
            except KeyError:
                pytest.skip("running as root and there is no user postgres to run the server as")
        self._folder = Path(tempfile.mkdtemp(prefix="rayvisor-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"postgresql:///postgres?host={self._folder}&user=postgres"

    def start(self, *, wait: bool = True) -> None:
        """Begin; by default returns once it answers."""
        # none of the tests takes the power away, and a slow disk is not what they are about
        settings = ("fsync=off", "listen_addresses=", "shared_buffers=16MB", "max_connections=40")
        options = [word for setting in settings for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), "-k", str(self._folder), *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._folder,
                start_new_session=True,
            )
        if wait:
            give_up = time.monotonic() + PATIENCE
            while not self._answers():
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < give_up, "the server does not answer"
                time.sleep(0.02)

    def _answers(self) -> bool:
        return pq.PGconn.ping(self.url.encode()) == pq.Ping.OK

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, SIGQUIT as in a crash. It recovers at the next start."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    def signal(self, what: signal.Signals) -> None:
        """To the server and all its processes."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, what)

    def remove(self) -> None:
        """End it and delete all it wrote."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / name), *arguments],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
