"""The pure modules of this room import nothing that has effects (DESIGN.md §3)."""

import ast
from pathlib import Path

import pytest

import actors

_ROOT = Path(actors.__file__).parent
_FORBIDDEN = {
    "aiohttp",
    "asyncio",
    "loguru",
    "os",
    "pathlib",
    "picows",
    "prometheus_client",
    "random",
    "ray",
    "time",
    "zmq",
}
_PURE = [
    *(f"connectors/{name}.py" for name in ("units", "reconnect", "messages", "book", "binance_codec", "effects")),
    *(f"connectors/{name}.py" for name in ("channels", "binance_session", "binance_state")),
    *(f"venue/{name}.py" for name in ("replay_core", "walk")),
    *(f"detectors/{name}.py" for name in ("hysteresis", "staleness_core", "heartbeat_core")),
    "workers/verify_core.py",
]


@pytest.mark.parametrize("name", _PURE)
def test_pure(name: str) -> None:
    tree = ast.parse((_ROOT / name).read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            found = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {(node.module or "").partition(".")[0]}
            inside = node.module or ""
            if inside.startswith("actors."):
                assert (
                    inside.removeprefix("actors.").replace(".", "/") + ".py" in _PURE or inside == "actors.connectors"
                )
        else:
            continue
        assert not found & _FORBIDDEN, f"{name} imports {found & _FORBIDDEN}"
