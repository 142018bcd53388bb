"""Whom a request hits: sets, seeds, needs, and how many at one time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import Target
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import FaultRequest, Hit, TargetSet
from supervisors.faults.targets import CensusRow, key_of, resolve


def _row(path: str, target: Target = Target.WORKER, pid: int = 1, state: str = "", *, kept: bool = False) -> CensusRow:
    standby = target is Target.STANDBY
    hit = Hit(f"host-{path}-{pid}", pid, 1, "ipc://x", 1, standby) if pid else Hit(standby=standby)
    return CensusRow(path, target, hit, state, journal=kept, lease=kept, standbys=int(kept))


CENSUS = [
    _row("/", Target.SUPERVISOR),
    _row("/cell", Target.SUPERVISOR),
    _row("/cell/md"),
    _row("/cell/oms", kept=True),
    _row("/cell/oms", Target.STANDBY, 2, kept=True),
    _row("/cell/risk", kept=True),
    _row("/cell/risk", Target.STANDBY, 3, kept=True),
    _row("/watch"),
    _row("/down", pid=0, state="restarting"),
]


def _hit(fault: str, path: str, targets: TargetSet = TargetSet.PATH, *, limit: int = 9, **fields: object) -> list[str]:
    request = FaultRequest(fault, path, targets=targets, **fields)  # type: ignore[arg-type]
    found = resolve(CATALOGUE.find(fault), request, CENSUS, limit=limit)
    return [f"{one.path}+" if one.target is Target.STANDBY else one.path for one in found]


@pytest.mark.parametrize(
    ("fault", "path", "targets", "wanted"),
    [
        ("kill", "/cell/oms", TargetSet.PATH, ["/cell/oms"]),
        ("kill", "/cell", TargetSet.PATH, ["/cell"]),
        ("kill", "/cell", TargetSet.ALL, ["/cell/md", "/cell/oms", "/cell/risk"]),
        ("kill", "/", TargetSet.SUPERVISORS, ["/", "/cell"]),
        ("kill", "/cell", TargetSet.STANDBYS, ["/cell/oms+", "/cell/risk+"]),
        ("kill", "/", TargetSet.PRIMARIES, ["/cell/oms", "/cell/risk"]),
        ("slow_disk", "/", TargetSet.ALL, ["/cell/oms", "/cell/risk"]),
        ("kill", "/cell/md", TargetSet.ALL, ["/cell/md"]),
    ],
)
def test_sets(fault: str, path: str, targets: TargetSet, wanted: list[str]) -> None:
    assert _hit(fault, path, targets) == wanted


@pytest.mark.parametrize(("targets", "size"), [(TargetSet.ONE, 1), (TargetSet.HALF, 2), (TargetSet.RANDOM, 2)])
def test_chance_is_of_the_seed_alone(targets: TargetSet, size: int) -> None:
    first = _hit("kill", "/cell", targets, seed=3, count=2)
    assert len(first) == size
    assert _hit("kill", "/cell", targets, seed=3, count=2) == first
    assert {tuple(_hit("kill", "/cell", targets, seed=seed, count=2)) for seed in range(40)} != {tuple(first)}


@pytest.mark.parametrize(
    ("fault", "path", "targets", "code"),
    [
        ("kill", "/cell/mdd", TargetSet.PATH, 9006),
        ("raise", "/cell", TargetSet.PATH, 9007),
        ("raise", "/cell", TargetSet.STANDBYS, 9007),
        ("suspect", "/", TargetSet.SUPERVISORS, 9007),
        ("kill", "/down", TargetSet.PATH, 9008),
        ("kill", "/watch", TargetSet.STANDBYS, 9008),
        ("kill", "/watch", TargetSet.PRIMARIES, 9008),
        ("slow_disk", "/cell/md", TargetSet.PATH, 9011),
        ("lease_slow", "/watch", TargetSet.ALL, 9011),
    ],
)
def test_what_cannot_be_hit_is_refused(fault: str, path: str, targets: TargetSet, code: int) -> None:
    with pytest.raises(FaultError) as caught:
        _hit(fault, path, targets)
    assert caught.value.code == code
    assert caught.value.fix


def test_near_paths_are_offered() -> None:
    with pytest.raises(FaultError, match="/cell/md"):
        _hit("kill", "/cell/mdd")


def test_more_random_ones_than_there_are() -> None:
    with pytest.raises(FaultError) as caught:
        _hit("kill", "/cell", TargetSet.RANDOM, count=4)
    assert caught.value.code == 9008


def test_the_blast_radius_counts_what_is_hit_already() -> None:
    kind, request = CATALOGUE.find("kill"), FaultRequest("kill", "/cell", targets=TargetSet.STANDBYS)
    standby = next(row for row in CENSUS if row.target is Target.STANDBY)
    assert len(resolve(kind, request, CENSUS, active=["/watch"], limit=3)) == 2
    # a target that is hit twice counts once; a standby is another than its primary
    assert len(resolve(kind, request, CENSUS, active=[key_of(standby.path, standby.hit)], limit=2)) == 2
    with pytest.raises(FaultError) as caught:
        resolve(kind, request, CENSUS, active=["/cell/oms"], limit=2)
    assert caught.value.code == 9009


@given(st.integers(0, 1000), st.sampled_from(list(TargetSet)), st.integers(1, 3), st.permutations(CENSUS))
def test_the_order_of_the_census_does_not_matter(
    seed: int, targets: TargetSet, count: int, rows: list[CensusRow]
) -> None:
    kind, request = CATALOGUE.find("kill"), FaultRequest("kill", "/cell", seed=seed, targets=targets, count=count)
    assert resolve(kind, request, rows, limit=9) == resolve(kind, request, CENSUS, limit=9)
