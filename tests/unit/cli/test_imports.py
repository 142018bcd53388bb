"""What the command line brings in before it knows what is wanted of it."""

import subprocess
import sys


def test_no_command_imports_ray_before_its_settings_are_made() -> None:
    """`rayvisor call` cannot join a cluster of its own otherwise (2054), and each command would start 0.4 s later."""
    code = "import sys, supervisors.cli.main; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0, check=True)
    assert done.stdout == "False\n"
