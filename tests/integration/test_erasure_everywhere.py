"""An erasure over the whole data folder: marks planted in every place, a certificate, a restore."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from ehr_analytics.register import Register
from ehr_cli.commands.erasure import erase_from_restored
from ehr_cli.main import app
from ehr_etl.change_feed.gateway_feed import HttpFeed
from ehr_etl.lake import Lake
from ehr_etl.omop.state import OmopState, load_state, save_state
from ehr_etl.pipeline import LakeWriter
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_privacy.deid import pseudonym
from tests.lib.backups import back_up, open_house, restore, restored_settings
from tests.lib.erasure_files import find_unlisted_files
from tests.lib.gateway import (
    House,
    _actor,
    condition,
    consent,
    encounter,
    must,
    observation,
    restriction,
)
from tests.lib.lake_input import KEY
from tests.lib.object_store import ObjectStore

pytestmark = pytest.mark.timeout(1200)

REASON = "Asked for by the person, papers 12/2026"


class Marks:
    """Texts that stand nowhere else, each given once."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"Zq{len(self.given):04}markqz")
        return self.given[-1]


def with_marks(node: Any, mark: Marks, key: str = "") -> Any:
    """Return a resource in which every free text is a mark of its own."""
    if isinstance(node, dict):
        return {name: with_marks(item, mark, name) for name, item in node.items()}
    if isinstance(node, list):
        return [with_marks(item, mark, key) for item in node]
    return mark() if node == "*" else node


def patient_of_marks(mark: Marks) -> dict[str, Any]:
    """Return a Patient whose every text is a mark."""
    marked: dict[str, Any] = with_marks(
        {
            "resourceType": "Patient",
            "id": "pat-1",
            "text": {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{mark()} and {mark()}</div>',
            },
            "identifier": [
                {"system": "https://ehr-commons.hk/hkid", "value": "ZA1234560"},
                {"system": "https://hospital-a/mrn", "value": "*", "assigner": {"display": "*"}},
            ],
            "name": [{"family": "*", "given": ["*", "*"], "text": "*", "prefix": ["*"]}],
            "telecom": [{"system": "phone", "value": "*"}, {"system": "email", "value": "*"}],
            "gender": "female",
            "birthDate": "1980-02-03",
            "address": [{"line": ["*", "*"], "city": "*", "district": "*", "text": "*"}],
            "contact": [{"name": {"text": "*"}, "telecom": [{"system": "phone", "value": "*"}]}],
            "communication": [{"language": {"text": "*"}}],
        },
        mark,
    )
    return marked


def records_of_marks(mark: Marks) -> Iterator[dict[str, Any]]:
    """Yield clinical records whose every text is a mark."""
    note = [{"authorString": "*", "text": "*"}]
    yield with_marks({**condition("con-1", "enc-1"), "note": note}, mark)
    measured = observation("lab-1", "laboratory", encounter="enc-1")
    del measured["valueQuantity"]
    code = {**measured["code"], "text": "*"}
    yield with_marks({**measured, "code": code, "valueString": "*", "note": note}, mark)
    goal = {
        "resourceType": "Goal",
        "id": "goal-1",
        "lifecycleStatus": "proposed",
        "description": {"text": "*"},
        "subject": {"reference": "Patient/pat-1"},
    }
    yield with_marks(goal, mark)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Name the database of the test's house."""
    return str(request.param)


