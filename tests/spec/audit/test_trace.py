"""From a released table back to data, rules and decisions; whatever is tampered with is found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.disclosure.cell_files import write_cells
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_analytics.register import Register
from ehr_analytics.run_log import append_run, create_run, run_folder
from ehr_analytics.suspension import suspend_project
from ehr_cli.research_lineage import RegisterLineage
from ehr_etl.lake import Lake
from ehr_etl.lineage import note_refresh, send_refreshes
from ehr_etl.progress import Progress
from ehr_etl.tables.bronze import FeedCursor
from ehr_fhir.errors import Conflict
from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.audit_log.lineage import record_new_lineage
from ehr_gateway.audit_log.recorder import build_event_rows, build_platform_context
from ehr_gateway.audit_log.restores import RESTORE, RestoreNote
from ehr_gateway.audit_log.service import AuditLog, open_audit_log
from ehr_gateway.audit_log.trace import Trace, trace_release
from ehr_privacy.audit import TraceLine, canonical_json, lineage_id, verify_trace
from tests.lib import gold
from tests.lib.gateway import House, must
from tests.lib.research import open_project, register

PEOPLE = [f"{number:032x}" for number in range(60)]
VIEW = "patient_demographics"


@dataclass
class Released:
    """A data folder with one release."""

    house: House
    book: Register
    log: AuditLog
    run: str

    def trace(self) -> Trace:
        source = RegisterLineage(self.book.data)
        record_new_lineage(self.log.database, source, self.log.clock)
        self.log.sign()
        return trace_release(self.log, source, self.run)

    def lines(self, state: str) -> list[tuple[str, str]]:
        return [(line.part, line.text) for line in self.trace().lines if line.state == state]

    def change_register(self, *statements: str) -> None:
        """Do what only the owner of the file could, triggers or not."""
        with sqlite3.connect(self.book.folder / "research.db") as connection:
            for trigger in ("event_is_never_changed", "event_is_never_removed"):
                connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            for statement in statements:
                connection.execute(statement)
        connection.close()


@pytest.fixture
def released(furnished: House) -> Released:
    data = furnished.settings.data
    gold.write(data, gold.made_up(60))
    tell_refresh(furnished, Lake(data / "lake"))
    book = register(data)
    open_project(book)
    run = run_and_release(book)
    log = open_audit_log(furnished.settings, furnished.gateway.store.database, lambda: 1)
    return Released(furnished, book, log, run)


def tell_refresh(house: House, lake: Lake) -> None:
    note_refresh(lake, Progress(sequence=9, digests={"deid": "d"}), FeedCursor(7, 2, 9))
    session = house.system("ehr-commons", "system/MeasureReport.cruds ehr/feed.read")

    def send(records: Any) -> None:
        listed = [{"name": "record", "valueString": record} for record in records]
        must(session.post("$record-lineage", {"resourceType": "Parameters", "parameter": listed}))

    send_refreshes(lake, send)


def run_and_release(book: Register) -> str:
    key = projects.read_project_key(book.data, "acute-returns")
    persons = frozenset(hashlib.sha256(f"{key}{each}".encode()).hexdigest() for each in PEOPLE)
    version = Lake(book.data / "lake").open_table(f"gold/{VIEW}").version()
    run = create_run(
        book, prefix="returns", project="acute-returns", study="returns",
        login="researcher.lau", code="c0de" * 16, tables={VIEW: version},
    )  # fmt: skip
    run_folder(book, run.id).mkdir(parents=True)
    cell = Cell("all", (), "frequency", len(persons), "persons", persons)
    write_cells(run_folder(book, run.id), [cell])
    append_run(book, run)
    assert airlock.propose_outputs(book, run.id, "researcher.lau").passed
    for checker in ("steward.ng", "auditor.tse"):
        airlock.record_decision(book, run.id, checker, "approve", "no small cells: kangaroo")
    airlock.release_outputs(book, run.id, "steward.ng")
    return run.id


def test_a_release_leads_back_to_decisions_tables_feed_and_rules(released: Released) -> None:
    trace = released.trace()

    assert trace.is_sound
    assert [line for line in trace.lines if line.state == "gap"] == []
    parts = [line.part for line in trace.lines]
    for part, times in {
        "checkpoint": 1, "release": 1, "checks": 1, "approval": 2, "run": 1, "project": 3,
        "table": 1, "rules": 1, "register": 1, "persons": 1, "tables": 1,
    }.items():  # fmt: skip
        assert parts.count(part) == times, part
    table = next(line for line in trace.lines if line.part == "table")
    assert "up to position 7 and decision 2" in table.text and table.leaf is not None
    # Neither reasons nor anybody's pseudonym is in what a witness gets.
    document = json.dumps(trace.document)
    assert "kangaroo" not in document
    key = projects.read_project_key(released.book.data, "acute-returns")
    for person in PEOPLE:
        assert person not in document
        assert hashlib.sha256(f"{key}{person}".encode()).hexdigest() not in document


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET who = 'auditor.mok' WHERE action = 'approve' AND run IS NOT NULL",
        "UPDATE event SET detail = replace(detail, 'kangaroo', 'wallaby')",
        "DELETE FROM event WHERE action = 'approve' AND run IS NOT NULL",
        "DELETE FROM event WHERE action = 'release'",
        # Told again as if it were new.
        "UPDATE event SET who = 'auditor.mok' WHERE action = 'open';DELETE FROM event_on_record",
        "UPDATE event SET at = '2020-01-01T00:00:00+00:00' WHERE action = 'run'",
        "INSERT INTO event SELECT seq - 100, at, project, run, 'auditor.mok', action, before,"
        " after, detail FROM event WHERE action = 'approve' LIMIT 1",
    ],
)
def test_an_event_of_the_register_that_is_tampered_with_is_found(
    released: Released, statement: str
) -> None:
    assert released.trace().is_sound

    released.change_register(*statement.split(";"))

    assert "register" in [part for part, _ in released.lines("fault")]


def test_a_table_that_was_changed_is_found(released: Released) -> None:
    folder = Lake(released.book.data / "lake").table_path(f"gold/{VIEW}") / "_delta_log"
    newest = max(folder.glob("*.json"))
    newest.write_text(newest.read_text().replace('"size":', '"size":1'))

    assert [part for part, _ in released.lines("fault")] == ["tables"]


def test_a_released_file_that_was_changed_is_found(released: Released) -> None:
    folder = released.book.folder / "released" / "acute-returns" / released.run
    (folder / "all.csv").write_text("persons\n61\n")

    assert [part for part, _ in released.lines("fault")] == ["files"]


@pytest.mark.parametrize("part", ["release", "approve", "run", "lake-refresh"])
def test_a_leaf_that_was_changed_is_found(released: Released, part: str) -> None:
    assert released.trace().is_sound
    sql = (
        "UPDATE audit SET reason = 'other' WHERE interaction = 'lake-refresh'"
        if part == "lake-refresh"
        else f"UPDATE audit SET reason = 'other' WHERE query LIKE '%\"action\":\"{part}\"%'"
    )
    with released.log.database.write_transaction() as connection:
        connection.execute(sql)

    faults = [part for part, _ in released.lines("fault")]

    assert ("refresh" if part == "lake-refresh" else part) in faults


def test_a_witness_verifies_by_the_public_key_and_finds_what_was_changed(
    released: Released,
) -> None:
    document = json.loads(json.dumps(released.trace().document))
    name, public = released.log.signer.name, released.log.signer.public
    assert {line.state for line in verify_trace(document, name, public)} == {"shown"}

    for change in CHANGES:
        forged = json.loads(json.dumps(document))
        change(forged)
        lines = verify_trace(forged, name, public)
        assert [line for line in lines if line.state != "shown"], change


def _change_row(document: dict[str, Any]) -> None:
    leaf = document["leaves"][0]
    leaf["row"][1] += 1


def _change_files(document: dict[str, Any]) -> None:
    document["release"]["files"] = dict.fromkeys(document["release"]["files"], "0" * 64)


def _drop_approval(document: dict[str, Any]) -> None:
    document["leaves"] = [
        leaf for leaf in document["leaves"] if '"who":"auditor.tse"' not in leaf["row"][14]
    ]


def _drop_refresh(document: dict[str, Any]) -> None:
    document["leaves"] = [leaf for leaf in document["leaves"] if leaf["row"][10] != "lake-refresh"]


def _move_leaf(document: dict[str, Any]) -> None:
    document["leaves"][0]["index"] += 1


def _double_leaf(document: dict[str, Any]) -> None:
    document["leaves"].append(document["leaves"][0])


def _name_another_project(document: dict[str, Any]) -> None:
    document["release"]["project"] = "other"


CHANGES: list[Callable[[dict[str, Any]], None]] = [
    _change_row, _change_files, _drop_approval, _drop_refresh, _move_leaf, _double_leaf,
    _name_another_project,
]  # fmt: skip


def test_a_leaf_that_nobody_signed_for_shows_nothing(released: Released) -> None:
    """Whoever hands the file over could write such a leaf, with the right name of its record."""
    document = json.loads(json.dumps(released.trace().document))
    for leaf in document["leaves"]:
        record = json.loads(leaf["row"][14])
        if record.get("action") in ("approve", "release"):
            record["who"] = "auditor.made-up"
            leaf["row"][0], leaf["row"][14] = lineage_id(record), canonical_json(record).decode()
            leaf["proof"] = None

    lines = verify_trace(document, released.log.signer.name, released.log.signer.public)

    assert "made-up" not in " ".join(line.text for line in lines)
    assert not [line for line in lines if line.part in ("release", "approval") and is_shown(line)]


def is_shown(line: TraceLine) -> bool:
    return line.state == "shown"


def test_a_step_that_was_told_after_later_ones_is_found(released: Released) -> None:
    """The platform's owner makes room in the numbers, and the log takes what it is told."""
    assert released.trace().is_sound
    columns = "at, project, run, 'auditor.mok', action, before, after, detail"
    released.change_register(
        "DELETE FROM event WHERE action = 'approve' AND run IS NOT NULL AND who = 'auditor.tse'",
        f"INSERT INTO event SELECT seq + 1, {columns} FROM event"
        " WHERE action = 'approve' AND run IS NOT NULL",
        "DELETE FROM event_on_record",
    )

    faults = released.lines("fault")

    assert any(part == "register" and "came into the log after" in text for part, text in faults)


