"""`ehr upgrade`: who is let in meanwhile, what it refuses, and what it says."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_gateway.database import open_database
from ehr_gateway.migrations import exclusive, recompute
from ehr_gateway.migrations.exclusive import begin_upgrade, upgrade_lock
from ehr_gateway.migrations.upgrade import read_state, upgrade
from ehr_gateway.schema.revision import HEAD
from ehr_gateway.store.store import Store
from ehr_privacy.consent import RuleRow, rule_rows
from tests.lib.old_store import OldStore
from tests.lib.ports import free_port

OLD_LAYOUT = [{"name": "layout", "value": b"5"}]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for others to end."""
    monkeypatch.setattr(exclusive, "_MAX_WAIT_SECONDS", 0.3)


def run(old_store: OldStore, *words: str) -> tuple[int, str]:
    """Run a command on the old store; return its exit code and all it said."""
    database = old_store.place if isinstance(old_store.place, str) else "sqlite"
    options = ["--data", str(old_store.data), "--database", database]
    result = CliRunner().invoke(app, [*words, *options])
    return result.exit_code, result.output


def layout(old_store: OldStore) -> list[dict[str, object]]:
    """Return the setting by which versions before revisions know their tables."""
    return [row for row in old_store.tables()["setting"] if row["name"] == "layout"]


def test_check_says_whether_it_is_needed_and_changes_nothing(old_store: OldStore) -> None:
    before = old_store.tables()

    code, said = run(old_store, "upgrade", "--check")
    assert (code, "run `ehr upgrade`" in said) == (1, True)
    assert old_store.tables() == before

    code, said = run(old_store, "upgrade")
    assert (code, f"is upgraded (revision {HEAD})" in said) == (0, True)
    total = len(before["resource"])
    assert f"index rows, consent facts and rules: {total} of {total}" in said

    code, said = run(old_store, "upgrade", "--check")
    assert (code, "up to date" in said) == (0, True)
    after = old_store.tables()
    code, said = run(old_store, "upgrade")
    assert (code, "was up to date" in said) == (0, True)
    assert old_store.tables() == after


@pytest.mark.parametrize(
    "words", [("audit", "verify"), ("audit", "checkpoint"), ("up", "--port", str(free_port()))]
)
def test_every_other_command_names_it(old_store: OldStore, words: tuple[str, ...]) -> None:
    code, said = run(old_store, *words)

    assert code == 22
    assert "run `ehr upgrade`" in said


def test_a_database_in_use_is_left_alone(old_store: OldStore) -> None:
    before = old_store.tables()
    with closing(open_database(old_store.place)) as gateway:
        # Idle: it only has it open, as a gateway of any version does.
        with gateway.read_transaction() as connection:
            connection.execute("SELECT 1 FROM setting").fetchone()
        with pytest.raises(Unavailable, match="in use"):
            upgrade(old_store.place, lambda progress: None)

    assert old_store.tables() == before
    assert layout(old_store) == OLD_LAYOUT
    assert upgrade(old_store.place, lambda progress: None)


def test_once_begun_no_version_opens_it(old_store: OldStore) -> None:
    begin_upgrade(old_store.place)

    # What versions before revisions look for: any other value than theirs, or none.
    assert layout(old_store) == []
    with pytest.raises(Unavailable, match=r"not finished\. Run `ehr upgrade`"):
        Store(old_store.place)
    assert read_state(old_store.place).needs_upgrade

    assert upgrade(old_store.place, lambda progress: None)
    Store(old_store.place).close()


def test_two_at_once_are_one_too_many(old_store: OldStore) -> None:
    with (
        upgrade_lock(old_store.place),
        pytest.raises(Unavailable, match="Another `ehr upgrade`"),
    ):
        upgrade(old_store.place, lambda progress: None)

    assert upgrade(old_store.place, lambda progress: None)


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_newer_database_is_refused_in_a_sentence(old_store: OldStore, interrupted: bool) -> None:
    old_store.upgrade()
    old_store.execute("UPDATE schema_revision SET version_num = '9999'")
    if interrupted:
        old_store.execute("INSERT INTO setting (name, value) VALUES ('upgrade', ?)", b"")
    before = old_store.tables()

    for words in (("upgrade",), ("upgrade", "--check"), ("up", "--port", str(free_port()))):
        code, said = run(old_store, *words)
        assert (code != 0, "newer version of eHR Commons" in said) == (True, True), words
    assert old_store.tables() == before


def test_a_layout_before_the_first_revision_is_refused(old_store: OldStore) -> None:
    old_store.execute("UPDATE setting SET value = ? WHERE name = 'layout'", b"4")

    code, said = run(old_store, "upgrade")

    assert code == 22
    assert "from before `ehr upgrade`" in said


def test_no_database_is_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["upgrade", "--data", str(tmp_path / "none")])

    assert result.exit_code == 14
    assert not (tmp_path / "none").exists()


def test_a_revision_that_fails_is_told_in_a_sentence_and_leaves_nothing(
    old_store: OldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(bind: Connection) -> None:
        bind.exec_driver_sql("CREATE TABLE half (x INTEGER)")
        bind.exec_driver_sql("SELECT * FROM missing")

    with monkeypatch.context() as patched:
        patched.setattr(recompute, "schedule_recompute", fail)
        code, said = run(old_store, "upgrade")

    assert code == 22
    assert "did not take revision 0002: " in said
    assert "missing" in said
    assert "half" not in old_store.tables()
    assert read_state(old_store.place).revision == "0001"
    assert run(old_store, "upgrade")[0] == 0


def test_a_resource_that_cannot_be_read_is_named_without_its_content(
    old_store: OldStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_one(resource: Any) -> list[RuleRow]:
        if resource["id"] == "joining-2":
            raise Unprocessable("It tells a secret.")
        return rule_rows(resource)

    with monkeypatch.context() as patched:
        patched.setattr(recompute, "stored_rule_rows", refuse_one)
        code, said = run(old_store, "upgrade")

    assert code == 11
    assert "Consent/joining-2, version 1, cannot be read" in said
    assert "secret" not in said
    assert run(old_store, "upgrade")[0] == 0
