"""`ehr account`: an administrator's hand on a machine without pages."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_gateway.accounts import accounts
from ehr_gateway.store.store import Store

runner = CliRunner()
ADD = [
    "account", "add", "dr.lee", "--role", "clinician", "--name", "Dr Lee",
    "--organization", "tko", "--profession", "doctor", "--password",
]  # fmt: skip


def ehr(data: Path, *words: str, typed: str = "") -> str:
    ran = runner.invoke(app, [*words, "--data", str(data)], input=typed)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_an_account_is_made_listed_disabled_and_enabled(tmp_path: Path) -> None:
    ehr(tmp_path, *ADD, typed="seven quiet ferries\n")
    ehr(tmp_path, "account", "disable", "dr.lee")
    disabled = ehr(tmp_path, "account", "list", "dr.")
    ehr(tmp_path, "account", "enable", "dr.lee")
    ehr(tmp_path, "account", "reset", "dr.lee")

    assert disabled == "dr.lee\tclinician\ttko\tdisabled\n"
    store = Store(tmp_path / "ehr.db")
    try:
        found = accounts.verify_password(store.database, "dr.lee", "seven quiet ferries", 0)
    finally:
        store.close()
    assert (found.profession, found.exempt) == ("doctor", False)


def test_a_weak_password_or_a_name_that_is_taken_makes_no_account(tmp_path: Path) -> None:
    weak = runner.invoke(app, [*ADD, "--data", str(tmp_path)], input="password1234\n")
    ehr(tmp_path, *ADD, typed="seven quiet ferries\n")
    again = runner.invoke(app, [*ADD, "--data", str(tmp_path)], input="seven quiet ferries\n")
    nobody = runner.invoke(app, ["account", "disable", "nobody", "--data", str(tmp_path)])

    assert [one.exit_code == 0 for one in (weak, again, nobody)] == [False, False, False]
    assert "tried first" in weak.output + weak.stderr
    assert "is such a log-in name already" in again.output + again.stderr
