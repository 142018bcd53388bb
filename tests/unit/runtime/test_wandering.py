"""Random troubles: kills, deaf and dying hosts, orders, answers, supervisor crashes, full stops, in any order.

Whatever happens, ``shells.Rules`` hold; once the troubles end and people answer, everything comes to rest.
"""

from pathlib import Path

import pytest

from supervisors.tree.model import Strategy

from .wandering import Wanderer

_SEEDS = 12


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("seed", range(_SEEDS))
def test_no_rule_is_ever_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, seed: int) -> None:
    wanderer = Wanderer(seed, tmp_path, monkeypatch, strategy)
    try:
        wanderer.wander(60)
        if seed % 3 == 0:
            wanderer.shut_down()
        else:
            wanderer.settle()
        wanderer.world.check()
    finally:
        wanderer.world.close()