def test_an_erasure_leaves_every_trace_sound(released: Released) -> None:
    before = released.trace()
    erased = ReleaseHistory(released.book).forget([*PEOPLE[:2]])

    after = released.trace()

    assert erased == 2
    assert after.is_sound
    assert after.document["release"] == before.document["release"]
    assert any("2 places in sets of persons were erased" in line.text for line in after.lines)


def test_a_kill_between_the_logs_commit_and_the_registers_note_doubles_nothing(
    released: Released,
) -> None:
    source, database = RegisterLineage(released.book.data), released.log.database
    events = len(source.read_all())
    assert record_new_lineage(database, source, lambda: 1) == events

    released.change_register("DELETE FROM event_on_record")

    assert record_new_lineage(database, RegisterLineage(released.book.data), lambda: 2) == 0
    with database.read_transaction() as connection:
        count = "SELECT count(*) FROM audit WHERE interaction = 'research-step'"
        assert connection.execute(count).fetchone()[0] == events
    assert released.trace().is_sound


def test_steps_that_a_restore_cut_off_are_said_to_be_so_and_new_ones_take_their_numbers(
    released: Released,
) -> None:
    file, database = released.book.folder / "research.db", released.log.database
    assert released.trace().is_sound
    backup = file.read_bytes()
    suspend_project(released.book, "acute-returns", "steward.ng", "kangaroo")
    source = RegisterLineage(released.book.data)
    assert record_new_lineage(database, source, lambda: 2) == 1

    file.write_bytes(backup)
    note = RestoreNote("2026-11-28T11:00:00.000+00:00", size=1, carried=None, cut_from=None)
    context = build_platform_context("restore", RESTORE, 3)
    with database.write_transaction() as connection:
        rows = build_event_rows(replace(context, query=note.query), None)
        append_rows(connection, seal_rows(rows))
    suspend_project(released.book, "acute-returns", "auditor.tse", "wallaby")

    trace = released.trace()
    assert trace.is_sound
    gaps = [line.text for line in trace.lines if line.state == "gap"]
    assert len(gaps) == 1 and "not there since a restore" in gaps[0]
    # Without the restore on record it would be a change.
    with database.write_transaction() as connection:
        connection.execute("UPDATE audit SET interaction = 'read' WHERE interaction = 'restore'")
    assert "register" in [part for part, _ in released.lines("fault")]


