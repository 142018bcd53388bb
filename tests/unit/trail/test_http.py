import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from supervisors.core.errors import LaunchError
from supervisors.trail.http import MAX_REQUESTS, StatusServer
from supervisors.trail.segments import CURRENT
from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus
from tests.unit.trail.support import pen


class Source:
    def __init__(self) -> None:
        self.status: SystemStatus | None = SystemStatus(
            "t", supervisors=[SupervisorStatus("/", children=[ChildStatus("/a", "a", state="ready")])]
        )

    def __call__(self) -> SystemStatus | None:
        return self.status

    def child(self, state: str) -> None:
        self.status = SystemStatus(
            "t", supervisors=[SupervisorStatus("/", children=[ChildStatus("/a", "a", state=state)])]
        )


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def server(tmp_path: Path, source: Source) -> Iterator[StatusServer]:
    writer = pen(tmp_path)
    for number in range(5):
        writer.write("x", "/a", number)
    found = StatusServer("127.0.0.1", 0, tmp_path, source)
    yield found
    found.close()


def get(server: StatusServer, target: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def test_health_and_ready(server: StatusServer, source: Source) -> None:
    assert get(server, "/health")[0] == 200
    assert get(server, "/ready")[0] == 200
    source.child("starting")
    assert get(server, "/health")[0] == 200
    assert get(server, "/ready")[0] == 503
    source.child("gave_up")
    code, kind, body = get(server, "/health")
    assert (code, kind) == (503, "application/json")
    assert [one["path"] for one in json.loads(body)["components"] if not one["healthy"]] == ["/a"]
    source.status = None
    assert get(server, "/health")[0] == 503
    assert get(server, "/status")[0] == 503


def test_status_and_unknown_pages(server: StatusServer) -> None:
    assert json.loads(get(server, "/status")[2])["supervisors"][0]["children"][0]["id"] == "a"
    assert get(server, "/nope")[0] == 404
    assert get(server, "/health", "HEAD") == (200, "application/json", b"")
    assert get(server, "/health", "POST")[0] == 501


def test_metrics_in_both_formats(server: StatusServer) -> None:
    code, kind, body = get(server, "/metrics")
    assert code == 200
    assert kind.startswith("text/plain")
    assert b'rayvisor_trail_events_total{kind="x"} 5.0' in body
    _, kind, body = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_the_trail_in_pages(server: StatusServer) -> None:
    page = json.loads(get(server, "/trail?since=1&limit=2")[2])
    assert [one["seq"] for one in page["events"]] == [1, 2]
    assert page["events"][0]["event"]["kind"] == "x"
    assert page["next"] == 3
    assert json.loads(get(server, "/trail")[2])["next"] == 5
    assert json.loads(get(server, "/trail?since=5")[2]) == {"events": [], "next": 5}


@pytest.mark.parametrize("query", ["since=-1", "since=x", "limit=1e3", "since=" + "9" * 40, "&&", "since=%C2%B2"])
def test_a_bad_query_is_told(server: StatusServer, query: str) -> None:
    code, _, body = get(server, f"/trail?{query}")
    assert code == 400
    assert "bad query" in json.loads(body)["error"]


def test_a_trail_that_cannot_be_read_is_told_not_a_hangup(tmp_path: Path, source: Source) -> None:
    server = StatusServer("127.0.0.1", 0, tmp_path / "new", source)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / CURRENT).write_bytes(b'{"schema":9,"segment":1,"base":0}\n')
    for target in ("/trail", "/metrics"):
        code, _, body = get(server, target)
        assert code == 500
        assert "version 9" in json.loads(body)["error"]
    assert get(server, "/health")[0] == 200
    assert get(server, "x://[")[0] == 400
    server.close()


def test_a_port_in_use_is_a_coded_error(server: StatusServer, tmp_path: Path, source: Source) -> None:
    with pytest.raises(LaunchError) as caught:
        StatusServer("127.0.0.1", server.port, tmp_path, source)
    assert caught.value.code == 2041
    assert caught.value.fix


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 0), ("127.0.0.1", 70_000)])
def test_an_impossible_address_is_a_coded_error(host: str, port: int, tmp_path: Path, source: Source) -> None:
    with pytest.raises(LaunchError) as caught:
        StatusServer(host, port, tmp_path, source)
    assert caught.value.code == 2042


def test_more_clients_than_slots_are_turned_away_not_queued(server: StatusServer) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(MAX_REQUESTS)]
    try:
        assert get(server, "/health")[0] == 503
    finally:
        for one in idle:
            one.close()


def test_noise_does_not_hurt(server: StatusServer) -> None:
    for noise in (b"", b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 5) as client:
            client.sendall(noise)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    assert get(server, "/health")[0] == 200
