import pytest

from supervisors.runtime.factory import _host_class, is_default
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


def test_ray_is_given_one_class_however_many_hosts_are_made() -> None:
    assert _host_class() is _host_class()
