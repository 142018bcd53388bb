"""Where a proxy leads to, as people write it. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from supervisors.core.errors import FaultError

_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_FIX = "write for example 127.0.0.1:8765, tcp://host:port, ws://host:port, ipc:///path"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address, or a unix socket when ``path`` is given."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"ipc://{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Read ``host:port``, ``tcp://``, ``ws://``, ``wss://``, ``http://``, ``https://``, ``ipc://`` or ``unix://``.

    TLS is not looked into: ``wss`` and ``https`` only say which port is meant when none is given.

    Raises:
        FaultError: it is none of these (9050).
    """
    word = text.strip()
    for scheme in ("ipc://", "unix://"):
        if word.startswith(scheme):
            path = word.removeprefix(scheme)
            if not path or "\0" in path:
                raise FaultError(f"{text!r} names no socket", code=9050, fix=_FIX)
            return Endpoint(path=path)
    try:
        parts = urlsplit(word if "://" in word else f"tcp://{word}")
        port = parts.port if parts.port is not None else _PORTS.get(parts.scheme)
    except ValueError as error:
        raise FaultError(f"{text!r} is no address: {error}", code=9050, fix=_FIX) from None
    if parts.scheme not in ("tcp", *_PORTS) or not parts.hostname or not port:
        raise FaultError(f"{text!r} is no address with a port", code=9050, fix=_FIX)
    return Endpoint(parts.hostname, port)
