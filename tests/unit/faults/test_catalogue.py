"""The catalogue: each kind can be read, shown and found; those that act in a process have somebody who does it."""

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import Catalogue, FaultKind, Target, Where
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType
from supervisors.runtime.faultstage import act_of
from supervisors.trail.events import Signal

_HOOKS = {value for name, value in vars(Hook).items() if name.isupper()}
#: carried out by a supervisor itself
_DESK = {"suspect", "ray_kill"}


@pytest.mark.parametrize("kind", list(CATALOGUE), ids=lambda kind: kind.name)
def test_each_kind_is_whole(kind: FaultKind) -> None:
    assert kind.about.endswith((".", "first.")), "a sentence for people"
    assert kind.undo
    assert kind.targets <= set(Target)
    assert set(kind.hooks) <= _HOOKS
    assert set(kind.detected) <= {str(signal) for signal in Signal}
    required = {p.name: p.least or 1 for p in kind.parameters if p.default is None}
    values = kind.read(required)
    assert list(values) == [parameter.name for parameter in kind.parameters]
    assert kind.read(kind.shown(values)) == values, "what is shown is read again"
    in_process = kind.where in (Where.HOST, Where.STANDING, Where.SUPERVISOR)
    assert bool(kind.hooks) == in_process
    if in_process and Hook.NOW in kind.hooks and kind.name not in _DESK:
        assert act_of(kind.name) is not None, "somebody does it"
    if not kind.lasting:
        assert kind.detected, "what is over at once has to be seen"


def test_names_that_are_nearly_right_are_offered() -> None:
    with pytest.raises(FaultError, match=r"E9002.*did you mean block_loop\?"):
        CATALOGUE.find("block_lop")
    with pytest.raises(FaultError, match="inject list"):
        CATALOGUE.find("earthquake")
    hang = CATALOGUE.find("hang")
    with pytest.raises(FaultError, match=r"E9003.*did you mean method\?"):
        hang.read({"methods": "x"})
    with pytest.raises(FaultError, match="parameters: method, nth"):
        hang.read({"zzz": 1})
    with pytest.raises(FaultError, match="it takes none"):
        CATALOGUE.find("stop").read({"zzz": 1})


def test_what_must_be_given_must_be_given() -> None:
    kind = FaultKind("own", "test", Where.ACTOR, "a.", "b", (Parameter("word", ValueType.TEXT, None, "which"),))
    with pytest.raises(FaultError, match=r"E9005.*needs the parameter word: which"):
        kind.read({})
    assert kind.read({"word": 3}) == {"word": "3"}


def test_two_kinds_never_share_a_name() -> None:
    own = FaultKind("own", "test", Where.ACTOR, "a.", "b")
    catalogue = Catalogue([own])
    catalogue.add(own)
    assert len(list(catalogue)) == 1
    with pytest.raises(ValueError, match="two kinds"):
        catalogue.add(FaultKind("own", "test", Where.ACTOR, "another.", "b"))
    assert "own" in catalogue
    assert "other" not in catalogue
