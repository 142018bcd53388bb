"""Faults of a network, carried out by the actor that stands in it (``actors.workers.proxy:FaultProxy``).

The request's probability, ``first`` and seed choose the connections that are hit: each is an occasion, those that are
open already in the order in which they were opened. Several faults at one proxy add up.
"""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.values import Parameter, ValueType

_WORKERS = frozenset({Target.WORKER})
_GONE = "put away in the proxy, or its process is gone; a byte sent through the proxy comes back at once"
_DIRECTION = Parameter(
    "direction",
    ValueType.TEXT,
    "both",
    "up: from the client to the server, down: the other way",
    choices=("both", "up", "down"),
)
_BYTES = Parameter(
    "bytes",
    ValueType.TEXT,
    "lost",
    "lost: they vanish, and what lost any is reset at the end, for TCP never delivers a stream with a hole; "
    "held: they arrive at the end, as when TCP sends again",
    choices=("lost", "held"),
)


def _kind(name: str, about: str, *parameters: Parameter, undo: str = _GONE) -> FaultKind:
    return FaultKind(
        name=name,
        group="network",
        where=Where.ACTOR,
        about=about,
        undo=undo,
        parameters=parameters,
        targets=_WORKERS,
    )


KINDS = (
    _kind(
        "net_latency",
        "Bytes arrive later, in order.",
        _DIRECTION,
        Parameter("delay", ValueType.DURATION, 0.1, "how much later", least=0.0, most=60.0),
        Parameter("jitter", ValueType.DURATION, 0.0, "up to so much more or less, by chance", least=0.0, most=60.0),
    ),
    _kind(
        "net_bandwidth",
        "Each connection carries no more than a rate.",
        _DIRECTION,
        Parameter("rate", ValueType.RATE, 64_000, "bytes in a second", least=1, most=1e12),
    ),
    _kind(
        "net_black_hole",
        "Nothing passes and nothing is said of it; connections stay, new ones are taken and lead nowhere.",
        _DIRECTION,
        _BYTES,
        Parameter("close_after", ValueType.DURATION, 0.0, "connections are closed then; 0: never", least=0.0),
    ),
    _kind(
        "net_one_way",
        "Nothing passes in one direction (a one-way partition); the other goes on.",
        Parameter("direction", ValueType.TEXT, "up", "up: from the client to the server", choices=("up", "down")),
        _BYTES,
    ),
    _kind(
        "net_reset",
        "Connections are reset (RST).",
        _DIRECTION,
        Parameter(
            "whom", ValueType.TEXT, "both", "open ones once, new ones as they come, or both",
            choices=("both", "existing", "new"),
        ),
        Parameter("after", ValueType.DURATION, 0.0, "so long after they are hit", least=0.0, most=3600.0),
    ),
    _kind(
        "net_slow_close",
        "The end of a connection is passed on later.",
        _DIRECTION,
        Parameter("delay", ValueType.DURATION, 1.0, "how much later", least=0.0, most=3600.0),
    ),
    _kind(
        "net_slice",
        "Bytes arrive in small pieces.",
        _DIRECTION,
        Parameter("size", ValueType.SIZE, 64, "mean size of a piece; each has half to one and a half of it", least=1),
        Parameter("delay", ValueType.DURATION, 0.0, "time between two of them", least=0.0, most=60.0),
    ),
    _kind(
        "net_limit",
        "A connection is closed once it has carried so much.",
        _DIRECTION,
        Parameter("size", ValueType.SIZE, 1_000_000, "how much", least=0),
    ),
    _kind(
        "net_refuse",
        "Connections are refused: nobody listens. All of them, whatever the probability.",
        Parameter("cut", ValueType.FLAG, False, "close those that are open, too"),
        undo="it listens again; a byte sent through the proxy comes back at once",
    ),
)  # fmt: skip
