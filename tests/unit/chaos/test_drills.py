"""Drills fit a system, or say what it lacks."""

import pytest

from supervisors.chaos.drilling import NAMES, PLACES, drills, find_drill, placed
from supervisors.chaos.reading import read_text
from supervisors.chaos.systems import Known, PlaceFacts
from supervisors.core.errors import FaultError

FULL = Known(
    name="full",
    places={
        "/": PlaceFacts("/", supervisor=True),
        "/cell": PlaceFacts("/cell", supervisor=True),
        "/cell/a": PlaceFacts("/cell/a", journal=True, standbys=1),
        "/proxy": PlaceFacts("/proxy"),
    },
    own={"/proxy": ("net_latency",)},
)


@pytest.mark.parametrize("name", NAMES)
def test_a_drill_fits_a_system_that_has_all_it_needs(name: str) -> None:
    text = placed(find_drill(name), FULL)
    assert not [place for place in PLACES if place in text]
    loaded = read_text(text, f"{name}.yaml")
    assert loaded.report.findings == ()
    assert loaded.experiment is not None
    assert loaded.experiment.description


def test_all_drills_of_the_recovery_specification_are_there() -> None:
    assert [one.name for one in drills()] == list(NAMES)
    assert len(NAMES) == 7
    assert find_drill("network_latency").needs == (PLACES["/WIRE"],)


def test_what_a_system_lacks_is_told() -> None:
    bare = Known(name="bare", places={"/": PlaceFacts("/", supervisor=True)})
    for name, what in (
        ("corrupt_page", "standby"),
        ("network_latency", "proxy"),
        ("supervisor_lost", "below the root"),
    ):
        with pytest.raises(FaultError, match=what):
            placed(find_drill(name), bare)
    assert placed(find_drill("root_lost"), bare)


def test_a_drill_that_is_not_there() -> None:
    with pytest.raises(FaultError) as failed:
        find_drill("root_los")
    assert failed.value.fix == "did you mean 'root_lost'?"
