"""What the consent tests share: resources from short descriptions, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, open_database
from ehr_privacy.consent import RECORD_COLUMNS, TABLES, Predicate, Record, RuleRow

CODES = "https://ehr-commons.hk/fhir/CodeSystem"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
RECIPIENT = {"coding": [{"system": f"{TERMINOLOGY}/v3-ParticipationType", "code": "IRCP"}]}


def resource_of(name: str, fact: dict[str, Any]) -> dict[str, Any]:
    """Make the FHIR resource that a short description stands for."""
    if "deemed" in fact:
        return {
            "resourceType": "Organization",
            "id": fact["deemed"],
            "extension": [
                {
                    "url": "https://ehr-commons.hk/fhir/StructureDefinition/deemed-sharing",
                    "valuePeriod": _period(fact["period"]),
                }
            ],
        }
    if "works" in fact:
        return {
            "resourceType": "PractitionerRole",
            "id": name,
            **({"period": _period(fact["period"])} if "period" in fact else {}),
            **({"active": fact["active"]} if "active" in fact else {}),
            "practitioner": {"reference": f"Practitioner/{fact['works']}"},
            "organization": {"reference": f"Organization/{fact['at']}"},
        }
    patient = fact.get("patient", "ann")
    if "birth" in fact:
        return {"resourceType": "Patient", "id": patient, "birthDate": fact["birth"]}
    if "links" in fact:
        pairs = [entry.split() for entry in fact["links"]]
        links = [{"type": t, "other": {"reference": f"Patient/{other}"}} for t, other in pairs]
        return {"resourceType": "Patient", "id": patient, "link": links}
    category = {"system": f"{CODES}/consent-category", "code": fact["category"]}
    if fact["category"] == "pcf":
        category = {"system": "http://loinc.org", "code": "59284-0"}
    deny = fact["category"] in ("restriction", "hold")
    provision = {"type": fact.get("type", "deny" if deny else "permit"), **_provision(fact)}
    if fact.get("sealed"):
        url = "https://ehr-commons.hk/fhir/StructureDefinition/sealed"
        provision["extension"] = [{"url": url, "valueBoolean": True}]
    if "except" in fact:
        provision["provision"] = [
            {"type": "permit", **_provision(exception)} for exception in fact["except"]
        ]
    scope = {"system": f"{TERMINOLOGY}/consentscope", "code": "patient-privacy"}
    return {
        "resourceType": "Consent",
        "id": name,
        "status": fact.get("status", "active"),
        "scope": {"coding": [scope]},
        "category": [{"coding": [category]}],
        "patient": {"reference": f"Patient/{patient}"},
        "provision": provision,
    }


def _provision(fact: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "period" in fact:
        made["period"] = _period(fact["period"])
    if "data_period" in fact:
        made["dataPeriod"] = _period(fact["data_period"])
    if "actors" in fact:
        made["actor"] = [{"role": RECIPIENT, "reference": _actor(a)} for a in fact["actors"]]
    if "domains" in fact:
        made["class"] = [{"system": f"{CODES}/data-domain", "code": d} for d in fact["domains"]]
    if "labels" in fact:
        made["securityLabel"] = [
            {
                "system": f"{TERMINOLOGY}/v3-"
                + ("Confidentiality" if code in ("N", "R", "V") else "ActCode"),
                "code": code,
            }
            for code in fact["labels"]
        ]
    if "data" in fact:
        pairs = [entry.split() for entry in fact["data"]]
        made["data"] = [{"meaning": m, "reference": {"reference": ref}} for m, ref in pairs]
    if "powers" in fact:
        made["action"] = [
            {"coding": [{"system": f"{CODES}/carer-power", "code": p}]} for p in fact["powers"]
        ]
    return made


def _actor(actor: str) -> dict[str, Any]:
    if actor == "carers":
        return {"identifier": {"system": f"{CODES}/actor-group", "value": actor}}
    if actor.startswith("profession:"):
        value = actor.removeprefix("profession:")
        return {"identifier": {"system": f"{CODES}/profession", "value": value}}
    return {"reference": actor}


def _period(bounds: list[str]) -> dict[str, str]:
    return dict(zip(("start", "end"), bounds, strict=False))


def record_row(pk: int, record: Record) -> tuple[object, ...]:
    """Return a record as a row of the table that the predicate reads."""
    return (pk, record.type, record.id, record.author, *record.column_values)


_COLUMNS = ", ".join(f"{column.name} {column.type}" for column in RECORD_COLUMNS)
_RECORDS = (
    f"CREATE TABLE record (pk INTEGER PRIMARY KEY, type TEXT, id TEXT, author TEXT, {_COLUMNS})",
    "CREATE TABLE record_patient (pk INTEGER, patient TEXT, PRIMARY KEY (pk, patient))",
    "CREATE TABLE record_label (pk INTEGER, label TEXT, added INTEGER, PRIMARY KEY (pk, label))",
)


class Tables:
    """The tables a predicate reads, in a database."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._filled: set[str] = set()
        for name, columns in TABLES.items():
            spec = ", ".join(
                f"{c.name} {c.type}{'' if c.nullable else ' NOT NULL'}" for c in columns
            )
            self._make(f"CREATE TABLE {name} ({spec})")
            key = {
                "consent_deemed": "organization",
                "consent_exception": "consent, rule",
                "consent_membership": "practitioner, organization",
            }
            self._make(f"CREATE INDEX {name}_key ON {name} ({key.get(name, 'patient')})")
        for statement in _RECORDS:
            self._make(statement)

    def fill(self, records: Iterable[Record], rows: Iterable[RuleRow]) -> None:
        """Replace all contents; the key of a record is its place in the sequence."""
        for name in sorted(self._filled):
            self.connection.execute(f"DELETE FROM {name}")
        self._filled.clear()
        for row in rows:
            names = ", ".join(row.values)
            self._insert(f"{row.table} ({names})", [tuple(row.values.values())])
        records = list(records)
        self._insert("record", [record_row(pk, record) for pk, record in enumerate(records)])
        patients = [(pk, name) for pk, record in enumerate(records) for name in record.patients]
        self._insert("record_patient", patients)
        labels = [
            (pk, label, int(label in record.added_labels))
            for pk, record in enumerate(records)
            for label in record.labels
        ]
        self._insert("record_label", labels)

    def visible(self, predicate: Predicate) -> set[int]:
        """Return the keys of the records for which the predicate holds."""
        sql = f"SELECT pk FROM record r WHERE {predicate.sql}"
        return {pk for (pk,) in self.connection.execute(sql, predicate.params)}

    def _make(self, statement: str) -> None:
        if self.connection.dialect == "postgresql":
            statement = statement.replace("INTEGER", "BIGINT").replace("TEXT", 'TEXT COLLATE "C"')
        self.connection.execute(statement)

    def _insert(self, into: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            self._filled.add(into.partition(" ")[0])
            marks = ", ".join("?" * len(rows[0]))
            self.connection.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def sql_tables(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tables]:
    """Lend the tables in each database; each test fills them anew."""
    place: Path | str = tmp_path_factory.mktemp("consent") / "consent.db"
    if request.param == "postgresql":
        cluster = request.getfixturevalue("postgresql")
        place = cluster.url(cluster.create())
    database = open_database(place)
    # One transaction that is never kept; the server may be gone before this ends.
    with suppress(_Over, Unavailable), database.write_transaction() as connection:
        yield Tables(connection)
        raise _Over
    database.close()


class _Over(Exception):
    """The tests are over."""


@pytest.fixture(scope="session")
def make_resource() -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Return the maker of resources from short descriptions."""
    return resource_of
