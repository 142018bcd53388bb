"""A ledger whose every change is an event: the smallest actor that survives `kill -9` with all it acknowledged.

rayvisor up examples/hot_standby.yaml
rayvisor call /ledger post t1 ada 100
rayvisor kill /ledger
rayvisor call /ledger balance ada
"""

import asyncio
from decimal import Decimal

import msgspec
from pydantic import BaseModel, ConfigDict

from actors.base import Actor


class Posted(msgspec.Struct, frozen=True, tag="posted"):
    """An amount was put on, or taken from, an account. ``id`` makes a repeat harmless (004 §9)."""

    id: str
    account: str
    amount: str


class LedgerState(msgspec.Struct):
    """All a ledger knows."""

    balances: dict[str, str] = {}
    seen: dict[str, str] = {}


class LedgerConfig(BaseModel):
    """``post_every``: seconds between postings of its own, for something to watch; 0: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    post_every: float = 0.0


class Ledger(Actor):
    """Accounts and their balances."""

    Config = LedgerConfig
    Event = Posted
    State = LedgerState
    config: LedgerConfig

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        self._balances: dict[str, Decimal] = {}
        self._seen: dict[str, str] = {}

    # ---- state: changed here and nowhere else ---------------------------------------------------------------------

    def apply(self, event: Posted) -> str:
        """One event; what it returns is what ``append`` gives."""
        balance = self._balances.get(event.account, Decimal(0)) + Decimal(event.amount)
        self._balances[event.account] = balance
        self._seen[event.id] = str(balance)
        return str(balance)

    def snapshot(self) -> LedgerState:
        """All of it."""
        return LedgerState({name: str(value) for name, value in self._balances.items()}, dict(self._seen))

    def restore(self, state: LedgerState) -> None:
        """As it was."""
        self._balances = {name: Decimal(value) for name, value in state.balances.items()}
        self._seen = dict(state.seen)

    # ---- what others may call -------------------------------------------------------------------------------------

    async def post(self, ref: str, account: str, amount: str | float) -> str:
        """Put ``amount`` on ``account``; the balance after it. The same ``ref`` again changes nothing."""
        if ref in self._seen:
            return self._seen[ref]
        return str(await self.ctx.journal.append(Posted(ref, account, str(Decimal(str(amount))))))

    def balance(self, account: str) -> str:
        """What is on ``account``."""
        return str(self._balances.get(account, Decimal(0)))

    def summary(self) -> dict[str, object]:
        """Number of events applied, sum of all balances, and which life answers."""
        return {
            "sequence": self.ctx.journal.sequence,
            "total": str(sum(self._balances.values(), Decimal(0))),
            "incarnation": self.ctx.incarnation,
            "epoch": self.ctx.epoch,
        }

    # ---- body -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer calls; with ``post_every`` also post, so that there is something to lose."""
        if not self.config.post_every:
            await asyncio.Event().wait()
        while True:
            await self.post(f"own-{self.ctx.journal.sequence + 1}", "house", "1")
            await asyncio.sleep(self.config.post_every)
