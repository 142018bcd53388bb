"""The ``rayvisor`` command. The only room that prints."""

import signal
import sys
from pathlib import PurePath

# run as the command: Ctrl-C while the rest is imported ends it at once, without a traceback; ``main.run`` goes on
if PurePath(sys.argv[0] if sys.argv else "").name in ("-m", "rayvisor"):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
