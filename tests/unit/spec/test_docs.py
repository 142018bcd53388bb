"""docs/topology.md names every key, and the defaults it states are the real ones."""

import re
from pathlib import Path

import pytest

from supervisors.core.durations import format_duration
from supervisors.spec import check_text
from supervisors.spec.faults import DeclaredFaultSettings, FaultsSettings
from supervisors.spec.fields import SpecModel, format_size
from supervisors.spec.recovery import (
    ApprovalSettings,
    BudgetSettings,
    CheckpointSettings,
    JournalSettings,
    LeaseSettings,
    MarketHoursSettings,
    RampSettings,
    RampStepSettings,
    RecoverySettings,
    RuleSettings,
    RungTimeouts,
    ValidationSettings,
)
from supervisors.spec.sections import Logs, Metrics, Plane, Trail
from supervisors.spec.settings import BackoffSettings, ChildSettings, HeartbeatSettings, Member, Placement, Policy
from supervisors.spec.topology import Root, Supervisor, Topology, Worker

_TEXT = (Path(__file__).parents[3] / "docs" / "topology.md").read_text("utf-8")
_MODELS: list[tuple[str, type[SpecModel]]] = [
    ("The file", Topology),
    ("The file", Policy),
    ("Any child", Member),
    ("Any child", ChildSettings),
    ("heartbeat", HeartbeatSettings),
    ("backoff", BackoffSettings),
    ("placement", Placement),
    ("A worker", Worker),
    ("A supervisor", Supervisor),
    ("A supervisor", Root),
    ("budgets", BudgetSettings),
    ("Recovery", RecoverySettings),
    ("rung_timeout", RungTimeouts),
    ("rules", RuleSettings),
    ("checkpoint", CheckpointSettings),
    ("journal", JournalSettings),
    ("lease", LeaseSettings),
    ("approval", ApprovalSettings),
    ("market_hours", MarketHoursSettings),
    ("ramp", RampSettings),
    ("ramp", RampStepSettings),
    ("validate", ValidationSettings),
    ("plane", Plane),
    ("metrics", Metrics),
    ("logs", Logs),
    ("trail", Trail),
    ("faults", FaultsSettings),
    ("inject", DeclaredFaultSettings),
]


def _rows(title: str) -> dict[str, str]:
    """Key and default of each row in the section ``title`` and those every child shares."""
    found: dict[str, str] = {}
    for name in ("Any child", title):
        section = re.split(rf"^#+ {name}$", _TEXT, flags=re.MULTILINE)[1]
        section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
        found |= dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, flags=re.MULTILINE))
    return found


def _written(value: object) -> set[str]:
    """The ways a default may stand in the table."""
    if isinstance(value, bool) or value is None:
        return {str(value).lower() if value is not None else "null"}
    if isinstance(value, float):
        return {format_duration(value), f"{value:g}"}
    if isinstance(value, int):
        return {str(value), format_size(value), f"{value}s"}
    return {str(value)}


@pytest.mark.parametrize(("title", "model"), _MODELS, ids=lambda part: getattr(part, "__name__", part))
def test_every_key_is_there_with_its_default(title: str, model: type[SpecModel]) -> None:
    rows = _rows(title)
    for name, field in model.model_fields.items():
        key = field.alias or name
        assert key in rows, f"{key} of {title}"
        if field.is_required():
            assert rows[key] == "must be written"
        elif not isinstance(field.default, dict | tuple | SpecModel):
            assert set(re.findall(r"`([^`]+)`", rows[key])) & _written(field.default), f"{key} of {title}"


def test_the_example_is_valid() -> None:
    example = re.findall(r"```yaml\n(.*?)```", _TEXT, flags=re.DOTALL)[0]
    assert check_text(example, import_actors=False).ok
