"""`ehr audit`: what it prints, and how it ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.database import create_tables
from ehr_gateway.schema import audit_log
from ehr_gateway.store.store import Store
from tests.lib.audit_writers import event

runner = CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with 300 events."""
    store = Store(tmp_path / "ehr.db")
    create_tables(store.database, audit_log.METADATA)
    with store.write_transaction() as connection:
        append_rows(connection, seal_rows(event(n) for n in range(300)))
    store.close()
    return tmp_path


def test_a_checkpoint_is_printed_and_everything_holds(data: Path) -> None:
    signed = runner.invoke(app, ["audit", "checkpoint", "--data", str(data)])
    witness = data / "witness"
    witness.write_text(signed.stdout)

    told = runner.invoke(
        app, ["audit", "verify", "--data", str(data), "--checkpoint", str(witness)]
    )

    assert signed.stdout.startswith("ehr-commons.hk/audit\n300\n")
    assert told.exit_code == 0, told.output
    assert "300 events; 300 signed for; 2 checkpoints hold" in told.stdout
    assert "Every event is there" in told.stdout


def test_a_fault_is_named_with_its_place_and_ends_with_1(data: Path) -> None:
    runner.invoke(app, ["audit", "checkpoint", "--data", str(data)])
    connection = sqlite3.connect(data / "ehr.db")
    connection.execute("UPDATE audit SET patient = 'another' WHERE seq = 43")
    connection.commit()
    connection.close()

    told = runner.invoke(app, ["audit", "verify", "--data", str(data)])

    assert told.exit_code == 1
    assert "flip at leaf 42 (AuditEvent/event-42)" in told.stderr
    assert "NOT what was signed for" in told.stderr
    assert "another" not in told.output


def test_a_log_without_a_checkpoint_is_held_against_its_leaves(data: Path) -> None:
    told = runner.invoke(app, ["audit", "verify", "--data", str(data)])

    assert told.exit_code == 0
    assert "300 events; 0 signed for" in told.stdout


@pytest.mark.parametrize("option", ["--checkpoint", "--key"])
def test_a_file_that_is_not_there_is_said_so(data: Path, option: str) -> None:
    runner.invoke(app, ["audit", "checkpoint", "--data", str(data)])

    told = runner.invoke(app, ["audit", "verify", "--data", str(data), option, "no-such-file"])

    assert told.exit_code != 0


def test_it_opens_no_data_folder_that_is_not_there(tmp_path: Path) -> None:
    told = runner.invoke(app, ["audit", "verify", "--data", str(tmp_path / "none")])

    assert told.exit_code != 0
    assert not (tmp_path / "none" / "ehr.db").exists()
