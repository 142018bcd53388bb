"""Where leases are kept: ``file``, or the address of a PostgreSQL database. An address may hold a password."""

import re
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

#: kept in the data directory of the launching node
FILE = "file"
SCHEMES = ("postgresql", "postgres")
_HIDDEN = "***"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,19}", re.ASCII)


def _refuse(why: str) -> PydanticCustomError:
    # never the address itself: it may hold a password
    return PydanticCustomError("state", "{what}", {"what": why})


def _state(value: str) -> str:
    if value == FILE:
        return value
    scheme, separator, _ = value.partition("://")
    if not separator:
        raise _refuse("neither 'file' nor an address that begins with postgresql://")
    if scheme not in SCHEMES:
        told = f"the address begins with {scheme}://" if _SCHEME.fullmatch(scheme) else "an address of another kind"
        raise _refuse(f"{told}, where postgresql:// is wanted")
    if not value.isprintable() or " " in value:
        raise _refuse("the address holds blanks or other characters no address may hold")
    try:
        parts = urlsplit(value)
    except ValueError as error:
        # the error's own text may quote the address
        raise _refuse("the address cannot be read") from error
    if "#" in value or "@" in parts.path + parts.query or parts.netloc.count("@") > 1:
        raise _refuse("a mark of the address stands in a name or password: write / ? # @ as %2F %3F %23 %40")
    for host in parts.netloc.rpartition("@")[2].split(","):
        port = _port(host)
        if port and not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
            raise _refuse("a port in the address is no number from 1 to 65535")
    return value


def _port(host: str) -> str:
    if host.startswith("["):
        # an IPv6 address has colons of its own
        return host.partition("]")[2].removeprefix(":")[:6]
    return host.partition(":")[2][:6]


def has_password(address: str) -> bool:
    """True when a password stands in a (valid) address."""
    if address == FILE:
        return False
    parts = urlsplit(address)
    in_user = ":" in parts.netloc.rpartition("@")[0]
    return in_user or any(key.lower() in _SECRET for key, _ in parse_qsl(parts.query, keep_blank_values=True))


#: parameters of a connection whose values are secrets (libpq)
_SECRET = frozenset({"password", "sslpassword"})


def without_password(address: str) -> str:
    """A (valid) address that may be shown: ``***`` stands where a password was."""
    if not has_password(address):
        return address
    parts = urlsplit(address)
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}:{_HIDDEN}" if colon else user
    query = "&".join(_shown(pair) for pair in parts.query.split("&"))
    return f"{parts.scheme}://{shown}{at}{hosts}{parts.path}" + (f"?{query}" if query else "")


def _shown(pair: str) -> str:
    key, equals, _ = pair.partition("=")
    return f"{key}={_HIDDEN}" if equals and unquote(key).lower() in _SECRET else pair


#: ``file`` or ``postgresql://user@host:port/database?parameters``, as libpq reads it
StateAddress = Annotated[
    str,
    AfterValidator(_state),
    WithJsonSchema({"anyOf": [{"const": FILE}, {"type": "string", "pattern": "^postgres(ql)?://"}]}),
]
