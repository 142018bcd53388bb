"""What makes a validation pass or fail. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """Passed or not, and why."""

    ok: bool
    why: str = ""

    def told(self) -> Mapping[str, object]:
        """As the recovery expects it."""
        return {"ok": self.ok, "why": self.why}

    @classmethod
    def read(cls, found: object) -> "Answer":
        """What a child's own check gave."""
        if isinstance(found, bool):
            return cls(found)
        if isinstance(found, Mapping) and isinstance(found.get("ok"), bool):
            return cls(bool(found["ok"]), str(found.get("why", "")))
        return cls(False, f"a check gives true, false or {{'ok': ..., 'why': ...}}, not {found!r:.80}")


def stale_channels(status: object, max_age: float) -> Answer:
    """Channels of a connector's ``status()`` that are older than ``max_age`` seconds, and invalid books."""
    if not isinstance(status, Mapping):
        return Answer(False, f"status() gave {type(status).__name__}")
    why = []
    if status.get("connected") is False:
        why.append("not connected")
    if status.get("book_valid") is False:
        why.append("book not valid")
    ages = status.get("ages")
    if isinstance(ages, Mapping):
        why += [f"{name} {age:.1f} s old" for name, age in ages.items() if isinstance(age, float) and age > max_age]
        if not ages:
            why.append("no data yet")
    return Answer(not why, ", ".join(why))


def busy_share(before: Sequence[int], after: Sequence[int]) -> float:
    """Share of processor time used between two readings of the first line of ``/proc/stat``."""
    spent = [max(0, b - a) for a, b in zip(before, after, strict=True)]
    total = sum(spent)
    idle = spent[3] + spent[4]  # idle and iowait
    return (total - idle) / total if total else 0.0


def memory_share(meminfo: str) -> float:
    """Share of memory in use, from the text of ``/proc/meminfo``."""
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.splitlines() if ":" in line}
    total, free = sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)
    return (total - free) / total if total else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed; 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
