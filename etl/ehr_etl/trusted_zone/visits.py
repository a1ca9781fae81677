"""Visits and residents from silver, each row under the lake's pseudonym of its person.

Exactly the records are here that research may use: the same function decides as for `deid`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import Lake
from ehr_etl.progress import load_progress
from ehr_etl.tables.bucketed import Layout, iterate_buckets
from ehr_etl.tables.decisions import ClosedRecords, decide_record, list_patients, read_decisions
from ehr_etl.tables.people import KnownPeople, read_people
from ehr_fhir.dates import read_date
from ehr_fhir.errors import NotFound
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import local_target
from ehr_privacy.deid import pseudonym

__all__ = [
    "EMERGENCY",
    "INPATIENT",
    "RESIDENT_SCHEMA",
    "VISIT_SCHEMA",
    "read_allowed_records",
    "read_residents",
    "read_visits",
]

Resource = Mapping[str, Any]

EMERGENCY, INPATIENT = "emergency", "inpatient"
# v3-ActCode: IMP and what lies below it.
_KINDS = {"EMER": EMERGENCY, "IMP": INPATIENT, "ACUTE": INPATIENT, "NONAC": INPATIENT}
# A visit that did not take place, or has not yet.
_NO_VISIT = {"planned", "cancelled", "entered-in-error", "unknown"}
_WAITING = {"arrived", "triaged"}
_HOUR = 3
# Chosen: a longer wait is a visit that was closed late.
_LONGEST_WAIT = timedelta(days=3)

# `provider`: the id of the organisation. `start` and `end` are the wall clock of the place; `end`
# is null of a visit that goes on, `start` of one whose beginning is not known to the hour.
# `waited_minutes`: from the status `arrived` to `in-progress`, null where they are not recorded.
VISIT_SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("kind", pa.string()),
        ("provider", pa.string()),
        ("start", pa.timestamp("ms")),
        ("end", pa.timestamp("ms")),
        ("waited_minutes", pa.float64()),
    ]
)
# `district`: its first name in the jurisdiction's file; null where the address names none of them.
RESIDENT_SCHEMA = pa.schema([("person", pa.string()), ("district", pa.string())])


def read_allowed_records(
    lake: Lake, key: bytes, now_ms: int, resource_type: str
) -> Iterator[tuple[str, Resource, str | None]]:
    """Yield person, record and author of each record of a type that research may use.

    Of records about one person alone; the person is the lake's pseudonym.
    """
    if not lake.has_table("silver"):
        raise NotFound("The lake is empty: run `ehr lake run` first.")
    layout = Layout(load_progress(lake).buckets, key)
    for table in iterate_buckets(lake, "silver", range(layout.buckets)):
        wanted = pc.and_(
            pc.equal(table.column("type"), resource_type), pc.invert(table.column("deleted"))
        )
        rows = table.filter(wanted).to_pylist()
        patients = {patient for row in rows for patient in list_patients(row)}
        decisions = read_decisions(lake, layout, patients)
        # Patients lie in the bucket of their records; a merge may lead to another.
        known = read_people(lake, layout, patients)
        for row in rows:
            record = decide_record(row, decisions, now_ms, ClosedRecords())
            if record is None:
                continue
            person = _find_person(record.patients, known)
            if person is not None:
                name = pseudonym(key, f"Patient/{person}")
                yield name, orjson.loads(row["resource"]), row["author"]


def read_visits(lake: Lake, key: bytes, now_ms: int) -> pa.Table:
    """Return emergency attendances and stays in hospital that research may use, as VISIT_SCHEMA.

    `key` is that of the lake's pseudonyms. NotFound where the lake has no tables yet.
    """
    rows = [
        {"person": person, **visit}
        for person, resource, author in read_allowed_records(lake, key, now_ms, "Encounter")
        if (visit := _describe_visit(resource, author)) is not None
    ]
    return pa.Table.from_pylist(rows, schema=VISIT_SCHEMA)


def read_residents(lake: Lake, key: bytes, now_ms: int) -> pa.Table:
    """Return each person whose Patient research may use, with the district of the first address."""
    districts: dict[str, str | None] = {}
    for person, resource, _ in read_allowed_records(lake, key, now_ms, "Patient"):
        # Of merged accounts the first district that is known.
        districts[person] = districts.get(person) or _find_district(resource)
    rows = [{"person": person, "district": district} for person, district in districts.items()]
    return pa.Table.from_pylist(rows, schema=RESIDENT_SCHEMA)


def _find_person(patients: Collection[str], known: KnownPeople) -> str | None:
    accounts = {known.people.find(patient).account for patient in patients}
    return min(accounts) if len(accounts) == 1 else None


def _describe_visit(resource: Resource, author: str | None) -> dict[str, Any] | None:
    kind = _KINDS.get(_dict(resource.get("class")).get("code", ""))
    if kind is None or resource.get("status") in _NO_VISIT:
        return None
    period = _dict(resource.get("period"))
    return {
        "kind": kind,
        "provider": _find_provider(resource) or author or "",
        "start": _read_clock(period.get("start")),
        "end": _read_clock(period.get("end")),
        "waited_minutes": _measure_wait(resource),
    }


def _find_provider(resource: Resource) -> str | None:
    target = local_target(str(_dict(resource.get("serviceProvider")).get("reference", "")))
    return target.id if target is not None and target.type == "Organization" else None


def _measure_wait(resource: Resource) -> float | None:
    """Return the minutes from arrival to the beginning of care (Encounter.statusHistory)."""
    begins: dict[str, datetime] = {}
    waited_until = None
    for entry in resource.get("statusHistory") or ():
        status, period = str(_dict(entry).get("status")), _dict(_dict(entry).get("period"))
        if (at := _read_clock(period.get("start"))) is not None:
            begins[status] = min(at, begins.get(status, at))
        if status in _WAITING and (at := _read_clock(period.get("end"))) is not None:
            waited_until = at if waited_until is None else max(at, waited_until)
    # The history has past states alone: while care goes on, its begin is the end of waiting.
    arrived, seen = begins.get("arrived"), begins.get("in-progress", waited_until)
    if arrived is None or seen is None or not timedelta() <= seen - arrived <= _LONGEST_WAIT:
        return None
    return (seen - arrived) / timedelta(minutes=1)


def _find_district(resource: Resource) -> str | None:
    for address in resource.get("address") or ():
        for element in ("district", "state", "city"):
            found = JURISDICTION.districts.get(str(_dict(address).get(element, "")).strip())
            if found is not None:
                return found
    return None


def _read_clock(text: object) -> datetime | None:
    """Return the wall clock at which a dateTime is, None of one that is not known to the hour."""
    read = read_date(text) if isinstance(text, str) else None
    if read is None or len(read.parts) <= _HOUR or read.offset is None:
        return None
    try:
        at = datetime.fromisoformat(str(text)).astimezone(JURISDICTION.zone)
    except ValueError:
        # A leap second has a clock that Python has not.
        return None
    return at.replace(tzinfo=None, microsecond=0)


def _dict(value: Any) -> Mapping[str, Any]:  # Any: parsed JSON
    return value if isinstance(value, dict) else {}
