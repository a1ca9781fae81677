"""`ehr backup` and `ehr restore` as an operator uses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_cli.data_folder import prepare_data_folder
from ehr_cli.main import app
from ehr_cli.settings import Settings
from ehr_gateway.accounts.accounts import Account, add_account
from ehr_gateway.store.store import Store

runner = CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a new data folder with a steward."""
    prepare_data_folder(Settings(data=tmp_path / "data"))
    store = Store(tmp_path / "data" / "ehr.db")
    add_account(store, Account("steward", "steward", "St", "ehr-commons"))
    add_account(store, Account("dr.lee", "clinician", "Dr Lee", "tko", "doctor"))
    store.close()
    return tmp_path / "data"


def run(*words: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_backup_there_and_back_again(data: Path, tmp_path: Path) -> None:
    key, folder, new = tmp_path / "key", tmp_path / "backups", tmp_path / "new"
    public = run("backup", "key", key).strip()
    assert key.stat().st_mode & 0o777 == 0o600

    said = run("backup", folder, "--data", data, "--to", public)

    assert "MiB were new" in said
    assert "Left out: the journal" in said
    assert "whole" in run("backup", "verify", folder)
    run("account", "disable", "dr.lee", "--data", data)

    said = run("restore", folder, "--data", new, "--key", key, "--old-data", data)

    assert "1 changes since that close something were made again" in said
    assert "events were taken over" in said
    assert "disabled" in run("account", "list", "dr.", "--data", new)
    assert "There was nothing to confirm" in run(
        "restore", "confirm", "--data", new, "--user", "steward"
    ).replace("there was", "There was")
    assert "as it was written" in run("audit", "verify", "--data", new)


def test_a_restore_without_the_journal_is_confirmed_by_a_steward(
    data: Path, tmp_path: Path
) -> None:
    key, folder, new = tmp_path / "key", tmp_path / "backups", tmp_path / "new"
    public = run("backup", "key", key).strip()
    run("backup", folder, "--data", data, "--to", public)

    said = run("restore", folder, "--data", new, "--key", key, "--journal", tmp_path / "nowhere")

    assert "The journal is missing" in said
    assert f"ehr restore confirm --data {new}" in said
    run("restore", "confirm", "--data", new, "--user", "dr.lee", code=13)
    assert "It is open now" in run("restore", "confirm", "--data", new, "--user", "steward")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--to", "nonsense"), 10, "is no public key"),
        ((), 10, "Name the public key"),
    ],
)
def test_without_a_public_key_nothing_is_backed_up(
    data: Path, tmp_path: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    said = run("backup", tmp_path / "backups", "--data", data, *words, code=code)

    assert sentence in said
    assert not (tmp_path / "backups").exists()


def test_a_backup_inside_the_data_folder_is_refused(data: Path, tmp_path: Path) -> None:
    public = run("backup", "key", tmp_path / "key").strip()

    said = run("backup", data / "backups", "--data", data, "--to", public, code=22)

    assert "would be lost with it" in said


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    run("backup", "key", tmp_path / "key")

    assert "never written over" in run("backup", "key", tmp_path / "key", code=10)


def test_folder_names_need_no_command(tmp_path: Path) -> None:
    said = run("backup", "verify", tmp_path / "nothing", code=14)

    assert "no complete backup" in said
    assert "ehr restore confirm --data var/new" in run("restore", "confirm", "--help")
    assert "Put a backup back" in run("restore", "run", "--help")