def test_what_was_not_released_has_no_trace(released: Released) -> None:
    run = create_run(
        released.book, prefix="new", project="acute-returns", study="new",
        login="researcher.lau", code="0" * 64, tables={},
    )  # fmt: skip
    append_run(released.book, run)

    with pytest.raises(Conflict, match="only what was released"):
        trace_release(released.log, RegisterLineage(released.book.data), run.id)


def test_upkeep_that_takes_old_files_leaves_the_trace(released: Released) -> None:
    lake = Lake(released.book.data / "lake")
    lake.delete_table(f"gold/{VIEW}")
    tell_refresh(released.house, lake)

    trace = released.trace()

    assert trace.is_sound
    assert "table" in [line.part for line in trace.lines if line.state == "shown"]
    assert "tables" not in [line.part for line in trace.lines]


def ask(released: Released, login: str, query: str) -> Any:
    house = released.house
    house.app.state.gateway = replace(
        house.app.state.gateway, releases=RegisterLineage(released.book.data)
    )
    return house.login(login).get(f"$research-trace{query}")


def test_stewards_and_auditors_read_the_trace_and_its_proof(released: Released) -> None:
    released.trace()

    for login in ("steward", "auditor"):
        parameters = must(ask(released, login, f"?release={released.run}")).json()["parameter"]
        assert {"name": "sound", "valueBoolean": True} in parameters
        lines = [each["part"] for each in parameters if each["name"] == "line"]
        assert len(lines) >= 12
        proof = next(each["valueString"] for each in parameters if each["name"] == "proof")
        name, public = released.log.signer.name, released.log.signer.public
        assert {line.state for line in verify_trace(json.loads(proof), name, public)} == {"shown"}


def test_nobody_else_reads_a_trace_and_none_is_made_up(released: Released) -> None:
    released.trace()

    for login in ("researcher", "doctor.a", "p.pat-1", "admin"):
        assert ask(released, login, f"?release={released.run}").status_code == 403
    assert ask(released, "steward", "?release=none").status_code == 404
    assert ask(released, "steward", "").status_code == 400
