"""rayvisor's deciding half: supervision trees, detection, recovery, fault injection.

This package knows nothing of exchanges or orders and never imports ``actors``.
"""

__version__ = "0.1.0"