@pytest.fixture
def house(furnished: House, monkeypatch: pytest.MonkeyPatch) -> tuple[House, Marks]:
    """Return a house in which everything was done with a patient of marks; the lake follows it."""
    for account in (
        Account("steward.ho", "steward", "Ho", "ehr-commons"),
        Account("p.new", "patient", "Zqdisplaymarkqz", patient="pat-1"),
    ):
        accounts.add_account(furnished.gateway.store, account)
    data, mark = furnished.settings.data, Marks()
    # The commands' settings.
    monkeypatch.setenv("EHR_DATABASE", furnished.settings.database_url or "sqlite")
    (data / "keys" / "deid.key").write_bytes(KEY)
    mark.given.append("Zqdisplaymarkqz")
    must(furnished.system("ehr-commons").put(patient_of_marks(mark)))
    for body in records_of_marks(mark):
        must(furnished.system("hospital-a").put(body))
    name_the_episode(furnished)
    furnished.share()
    must(furnished.login("doctor.b").get("Observation?patient=pat-1&_include=*"))
    must(furnished.login("p.pat-1").get("Patient/pat-1"))
    # Words of the vocabulary stand in searches of others; a name that was searched for does too.
    for query in ("Goal?lifecycle-status=proposed", f"Patient?name={mark.given[5]}"):
        must(furnished.login("doctor.b").get(query))
    follow(furnished)
    # Each thing once more: older versions are in files of their own.
    for body in records_of_marks(mark):
        must(furnished.system("hospital-a").put(body))
    follow(furnished)
    plant_files(data, mark)
    return furnished, mark


def name_the_episode(house: House) -> None:
    """Let a record of another patient, and a restriction of theirs, name a stay of the patient's.

    It was filed under the other patient, and is corrected.
    """
    hospital = house.system("hospital-a")
    must(hospital.put(encounter("enc-9", "pat-2")))
    must(hospital.put(observation("lab-9", "laboratory", "pat-2", "enc-9")))
    must(hospital.put(observation("lab-8", "laboratory", "pat-2")))
    related = [{"meaning": "related", "reference": {"reference": "Encounter/enc-9"}}]
    closing = {**restriction("closing-9", data=related), "patient": {"reference": "Patient/pat-2"}}
    house.login("p.pat-2").store(closing)
    must(hospital.put(encounter("enc-9", "pat-1")))


def is_closed(house: House) -> bool:
    """Say whether the other patient's restriction still closes their record."""
    sharing = {"type": "permit", "actor": [_actor("Organization/hospital-b")]}
    body = consent("sharing-2", "sharing", patient="pat-2", provision=sharing)
    house.login("p.pat-2").store(body)
    doctor = house.login("doctor.b")
    must(doctor.get("Observation/lab-8"))
    return bool(doctor.get("Observation/lab-9").status_code == 404)


def follow(house: House, *, has_omop: bool = True) -> None:
    """Bring the house's lake up to its feed, with OMOP tables unless another test has them."""
    lake = Lake(house.settings.data / "lake", os.environ.get("EHR_LAKE_TABLES", ""))
    if has_omop and load_state(lake) is None:
        save_state(lake, OmopState())
    token = house.system("ehr-commons", "ehr/feed.read").headers["Authorization"][7:]
    key = house.settings.keys / "erasure.key"
    with LakeWriter(
        lake,
        KEY,
        read_erasure_key=lambda: key.read_bytes() if key.exists() else None,
    ) as writer:
        writer.take_in(HttpFeed(house.client, token))
        writer.bring_up(house.clock())


def plant_files(data: Path, mark: Marks) -> None:
    """Plant files as studies, models, sessions, notices and Spark leave them."""
    register = Register(data)
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO run(id, project, study, who, at, code, version, tables, state)"
            " VALUES ('run-1', 'proj', 'study', 're', '2026-11-22T08:00:00+00:00', 'c', '1', '{}',"
            " 'done')"
        )
    encounter = pseudonym(KEY, "Encounter/enc-1")
    for name, text in (
        ("research/runs/run-1/raw/rows.csv", f"key,note\n{encounter},x\n"),
        ("research/exports/1/subjects.json", f'{{"subjects": ["{encounter}"]}}'),
        ("research/exports/1/0", "gender\nfemale\n"),
        ("research/exports/2/0", "gender\nfemale\n"),
        ("mlflow/artifacts/1/sample.csv", f"patient\n{pseudonym(KEY, 'Patient/pat-1')}\n"),
        ("spark/spark/blockmgr-1/temp", mark.given[3]),
        ("notices/absent.txt", f"Dear {mark.given[4]}"),
    ):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    kept = data / "research/runs/run-1/raw/counts.csv"
    kept.write_text("sex,people\nfemale,20\n", "utf-8")
    with sqlite3.connect(data / "portal-sessions.db") as sessions:
        sessions.execute(
            "CREATE TABLE session (key TEXT PRIMARY KEY, created REAL, seen REAL, body TEXT)"
        )
        for key, body in (("a", {"patient": "pat-1"}), ("b", {"patient": "pat-2"})):
            sessions.execute("INSERT INTO session VALUES (?, 1, 1, ?)", (key, json.dumps(body)))


