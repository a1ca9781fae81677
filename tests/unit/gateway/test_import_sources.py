"""From where `$import` fetches: named hosts at public addresses, whole files, within limits."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ehr_fhir.errors import EhrError, Invalid
from ehr_gateway.bulk_data.import_files import FileWriter, ImportFolder
from ehr_gateway.import_sources import parse_import_sources
from ehr_inbound.bulk_imports.fetch import fetch_file

LINES = b'{"resourceType":"Patient"}\n' * 1000
FILES = {"/plain": LINES, "/packed": gzip.compress(LINES), "/bomb": gzip.compress(b" " * 9_000_000)}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/plain")
            self.end_headers()
            return
        content = FILES.get(self.path.replace("/cut", "/plain"))
        self.send_response(200 if content else 403)
        self.send_header("Content-Length", str(len(content or b"secret")))
        self.end_headers()
        self.wfile.write((content or b"secret")[: 500 if self.path == "/cut" else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve files at a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def fetch(folder: Path, url: str, hosts: str) -> bytes:
    """Fetch a file of at most a megabyte; return it."""
    parent = ImportFolder(folder, "one", 1_000_000)
    parent.create()
    path = parent.file(0, "Patient")
    with FileWriter(parent, path) as writer:
        fetch_file(url, writer, parse_import_sources(hosts), until=time.monotonic() + 60)
        writer.finish()
    return path.read_bytes()


@pytest.mark.parametrize("name", ["/plain", "/packed"])
def test_a_file_is_there_as_its_host_has_it_unpacked(tmp_path: Path, port: int, name: str) -> None:
    assert fetch(tmp_path, f"http://127.0.0.1:{port}{name}", f"127.0.0.1:{port}") == LINES


@pytest.mark.parametrize(
    ("name", "host", "why"),
    [
        ("/elsewhere", "127.0.0.1", "sends on"),
        ("/secret", "127.0.0.1", "answered 403"),
        ("/cut", "127.0.0.1", "broke"),
        ("/bomb", "127.0.0.1", "larger"),
        # Named, but it leads to an address that is not public.
        ("/plain", "localhost", "private address"),
    ],
)
def test_what_cannot_be_had_whole_leaves_nothing(
    tmp_path: Path, port: int, name: str, host: str, why: str
) -> None:
    with pytest.raises(EhrError) as refused:
        fetch(tmp_path, f"http://{host}:{port}{name}", f"{host}:{port}")

    assert why in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not list((tmp_path / "imports/one").iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.org/a", "https://files.example.org.evil.org/a", "ftp://files.example.org/a",
        "https://files.example.org:8443/a", "http://files.example.org/a", "https://u@files.example.org/a",
        "https://files.example.org/a b", "https://files.example.org:x/a", "https:///a", "/a", "",
        "https://files.example.org\\@evil.org/a", "https://[::1/a",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_before_anything_is_asked(url: str) -> None:
    sources = parse_import_sources("files.example.org, other.example.org:8443, 10.0.0.0/8")

    with pytest.raises(Invalid):
        sources.check_url(url)


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a00:1::1",
     "fe80::1", "fd00::1", "224.0.0.1"],
)  # fmt: skip
def test_no_private_address_is_connected_to_unless_its_network_is_named(ip: str) -> None:
    assert not parse_import_sources("files.example.org").permits(ip)


@pytest.mark.parametrize("text", ["https://files.example.org", "a b", "10.0.0.1/8", "u@h", "h/x"])
def test_a_wrong_setting_is_an_error(text: str) -> None:
    with pytest.raises(Invalid):
        parse_import_sources(text)
