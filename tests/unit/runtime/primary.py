"""A primary's publisher in a process of its own, to be killed: ``python -m tests.unit.runtime.primary ENDPOINT``.

Each line it reads is a number: it publishes 1 to that number, or a greeting where it is 0.
"""

import subprocess
import sys
from pathlib import Path

import zmq

from supervisors.runtime.wire import mark_prefix, plain_header

TOPIC = b"trade.btcusdt"


def main() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.SNDHWM, 100_000)
    socket.bind(sys.argv[1])
    sys.stdout.write("up\n")
    sys.stdout.flush()
    plain, marked = plain_header(1), mark_prefix(1)
    for line in sys.stdin:
        if int(line) == 0:
            socket.send_multipart((TOPIC, plain, b"0"))
        for number in range(1, int(line) + 1):
            socket.send_multipart((TOPIC, marked + number.to_bytes(8, "big", signed=True), b"%d" % number))


class Primary:
    """That process, seen from the test."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.runtime.primary", endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n"

    def tell(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)
        self._process.stdin.flush()

    def publish(self, topic: str, payload: bytes) -> None:
        """A greeting."""
        self.tell(0)

    def kill(self) -> None:
        """SIGKILL: what its socket had not sent yet is lost, other items for each reader."""
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    main()