def approve(house: House) -> None:
    """Let one person ask for the erasure and another approve it."""
    ask = {"resourceType": "Parameters", "parameter": [{"name": "reason", "valueString": REASON}]}
    answer = must(house.login("admin").post("Patient/pat-1/$purge", ask)).json()
    erasure = answer["parameter"][0]["valueString"]
    decide = [
        {"name": "erasure", "valueString": erasure},
        {"name": "decision", "valueCode": "approve"},
        {"name": "reason", "valueString": "The papers were checked again"},
    ]
    body = {"resourceType": "Parameters", "parameter": decide}
    must(house.login("steward.ho").post("$decide-erasure", body))


def run(house: House, *words: str) -> Result:
    """Run a command on the house's data folder."""
    return CliRunner().invoke(app, ["lake", *words, "--data", str(house.settings.data)])


def find_marks(folder: Path, marks: Marks, url: str | None) -> list[str]:
    """Return the files and tables with a mark, by a plain search of this test's own."""
    sought = [text.encode() for text in marks.given]
    sought += [b"pat-1", b"con-1", b"lab-1", b"enc-1", b"enc-9"]
    tables = [] if url is None else find_in_tables(url, sought)
    return tables + [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _holds(path.read_bytes(), sought, path.name.startswith("ehr.db"))
    ]


def _holds(content: bytes, sought: list[bytes], has_audit_log: bool) -> bool:
    # The stay that moved is named by events about the other patient.
    return any(text in content for text in sought if not (has_audit_log and text == b"enc-9"))


def find_in_tables(url: str, sought: list[bytes]) -> list[str]:
    """Return the tables of a PostgreSQL database that have some texts in a row."""
    found = []
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in names.fetchall():
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            content = b"\0".join(
                value if isinstance(value, bytes) else str(value).encode()
                for row in rows
                for value in row
            )
            found += [name] if _holds(content, sought, name == "audit") else []
    return found


def test_every_byte_is_taken_back_and_the_certificate_says_so(house: tuple[House, Marks]) -> None:
    home, marks = house
    data = home.settings.data
    assert run(home, "erase", "pat-1").exit_code != 0
    # docs/explanation/erasure.md says of each file what becomes of it.
    assert find_unlisted_files(data) == []
    approve(home)

    outcome = run(home, "erase", "pat-1")

    assert outcome.exit_code == 0, f"{outcome.output} {outcome.exception!r}"
    assert find_marks(data, marks, home.settings.database_url) == []
    assert is_closed(home)
    assert run(home, "scan", "pat-1").exit_code == 0
    assert not (data / "research/runs/run-1/raw/rows.csv").exists()
    assert (data / "research/runs/run-1/raw/counts.csv").exists()
    # An export goes whole, others stay.
    assert [path.name for path in (data / "research/exports").iterdir()] == ["2"]
    assert not list((data / "erasures").glob("*.sealed"))
    (file,) = (data / "erasures").glob("*.json")
    certificate = json.loads(file.read_text("utf-8"))
    assert certificate["total"]["found"] == 0
    assert certificate["texts"] >= len(marks.given)
    assert certificate["total"]["bytes"] > 100_000
    database = "PostgreSQL" if home.settings.database_url else "ehr.db"
    assert {place["name"] for place in certificate["places"]} >= {
        *(database, "lake/bronze", "lake/deid", "lake/omop")
    }
    shown = must(home.login("steward").get("$erasures")).text
    assert '"certificate"' in shown
    with sqlite3.connect(data / "portal-sessions.db") as sessions:
        assert sessions.execute("SELECT key FROM session").fetchall() == [("b",)]
    follow(home)
    assert find_marks(data, marks, home.settings.database_url) == []


