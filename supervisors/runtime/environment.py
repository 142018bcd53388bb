"""Ray's settings. Ray reads most of them once, when it is imported: ``prepare`` comes before that."""

import os
import secrets
import sys

from supervisors.core.errors import LaunchError
from supervisors.runtime.folders import Folders

_LOG_BYTES = 20_000_000


def ray_environment(folders: Folders) -> dict[str, str]:
    """What every process of a Ray cluster of ours gets.

    No telemetry, authenticated by a token, no lower priority than its peers (Ray's default niceness of 15 would let
    any busy process starve the beats), bounded logs.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folders.token),
        "RAY_ROTATION_MAX_BYTES": str(_LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "RAY_enable_worker_prestart": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def settle(folders: Folders, *, owned: bool) -> dict[str, str]:
    """Set what Ray reads at its import, without touching a file; returns what a cluster of this kind needs.

    Ray is not to start by itself: a thread that makes a host while we leave would begin a cluster nobody ends.
    """
    wanted = ray_environment(folders) if owned else {"RAY_USAGE_STATS_ENABLED": "0"}
    os.environ.update(wanted)
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    return wanted


def prepare(folders: Folders, *, owned: bool) -> None:
    """Set this process up for the cluster it is going to join.

    Args:
        folders: of the system; must exist.
        owned: the cluster is ours; a foreign one keeps its own authentication settings.

    Raises:
        LaunchError: Ray was imported before, with other settings.
    """
    before = dict(os.environ)
    wanted = settle(folders, owned=owned)
    if "ray" in sys.modules and any(before.get(key) != value for key, value in wanted.items()):
        raise LaunchError("Ray was imported before its settings were made", code=2054)
    if owned and not folders.token.exists():
        descriptor = os.open(folders.token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(descriptor, secrets.token_hex(32).encode())
        os.close(descriptor)
