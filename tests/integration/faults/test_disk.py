"""A disk that is full or read-only: said as it is, ready only when it is not, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ehr_cli.main import app
from ehr_fhir import errors
from tests.integration.faults.server import PATIENCE_S, serving

READ = "/fhir/Organization/ehr-commons"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system in memory, or skip where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root alone, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def ehr(*words: str | Path) -> Result:
    """Run a command to its end, in this process: to start one takes seconds."""
    return CliRunner().invoke(app, [str(word) for word in words])


def write_organizations(file: Path, count: int, size: int) -> None:
    """Write resources of about `size` bytes each."""
    with file.open("w") as lines:
        for number in range(count):
            resource = {
                "resourceType": "Organization", "id": f"o{number}", "name": "x" * size
            }  # fmt: skip
            lines.write(json.dumps(resource) + "\n")


def fill(disk: Path) -> Path:
    """Write a file until nothing fits any more."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


def test_a_server_whose_disk_is_full_says_so_and_recovers(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with small_disk(tmp_path / "disk", 24) as disk, serving(disk / "data", log=log) as served:
        assert served.create().status_code == 201
        filler = fill(disk)
        until = time.monotonic() + PATIENCE_S
        while (refused := served.create()).status_code == 201:
            # What SQLite had set aside is used up first.
            assert time.monotonic() < until
        ready = served.get("/readyz")
        alive = served.get("/healthz")
        filler.unlink()

        assert refused.status_code == 503, refused.text
        assert refused.headers["retry-after"]
        for text in (refused.text, ready.text, served.log.read_text()):
            assert "full" in text or "No space left" in text, text
        assert (ready.status_code, alive.status_code) == (503, 200)
        assert served.get("/readyz").status_code == 200
        assert served.create().status_code == 201
        assert served.get(READ).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [6, 32], ids=["preparing", "storing"])
def test_a_load_on_a_full_disk_says_so_and_how_far_it_came(tmp_path: Path, megabytes: int) -> None:
    file = tmp_path / "organizations.ndjson"
    write_organizations(file, 6000, 2000)
    with small_disk(tmp_path / "disk", megabytes) as disk:
        data = disk / "data"
        ran = ehr("load", file, "--data", data)
        left = [path.name for path in data.glob("load-*")]
        freed = ehr("doctor", "--data", data)

    assert ran.exit_code == errors.Unavailable.exit, ran.stderr
    assert "full" in ran.stderr, ran.stderr
    assert "broke inside" not in ran.stderr
    assert "Nothing is written" not in ran.stderr
    assert not left
    assert "PROBLEM disk" in freed.stdout


def test_what_was_stored_before_the_disk_was_full_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "organizations.ndjson"
    write_organizations(file, 6000, 2000)
    with small_disk(tmp_path / "disk", 40) as disk:
        data = disk / "data"
        ran = ehr("load", file, "--data", data)
        left = [path.name for path in data.glob("load-*")]
        # There is no room to open it where it is.
        for name in ("ehr.db", "ehr.db-wal"):
            shutil.copy(data / name, tmp_path / name)
    with sqlite3.connect(tmp_path / "ehr.db") as connection:
        (stored,) = connection.execute(
            "SELECT COUNT(*) FROM resource WHERE id LIKE 'o%'"
        ).fetchone()

    assert ran.exit_code == errors.Unavailable.exit, (ran.stderr, ran.stdout)
    assert f"{stored:,} resources were stored before" in ran.stderr, (stored, ran.stderr)
    assert "full" in ran.stderr
    assert "Nothing is written" not in ran.stderr
    assert not left


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with some events, its log still beside the database."""
    data = tmp_path_factory.mktemp("audited") / "data"
    with serving(data) as served:
        for _ in range(5):
            served.create()
            served.get(READ)
        until = time.monotonic() + PATIENCE_S
        while list((data / "audit-spool").glob("*.rows")):
            assert time.monotonic() < until
            time.sleep(0.05)
        ehr("audit", "checkpoint", "--data", data)
    return data


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a mounted file system read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.mark.parametrize("with_log", [True, False], ids=["with its log", "without"])
def test_an_auditor_verifies_a_read_only_copy(
    audited: Path, tmp_path: Path, with_log: bool
) -> None:
    with small_disk(tmp_path / "disk", 60) as disk:
        data = disk / "data"
        shutil.copytree(audited, data)
        for name in ("ehr.db-shm", *(() if with_log else ("ehr.db-wal",))):
            (data / name).unlink(missing_ok=True)
        with read_only(disk):
            verified = ehr("audit", "verify", "--data", data)
            token = ehr("token", "--client", "x", "--data", data)
            checked = ehr("upgrade", "--check", "--data", data)
            refused = ehr("client", "list", "--data", data)
            examined = ehr("doctor", "--data", data)

    if with_log:
        assert (audited / "ehr.db-wal").stat().st_size
        assert verified.exit_code == 0, verified.stderr
        assert "Every event is there" in verified.stdout
    # Without its log the copy lacks what was written last, and the auditor is told.
    assert "broke inside" not in verified.stderr
    assert token.exit_code == 0, token.stderr
    assert checked.exit_code == 0, checked.stderr
    assert refused.exit_code == errors.Unavailable.exit
    assert "Read-only file system" in refused.stderr, refused.stderr
    assert "cannot be written" in examined.stdout
