"""Windows for restarts of some kinds (SUP-10): what they are charged to instead of the supervisor's own window."""

from supervisors.core.reasons import ExitKind
from supervisors.tree.intensity import IntensityWindow
from supervisors.tree.model import Budget


class Budgets:
    """The budgets of one supervisor and what has been charged to each.

    Args:
        budgets: as the flags say.
    """

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        self._windows: dict[str, IntensityWindow] = {}
        self._by_kind: dict[ExitKind, str] = {}
        self.replace(budgets)

    def replace(self, budgets: tuple[Budget, ...]) -> None:
        """New flags: a budget of the same name keeps what was charged to it."""
        charged = self.stamps
        self._windows = {budget.name: IntensityWindow(budget.intensity, budget.period) for budget in budgets}
        self._by_kind = {kind: budget.name for budget in budgets for kind in budget.kinds}
        self.restore(charged)

    def charged_for(self, kind: ExitKind | None) -> tuple[str, IntensityWindow] | None:
        """Name and window a restart because of ``kind`` is charged to; None: the supervisor's own."""
        name = self._by_kind.get(kind) if kind is not None else None
        return (name, self._windows[name]) if name is not None else None

    @property
    def stamps(self) -> dict[str, tuple[int, ...]]:
        """What a replaced supervisor inherits (SUP-8)."""
        return {name: window.stamps for name, window in self._windows.items() if window.stamps}

    def restore(self, stamps: dict[str, tuple[int, ...]]) -> None:
        """Take over what a predecessor charged; a budget that is no more is forgotten."""
        for name, window in self._windows.items():
            window.restore(stamps.get(name, ()))
