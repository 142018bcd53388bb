"""What a host does with its own process."""

import os
import signal
import subprocess
import sys

_STUBBORN = """
import os, signal, threading, time
from supervisors.runtime.process import end_at_once_on_sigterm

def linger(number, frame):
    time.sleep(60)

signal.signal(signal.SIGTERM, linger)
thread = threading.Thread(target=end_at_once_on_sigterm)  # a host is made in a thread of Ray's
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


def test_a_host_ends_at_once_on_sigterm_whatever_handler_ray_had_put_there() -> None:
    done = subprocess.run([sys.executable, "-c", _STUBBORN], timeout=50.0, check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGTERM
