"""Clients that stand still lose their connections, and too many connections are refused."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi.responses import PlainTextResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ehr_cli.server import http_server, protocol
from ehr_cli.server.http_server import create_server
from ehr_cli.settings import Settings
from ehr_gateway.deadline import Deadline

LONG_ANSWER = b"x" * 40_000_000
# Far longer than what is waited for takes; it is waited for no longer than it takes.
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits short: what is tried is that there are any."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "STALL_SECONDS", 0.5)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body, or at length."""
    if scope["path"] == "/long":
        await PlainTextResponse(LONG_ANSWER)(scope, receive, send)
        return
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = create_server(app, Settings())
        server.config.lifespan = "off"
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def closed_within(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server closes a connection in time, without having said anything."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_what_would_go_on_for_long_is_told_that_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    class Streaming:
        """An application with streams that do not end by themselves."""

        def begin_shutdown(self) -> None:
            told.append("stop")

    monkeypatch.setattr(http_server, "_end_for_certain", lambda sig: None)
    server = create_server(Streaming(), Settings())

    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)

    assert told == ["stop"]
    assert server.should_exit


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
    ],
    ids=["nothing", "headers", "body", "chunk"],
)
def test_a_request_that_is_never_finished_ends(sent: bytes) -> None:
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sent)

        assert closed_within(client, PATIENCE_S)


def test_headers_that_come_byte_by_byte_end_too() -> None:
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port)) as client:
        start = time.monotonic()
        with pytest.raises(OSError):
            client.sendall(b"GET / HTTP/1.1\r\n")
            while time.monotonic() - start < PATIENCE_S:
                client.sendall(b"a: b\r\n")
                time.sleep(0.1)


def test_an_answer_that_nobody_reads_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = threading.Event()
    lose = protocol.BoundedProtocol.connection_lost

    def note_loss(self: protocol.BoundedProtocol, error: Exception | None) -> None:
        lose(self, error)
        lost.set()

    monkeypatch.setattr(protocol.BoundedProtocol, "connection_lost", note_loss)
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        assert lost.wait(PATIENCE_S)
        read = 0
        client.settimeout(PATIENCE_S)
        try:
            while piece := client.recv(1 << 20):
                read += len(piece)
        except ConnectionResetError:
            pass

        assert read < len(LONG_ANSWER)


def test_a_body_that_comes_slowly_but_steadily_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # Eight times what lies between two pieces, and less than the whole takes.
    monkeypatch.setattr(protocol, "STALL_SECONDS", 2.0)
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.25)
            client.sendall(b"x")
        client.settimeout(PATIENCE_S)

        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_answer_may_take_longer_than_the_limits_of_clients() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        import asyncio

        await asyncio.sleep(2)
        await PlainTextResponse("done")(scope, receive, send)

    with serving(slow) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(PATIENCE_S)

        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_too_many_connections_are_told_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ehr_cli.server.http_server.max_connections", lambda: 2)
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 30)
    with serving(echo) as port:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        clients[2].settimeout(PATIENCE_S)
        answer = clients[2].recv(1000)
        for client in clients:
            client.close()

    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer


def test_work_learns_that_its_client_has_gone() -> None:
    deadline = Deadline(time.monotonic() + 10 * PATIENCE_S)
    begun = threading.Event()

    async def working(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["deadline"] = deadline
        begun.set()
        while not deadline.is_over:
            import asyncio

            await asyncio.sleep(0.01)

    with serving(working) as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(PATIENCE_S)
        assert not deadline.is_abandoned
        client.close()
        until = time.monotonic() + PATIENCE_S
        while not deadline.is_abandoned and time.monotonic() < until:
            time.sleep(0.01)

    assert deadline.is_abandoned
