"""Whatever a command writes is for its owner alone, in a folder that everybody may read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ehr_gateway.store.store import Store
from tests.lib.ports import free_port

# Of most systems: others may read what a program does not protect.
_USUAL_UMASK = 0o022


def ehr(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "ehr_cli.main", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        umask=_USUAL_UMASK,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def open_files(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_mode & 0o077
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that everybody may read, with a data folder in it that they may, too."""
    (tmp_path / "in").mkdir()
    (tmp_path / "data").mkdir()
    for path in (tmp_path, tmp_path / "data"):
        path.chmod(0o755)
    yield tmp_path


def test_what_commands_write_is_private(folder: Path) -> None:
    patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "Chan"}]}
    wrong = {"resourceType": "Patient", "id": "q", "birthDate": "yesterday"}
    lines = f"{json.dumps(patient)}\n{json.dumps(wrong)}\n"
    (folder / "in" / "Patient.ndjson").write_text(lines)
    (folder / "in" / "Patient.ndjson").chmod(0o600)
    (folder / "ehr.toml").write_text('data = "data"\n')
    (folder / "ehr.toml").chmod(0o600)

    ehr(folder, "load", "in", "--rejects", "refused.txt")
    key = ehr(folder, "backup", "key", "backup.key").split()
    public = next(word for word in key if word.startswith("age1"))
    ehr(folder, "token", "--client", "x")
    ehr(folder, "upgrade")
    ehr(folder, "backup", "run", "backups", "--to", public)
    ehr(folder, "audit", "checkpoint")

    assert (folder / "refused.txt").exists()
    assert any((folder / "backups").rglob("*"))
    assert open_files(folder) == []


def test_what_a_server_writes_is_private(folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "ehr_cli.main", "up", "--data", "data", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--workers", "2"], cwd=folder, stdout=subprocess.PIPE, umask=_USUAL_UMASK
    )
    try:
        assert process.stdout is not None and process.stdout.readline()
        token = ehr(folder, "token", "--client", "x", "--scope", "system/*.cruds", "--data", "data")
        headers = {"Authorization": f"Bearer {token.strip()}"}
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            assert client.post("/fhir/Patient", json={"resourceType": "Patient"}).status_code == 201
            assert client.get("/fhir/Patient").status_code == 200
            assert client.get("/").status_code == 200
        # The spool and the log beside the database are there while the server runs.
        time.sleep(1.5)
        assert open_files(folder) == []
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    assert open_files(folder) == []


def test_the_rights_of_others_are_taken_from_a_database_that_they_could_read(
    tmp_path: Path,
) -> None:
    before = os.umask(_USUAL_UMASK)
    try:
        Store(tmp_path / "ehr.db", tmp_path).close()
        (tmp_path / "ehr.db").chmod(0o644)
        store = Store(tmp_path / "ehr.db", tmp_path)
    finally:
        os.umask(before)

    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("ehr.db*")}
    store.close()

    assert found["ehr.db"] == 0o600
    assert {name for name in found if found[name] & 0o077} == set()
