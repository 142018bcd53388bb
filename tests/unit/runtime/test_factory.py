from pathlib import Path

import pytest

from supervisors.runtime.factory import _host_class, bury_files, is_default
from supervisors.signals.deathwatch import DeathBeacon
from supervisors.spec.compiled import PlacementSpec


@pytest.mark.parametrize("placement", [PlacementSpec(), PlacementSpec(node="launch")])
def test_any_spare_will_do(placement: PlacementSpec) -> None:
    assert is_default(placement)


@pytest.mark.parametrize(
    "placement",
    [
        PlacementSpec(node="10.0.0.2"),
        PlacementSpec(labels={"zone": "a"}),
        PlacementSpec(resources={"GPU": 0.5}),
        PlacementSpec(num_cpus=1),
        PlacementSpec(anti_affinity=("/cell/md",)),
    ],
)
def test_a_wish_is_not_met_by_a_spare(placement: PlacementSpec) -> None:
    assert not is_default(placement)


def test_no_name_of_a_dead_host_stays_and_those_of_others_do(tmp_path: Path) -> None:
    plane, words = tmp_path / "plane", tmp_path / "words"
    for folder in (plane, words):
        folder.mkdir()
    for host in ("one", "other"):
        beacon = DeathBeacon(words, host, frozenset({"futex", "socket"}))
        for kind in ("h", "p", "exit", "fault"):
            (plane / f"{kind}-{host}").touch()
        if host == "other":
            kept = sorted(path.name for path in words.iterdir() if "other" in path.name)
            bury_files(plane, words, "one")
            assert sorted(path.name for path in words.iterdir()) == kept
            assert len(kept) == 2
        beacon.close()
    assert {path.name.partition("-")[2] for path in plane.iterdir()} == {"other"}


def test_ray_is_given_one_class_however_many_hosts_are_made() -> None:
    assert _host_class() is _host_class()
