"""Each node's clock: its own rate, and jumps forward when the machine slept. It never goes back."""

from supervisors.simulate.dst.kernel import Kernel


class NodeClock:
    """Seconds of one node, as ``BOOT_CLOCK`` gives them.

    Args:
        kernel: true time.
        offset: what it shows at the beginning.
        rate: its seconds in one true second.
    """

    __slots__ = ("_base", "_kernel", "_since", "rate")

    def __init__(self, kernel: Kernel, offset: float = 0.0, rate: float = 1.0) -> None:
        self._kernel = kernel
        self._base = offset
        self._since = 0.0
        self.rate = rate

    def now(self) -> float:
        """What it shows."""
        return self._base + (self._kernel.now - self._since) * self.rate

    def when(self, local: float) -> float:
        """The true time at which it will show ``local``, if its rate stays."""
        return self._since + (local - self._base) / self.rate

    def drift(self, rate: float) -> None:
        """From now on it runs at this rate."""
        self._base, self._since = self.now(), self._kernel.now
        self.rate = rate

    def jump(self, seconds: float) -> None:
        """It slept for ``seconds`` of which nobody on it saw anything."""
        self._base += seconds
