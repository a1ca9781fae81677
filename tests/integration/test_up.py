"""`ehr up`: one server, one address, one line when ready."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ehr_etl.lake import Lake
from ehr_fhir import errors
from ehr_gateway.oauth.offline_tokens import issue_local_token
from tests.lib.ports import free_port

# Far longer than what is waited for takes; it is waited for no longer than it takes.
PATIENCE_S = 120


def command(data: Path, port: int, *options: str) -> list[str]:
    program = [sys.executable, "-m", "ehr_cli.main", "up", "--new"]
    return [*program, "--data", str(data), "--port", str(port), *options]


@contextmanager
def up(data: Path, *options: str) -> Iterator[tuple[str, str]]:
    port = free_port()
    process = subprocess.Popen(
        command(data, port, *options),
        cwd=data.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{port}", process.stdout.readline()
    finally:
        process.terminate()
        rest = process.communicate(timeout=PATIENCE_S)
    # Nothing but the one line, and no log of what was asked.
    assert rest == ("", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    data = tmp_path_factory.mktemp("up") / "data"
    with up(data) as (base_url, line):
        yield base_url, line, data


def test_one_line_names_the_address(server: tuple[str, str, Path]) -> None:
    base_url, line, _ = server

    assert line == f"eHR Commons is ready at {base_url} (FHIR at {base_url}/fhir).\n"


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("/", "<!DOCTYPE html>"),
        ("/fhir/metadata", '{"resourceType":"CapabilityStatement"'),
        ("/fhir/.well-known/smart-configuration", "{"),
        ("/oauth/jwks", '{"keys":'),
        ("/readyz", ""),
    ],
)
def test_gateway_and_portal_answer_at_one_address(
    server: tuple[str, str, Path], path: str, begins: str
) -> None:
    answer = httpx.get(server[0] + path, timeout=PATIENCE_S)

    assert answer.status_code == 200
    assert answer.text.lstrip().startswith(begins)


def test_pages_allow_no_other_origin(server: tuple[str, str, Path]) -> None:
    policy = httpx.get(server[0], timeout=PATIENCE_S).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_the_server_names_no_software(server: tuple[str, str, Path]) -> None:
    assert "server" not in httpx.get(server[0], timeout=PATIENCE_S).headers


def test_the_platform_itself_is_there_from_the_start(server: tuple[str, str, Path]) -> None:
    base_url, _, data = server
    token = issue_local_token(data, client="x", scope="system/*.rs")

    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(
        f"{base_url}/fhir/Organization/ehr-commons", headers=headers, timeout=PATIENCE_S
    )

    assert answer.json()["name"] == "eHR Commons"


def test_the_platforms_programs_get_tokens_by_their_secrets(
    server: tuple[str, str, Path],
) -> None:
    base_url, _, data = server
    secret = (data / "keys/lake.secret").read_text()

    answer = httpx.post(
        f"{base_url}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=("lake", secret),
        timeout=PATIENCE_S,
    )

    assert "ehr/feed.read" in answer.json()["scope"]


def test_keys_and_secrets_are_for_their_owner_alone(server: tuple[str, str, Path]) -> None:
    for file in (server[2] / "keys").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_a_restart_keeps_keys_and_secrets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with up(data):
        before = {file.name: file.read_bytes() for file in (data / "keys").iterdir()}

    with up(data) as (base_url, _):
        token = issue_local_token(data, client="x", scope="system/*.rs")
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{base_url}/fhir/Organization/ehr-commons"
        history = httpx.get(address, headers=headers, timeout=PATIENCE_S)

    assert {file.name: file.read_bytes() for file in (data / "keys").iterdir()} == before
    assert history.json()["meta"]["versionId"] == "1"


def test_several_workers_serve_one_address(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--workers", "2") as (base_url, line):
        address = f"{base_url}/fhir/metadata"
        answers = [httpx.get(address, timeout=PATIENCE_S).status_code for _ in range(6)]

    assert line.startswith("eHR Commons is ready")
    assert answers == [200] * 6


@pytest.mark.parametrize("workers", ["1", "2"])
def test_with_all_the_lake_follows_and_ends_with_the_server(tmp_path: Path, workers: str) -> None:
    data = tmp_path / "data"
    with up(data, "--all", "--workers", workers) as (base_url, line):
        token = issue_local_token(data, client="x", scope="system/*.cruds")
        headers = {"Authorization": f"Bearer {token}"}
        body = {"resourceType": "Patient", "id": "p1", "gender": "female"}
        address = f"{base_url}/fhir/Patient/p1"
        stored = httpx.put(address, json=body, headers=headers, timeout=PATIENCE_S)
        found = wait_for_patient(data, "p1")
        followers = children_named("lake_follower", data)

    assert line.startswith("eHR Commons is ready")
    assert (stored.status_code, found) == (201, True)
    assert len(followers) == 1
    assert children_named("lake_follower", data) == []


def test_a_follower_that_is_killed_is_started_again_and_ends_with_a_killed_server(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    port = free_port()
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            command(data, port, "--all"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        process.stdout.readline()
        (first,) = wait_for_children("lake_follower", data)
        os.kill(first, signal.SIGKILL)
        (second,) = wait_for_children("lake_follower", data, but=first)
        process.kill()
        process.communicate(timeout=PATIENCE_S)

    assert second != first
    deadline = time.monotonic() + PATIENCE_S
    while children_named("lake_follower", data) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children_named("lake_follower", data) == []


def children_named(module: str, data: Path) -> list[int]:
    """Return the processes of a module that work on a data folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command_line = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if module.encode() in command_line and f"EHR_DATA={data}".encode() in environment:
            found.append(int(folder.name))
    return found


def wait_for_children(module: str, data: Path, but: int = 0) -> list[int]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := [pid for pid in children_named(module, data) if pid != but]:
            return found
        time.sleep(0.1)
    return []


def wait_for_patient(data: Path, patient: str) -> bool:
    lake = Lake(data / "lake")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if lake.has_table("silver"):
            table = lake.open_table("silver").to_pyarrow_table(columns=["id"])
            if patient in table.column("id").to_pylist():
                return True
        time.sleep(0.1)
    return False


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ran = subprocess.run(command(tmp_path / "data", port), capture_output=True, text=True)

    assert ran.returncode == errors.Unavailable.exit
    assert ran.stderr == (
        f"Another program has port {port} of 127.0.0.1. Choose one with --port.\n"
    )
