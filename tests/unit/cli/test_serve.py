"""What stands in front of gateway and portal: headers, paths, lengths, and whose word counts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from ehr_cli.server.http_server import uvicorn_options
from ehr_cli.server.serve import Platform, in_process_client
from ehr_cli.settings import Settings, load_settings
from ehr_fhir.errors import Invalid
from ehr_portal.gateway.client import GatewayClient
from tests.lib.loops import run


def named(name: str) -> ASGIApp:
    """Return an application that says its name and who called."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"{name} {scope['client'][0]}")(scope, receive, send)

    return app


def house(*, secure: bool = False) -> Platform:
    """Return a house of two such applications."""
    return Platform(named("gateway"), named("portal"), secure=secure)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve such a house as `ehr up` does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(Config(house(), lifespan="off", **uvicorn_options(Settings())))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def said(port: int, request: bytes) -> list[bytes]:
    """Return the status lines with which bytes are answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/")]


@pytest.mark.parametrize("path", ["/", "/fhir/metadata", "/oauth/login", "/static/nothing"])
def test_behind_https_every_answer_insists_on_it(path: str) -> None:
    plain = TestClient(house()).get(path)
    secure = TestClient(house(secure=True)).get(path)

    assert "strict-transport-security" not in plain.headers
    name, _, seconds = secure.headers["strict-transport-security"].partition(";")[0].partition("=")
    assert (name, int(seconds) >= 365 * 86_400) == ("max-age", True)
    assert "includeSubDomains" in secure.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("path", "part"),
    [("/fhir/Patient", "gateway"), ("/oauth/login", "gateway"), ("/metrics", "gateway"),
     ("/", "portal"), ("/record", "portal"), ("/fhirs", "portal"), ("//fhir", "portal")],
)  # fmt: skip
def test_each_path_goes_to_its_part(path: str, part: str) -> None:
    assert TestClient(house()).get(f"http://testserver{path}").text.startswith(part)


LINE = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "odd",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
        b"Content-Length: 6\r\nContent-Length: 5\r\n\r\nabcdef" + NEXT,
        b"Content-Length: +5\r\n\r\nabcde" + NEXT,
        b"Content-Length: -1\r\n\r\n" + NEXT,
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + NEXT,
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + NEXT,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + NEXT,
        b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n" + NEXT,
    ],
)
def test_an_ambiguous_length_is_refused(port: int, odd: bytes) -> None:
    assert said(port, LINE + odd) == [b"HTTP/1.1 400 Bad Request"]


def test_a_request_without_a_path_is_no_fault(port: int) -> None:
    asked = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert said(port, asked) == [b"HTTP/1.1 200 OK"]


@pytest.mark.parametrize(
    ("comes_from", "believed"),
    [("127.0.0.1", False), ("203.0.113.9", False), ("10.1.2.3", True)],
)
def test_a_forwarded_address_counts_from_a_proxy_of_ours_alone(
    comes_from: str, believed: bool
) -> None:
    settings = Settings(trusted_proxies="10.1.0.0/16, 192.0.2.1")
    config = Config(house(), **uvicorn_options(settings))
    config.load()
    client = TestClient(config.loaded_app, client=(comes_from, 50000))

    answer = client.get("/", headers={"X-Forwarded-For": "198.51.100.7"})

    assert answer.text == f"portal {'198.51.100.7' if believed else comes_from}"


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.1,,", "10.0.0.1/64"])
def test_a_proxy_is_an_address_or_a_network(tmp_path: Path, proxies: str) -> None:
    with pytest.raises(Invalid, match="trusted_proxies"):
        load_settings(tmp_path, {"EHR_TRUSTED_PROXIES": proxies})


def test_the_portal_says_where_its_readers_are() -> None:
    async def ask() -> str:
        async with in_process_client(named("gateway"), Settings()) as client:
            reader = GatewayClient(client, "token", "198.51.100.7")
            return (await reader._send("GET", "/fhir/Patient")).text

    assert run(ask()) == "gateway 198.51.100.7"
