"""Captures for the tests of this room."""

from pathlib import Path

import pytest

from actors.venue.capture import read_capture

_ROOT = Path(__file__).parents[2]
_REAL = _ROOT.parent / "shared" / "captures" / "binance_spot_btcusdt.gz"
SMALL = _ROOT / "examples" / "data" / "binance_small.gz"

Lines = list[tuple[int, bytes]]


@pytest.fixture(scope="session")
def real_capture() -> Lines:
    """41,249 recorded frames of Binance spot."""
    if not _REAL.exists():
        pytest.skip("the recorded captures are not on this machine (../shared/captures)")
    return list(read_capture(_REAL))


@pytest.fixture(scope="session")
def small_capture() -> Lines:
    """The synthetic capture that is part of the repository."""
    return list(read_capture(SMALL))
