"""Addresses as people write them."""

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.network.endpoints import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:8765", Endpoint("127.0.0.1", 8765)),
        ("tcp://host:1", Endpoint("host", 1)),
        ("ws://venue/stream?x=1", Endpoint("venue", 80)),
        ("wss://venue:9443", Endpoint("venue", 9443)),
        ("https://venue", Endpoint("venue", 443)),
        ("[::1]:80", Endpoint("::1", 80)),
        ("ipc:///run/x.sock", Endpoint(path="/run/x.sock")),
        ("unix:///run/x.sock", Endpoint(path="/run/x.sock")),
    ],
)
def test_read(text: str, found: Endpoint) -> None:
    assert parse_endpoint(text) == found


@pytest.mark.parametrize("text", ["", "host", "host:0", "host:99999", "ftp://host:21", "ipc://", ":80", "tcp://h:x"])
def test_refused(text: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse_endpoint(text)
    assert caught.value.code == 9050


def test_shown() -> None:
    assert str(Endpoint("::1", 80)) == "[::1]:80"
    assert str(Endpoint("h", 80)) == "h:80"
    assert str(Endpoint(path="/x")) == "ipc:///x"
