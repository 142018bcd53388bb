"""The checks prove their worth: every planted bug is found, and leaves no trace once it is taken out."""

import msgspec
import pytest

from supervisors.core.errors import SpecError
from supervisors.simulate.dst import BUGS, Options, bug_table, run
from supervisors.simulate.dst.bugs import planted
from supervisors.simulate.dst.model import Parts
from supervisors.simulate.dst.table import WITHIN
from supervisors.tree import overtaking, restarting, stopping


def test_there_are_enough_of_them_and_they_break_most_invariants() -> None:
    assert len(BUGS) >= 14
    assert len({name for bug in BUGS.values() for name in bug.invariants}) >= 9


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BUGS)
def test_it_is_found(name: str) -> None:
    for seed in range(WITHIN):
        found = run(msgspec.structs.replace(Options(seed=seed), bug=name)).violation
        if found is not None:
            assert found.invariant in BUGS[name].invariants
            return
    pytest.fail(f"not found within {WITHIN} seeds")


def test_it_is_gone_with_the_run() -> None:
    patched = [(module, attribute) for bug in BUGS.values() for module, attribute, _ in bug.patches]
    assert {module for module, _ in patched} == {overtaking, restarting, stopping}
    before = [getattr(module, attribute) for module, attribute in patched]
    for name in BUGS:
        with pytest.raises(ZeroDivisionError), planted(name):
            raise ZeroDivisionError
    assert before == [getattr(module, attribute) for module, attribute in patched]
    with planted("") as parts:
        assert parts == Parts()


def test_a_bug_nobody_planted() -> None:
    with pytest.raises(SpecError, match="no bug 'nix'"):
        run(Options(bug="nix"))


def test_the_table_has_a_row_for_each_bug() -> None:
    rows = list(bug_table(("start_order", "temporary"), within=5))
    assert [(row.bug, row.invariant) for row in rows] == [("start_order", "INV-9"), ("temporary", "INV-7")]
    assert all(row.faults <= 5 and row.seeds <= 5 for row in rows)
    # a run without faults finds nothing
    none = list(bug_table(("temporary",), within=1, options=Options(faults=0)))
    assert none[0].invariant == ""
