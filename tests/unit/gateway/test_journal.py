"""The journal: chained, sealed, and clear about what was committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_fhir.errors import Unavailable
from ehr_gateway.journal.entries import (
    ChainHead,
    ClassifiedEntries,
    Entry,
    JournalDamaged,
    classify_entries,
    open_entries_after,
)
from ehr_gateway.journal.journal import journal_path, load_journal_head, read_journal_key
from ehr_gateway.journal.redo_actions import append_redo_actions, build_client_redo
from ehr_gateway.store.store import Store
from tests.lib.postgresql import Cluster


class Kept:
    """A store with a journal, and what the journal says."""

    def __init__(self, folder: Path, place: Path | str) -> None:
        self.folder, self.keys = folder / "journal", folder / "keys"
        self.store = Store(place)
        self.store.attach_journal(self.folder, self.keys)
        self.path = journal_path(self.folder, self.store.epoch().store)

    def close(self, *names: str) -> None:
        with self.store.write_transaction() as connection:
            append_redo_actions(connection, [build_client_redo(name) for name in names])

    def head(self) -> ChainHead:
        with self.store.read_transaction() as connection:
            return load_journal_head(connection)

    def entries(self, head: ChainHead | None = None) -> list[Entry]:
        key = read_journal_key(self.keys)
        assert key is not None
        return open_entries_after(
            self.path.read_bytes(), head or ChainHead(), key, self.store.epoch().store
        )

    def outcome(self, head: ChainHead | None = None) -> ClassifiedEntries:
        return classify_entries(self.entries(head))


def names(entries: tuple[Entry, ...]) -> list[object]:
    return [action["client"] for entry in entries for action in entry.redo_actions]


@pytest.fixture
def kept(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[Kept]:
    if database == "sqlite":
        one = Kept(tmp_path, tmp_path / "ehr.db")
        yield one
        one.store.close()
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.database() as url:
        one = Kept(tmp_path, url)
        yield one
        one.store.close()


def test_redo_actions_are_kept_in_order_and_resolved(kept: Kept) -> None:
    kept.close("a", "b")
    kept.close("c")

    assert names(kept.outcome().in_doubt) == ["c"]
    kept.store.resolve_journal()
    assert names(kept.outcome().committed) == ["a", "b", "c"]
    assert kept.outcome().in_doubt == ()
    size = kept.path.stat().st_size
    kept.store.resolve_journal()
    assert kept.path.stat().st_size == size


def test_what_was_taken_back_with_its_transaction_is_passed_over(kept: Kept) -> None:
    kept.close("a")
    with pytest.raises(RuntimeError), kept.store.write_transaction() as connection:
        append_redo_actions(connection, [build_client_redo("never")])
        raise RuntimeError
    kept.close("b")
    kept.store.resolve_journal()

    assert names(kept.outcome().committed) == ["a", "b"]


def test_a_transaction_rolled_back_at_last_is_resolved_as_such(kept: Kept) -> None:
    kept.close("a")
    with pytest.raises(RuntimeError), kept.store.write_transaction() as connection:
        append_redo_actions(connection, [build_client_redo("never")])
        raise RuntimeError

    assert names(kept.outcome().in_doubt) == ["never"]
    kept.store.resolve_journal()
    assert kept.outcome().in_doubt == ()
    assert names(kept.outcome().committed) == ["a"]


def test_a_part_of_a_transaction_taken_back_is_passed_over(kept: Kept) -> None:
    with kept.store.write_transaction() as connection:
        append_redo_actions(connection, [build_client_redo("a")])
        connection.execute("SAVEPOINT part")
        append_redo_actions(connection, [build_client_redo("never")])
        connection.execute("ROLLBACK TO SAVEPOINT part")
        append_redo_actions(connection, [build_client_redo("b")])
    kept.store.resolve_journal()

    assert names(kept.outcome().committed) == ["a", "b"]


def test_a_store_knows_what_of_the_journal_it_holds(kept: Kept) -> None:
    kept.close("a")
    head = kept.head()
    kept.close("b")
    kept.store.resolve_journal()

    assert names(kept.outcome(head).committed) == ["b"]


def test_nothing_of_a_redo_action_is_readable_in_the_journal(kept: Kept) -> None:
    kept.close("somebody")

    assert b"somebody" not in kept.path.read_bytes()
    assert kept.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", ["flip", "drop", "swap", "cut", "begin", "another-store"])
def test_a_journal_that_is_not_what_was_written_is_refused(kept: Kept, fault: str) -> None:
    kept.close("a")
    before = kept.head()
    for name in "bcd":
        kept.close(name)
    head = kept.head()
    lines = kept.path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if f'"number":{before.number},'.encode() in line)
    if fault == "flip":
        lines[at + 2] = lines[at + 2].replace(b'"sealed":"', b'"sealed":"AAAA', 1)
    elif fault == "drop":
        del lines[at + 2]
    elif fault == "swap":
        lines[at + 1], lines[at + 2] = lines[at + 2], lines[at + 1]
    elif fault == "cut":
        lines = lines[: at + 1]
    elif fault == "begin":
        lines = lines[at + 2 :]
    kept.path.write_bytes(b"".join(lines))

    with pytest.raises(JournalDamaged):
        if fault == "cut":
            kept.entries(head)
        elif fault == "another-store":
            open_entries_after(
                kept.path.read_bytes(), before, read_journal_key(kept.keys) or b"", "another"
            )
        else:
            kept.entries(before)


def test_half_a_line_at_the_end_is_of_no_transaction(kept: Kept) -> None:
    kept.close("a")
    with kept.path.open("ab") as file:
        file.write(b'{"number":9')
    kept.close("b")
    kept.store.resolve_journal()

    assert names(kept.outcome().committed) == ["a", "b"]


def test_a_lost_journal_begins_after_what_the_store_has(kept: Kept) -> None:
    kept.close("a")
    head = kept.head()
    kept.path.unlink()
    kept.close("b")
    kept.store.resolve_journal()

    assert names(kept.outcome(head).committed) == ["b"]
    with pytest.raises(JournalDamaged, match="Entry 1 of the journal is missing"):
        kept.entries()


def test_a_damaged_journal_is_set_aside(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.close("a")
    kept.path.write_bytes(b"nonsense\n")

    with caplog.at_level(logging.CRITICAL):
        kept.close("b")

    assert "damaged" in caplog.text
    assert len(list(kept.folder.glob("*.damaged-*"))) == 1
    with pytest.raises(JournalDamaged):
        kept.entries()


def test_a_damaged_journal_keeps_no_server_from_starting(kept: Kept) -> None:
    kept.close("a")
    kept.path.write_bytes(b"nonsense\n")

    kept.store.attach_journal(kept.folder, kept.keys)

    assert len(list(kept.folder.glob("*.damaged-*"))) == 1
    kept.close("b")


def test_a_folder_that_cannot_be_written_is_said_so(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(Unavailable, match="setting `journal`"):
        kept.store.attach_journal(tmp_path / "file", kept.keys)

    kept.store.attach_journal(kept.folder, kept.keys)


def test_what_the_journal_does_not_take_is_not_done(kept: Kept) -> None:
    kept.close("a")
    kept.path.unlink()
    kept.path.mkdir()

    with pytest.raises(Unavailable, match="journal cannot be written"):
        kept.close("b")

    assert kept.head().number == 2
    kept.path.rmdir()


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["keep", "take back", "resolve", "part", "head"]), max_size=12))
def test_the_journal_agrees_with_the_store_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    kept = Kept(folder, folder / "ehr.db")
    done: list[str] = []
    heads = [(kept.head(), 0)]
    for number, step in enumerate(steps):
        name = f"{step}-{number}"
        if step == "keep":
            kept.close(name)
            done.append(name)
        elif step == "take back":
            with pytest.raises(RuntimeError), kept.store.write_transaction() as connection:
                append_redo_actions(connection, [build_client_redo(name)])
                raise RuntimeError
        elif step == "part":
            with kept.store.write_transaction() as connection:
                append_redo_actions(connection, [build_client_redo(name)])
                connection.execute("SAVEPOINT part")
                append_redo_actions(connection, [build_client_redo("never")])
                connection.execute("ROLLBACK TO SAVEPOINT part")
            done.append(name)
        elif step == "resolve":
            kept.store.resolve_journal()
        else:
            heads.append((kept.head(), len(done)))
    for head, count in heads:
        outcome = kept.outcome(head)
        # Nothing that was done is lost: it is known as done, or in doubt.
        assert set(done[count:]) <= {*names(outcome.committed), *names(outcome.in_doubt)}
        assert names(outcome.committed) == done[count:][: len(outcome.committed)]
    kept.store.resolve_journal()
    for head, count in heads:
        assert names(kept.outcome(head).committed) == done[count:]
        assert kept.outcome(head).in_doubt == ()
    kept.store.close()
