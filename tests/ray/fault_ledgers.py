"""A ledger that says what its clock shows and what it has seen, for the tests of faults of clocks on real Ray."""

import time

from examples.ledger import Ledger


class Timed(Ledger):
    """As ``Ledger``."""

    async def times(self) -> list[float]:
        """Seconds its clocks are before the real ones: monotonic, wall."""
        clock = self.ctx.clock
        return [clock.monotonic() - time.monotonic(), (clock.utc_ns() - time.time_ns()) / 1e9]

    async def refs(self) -> list[str]:
        """The id of each posting in its state, in order."""
        return list(self._seen)