@pytest.fixture
def stored_house(
    furnished: House,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    """Return a house whose lake has its tables in an object store."""
    monkeypatch.setenv("EHR_LAKE_TABLES", f"{object_store.url}/{tmp_path.name}")
    for name, value in object_store.options.items():
        monkeypatch.setenv(name.upper(), value)
    accounts.add_account(
        furnished.gateway.store, Account("steward.ho", "steward", "Ho", "ehr-commons")
    )
    monkeypatch.setenv("EHR_DATABASE", furnished.settings.database_url or "sqlite")
    (furnished.settings.data / "keys" / "deid.key").write_bytes(KEY)
    follow(furnished, has_omop=False)
    return furnished


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_objects_of_the_lakes_store_are_read(stored_house: House) -> None:
    home, url = stored_house, os.environ["EHR_LAKE_TABLES"]
    found = run(home, "scan", "pat-1")
    for table in ("bronze", "silver", "deid", "gold/condition_flat"):
        assert f"Found in {url}/{table}/" in found.output, table
    filesystem, _ = Lake(home.settings.data / "lake", url).open_storage()
    with filesystem.open_output_stream("export/stray.csv") as stray:
        stray.write(b"id\npat-1\n")
    approve(home)

    outcome = run(home, "erase", "pat-1")

    assert outcome.exit_code == 1
    listed = [line for line in outcome.output.splitlines() if line.startswith("Found in")]
    assert listed == [f"Found in {url}/export/stray.csv."]
    filesystem.delete_file("export/stray.csv")
    outcome = run(home, "erase", "pat-1")
    assert outcome.exit_code == 0, outcome.output
    (file,) = (home.settings.data / "erasures").glob("*.json")
    certificate = json.loads(file.read_text("utf-8"))
    places = {place["name"]: place for place in certificate["places"]}
    assert places[f"{url}/bronze"]["files"] > 1
    assert any("earlier versions of objects" in text for text in certificate["not_scanned"])


def test_a_planted_residue_is_found(
    house: tuple[House, Marks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, marks = house
    approve(home)
    residue = home.settings.data / "rejects.txt"
    residue.write_text(f"line 17: {marks.given[2]}", "utf-8")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copy = tmp_path / "ehr-reading-1" / "ehr.db"
    copy.parent.mkdir()
    copy.write_text(marks.given[3], "utf-8")

    outcome = run(home, "erase", "pat-1")

    assert outcome.exit_code == 1
    assert "Found in rejects.txt" in outcome.output
    assert f"Found in {copy}" in outcome.output
    copy.unlink()
    assert marks.given[2] not in outcome.output
    residue.unlink()
    assert run(home, "erase", "pat-1").exit_code == 0


def test_a_restore_erases_again_what_the_backup_still_has(
    house: tuple[House, Marks], tmp_path: Path
) -> None:
    home, marks = house
    # As a rebuild that runs has it, or one that was killed.
    scratch = home.settings.data / "lake" / "scratch" / "silver" / "0"
    scratch.mkdir(parents=True)
    (scratch / "rows.arrow").write_text(marks.given[2])
    back_up(home, tmp_path / "backups")
    approve(home)
    assert run(home, "erase", "pat-1").exit_code == 0

    # The server does so once a second; a restore within that second closes the store instead.
    home.gateway.store.resolve_journal()
    settings = restored_settings(home, tmp_path / "again")
    report = restore(
        tmp_path / "backups",
        settings,
        journal=home.settings.journal_folder,
        erase_elsewhere=erase_from_restored,
    )

    assert report.state.erased == ("pat-1",)
    assert report.state.closure is None
    left = find_marks(settings.data, marks, settings.database_url)
    assert left == []
    with open_house(home, settings) as again:
        assert must(again.login("p.pat-2").get("Patient/pat-2")).json()["id"] == "pat-2"
        follow(again)
        assert find_marks(settings.data, marks, settings.database_url) == []
