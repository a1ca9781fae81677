"""`$patient-list`: the patients of a clinician's list, and what a screen shows of each.

One request and one event of the audit log for the whole list, however many patients it has. A
screen asks again and again: while it shows the same patients and the same kinds of data, the
answer names the event that stands for it, and no patient is put on record anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval
from ehr_fhir.encounters import find_current_place
from ehr_fhir.errors import Forbidden, Invalid
from ehr_fhir.identifier_systems import MARK_SYSTEM
from ehr_fhir.references import local_target
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.listed_patients import build_list_rows, split_disclosures
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._opened_records import find_opened_records
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS, LIST_QUERY
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.search.page import search_on
from ehr_gateway.store.store import Version

_LISTS = ("marked", "opened", "ward")
OPERATION = Operation(
    name="patient-list",
    summary="Show the patients of the caller's list: who and where they are, what is alarming, what"
    " a warning score needs.",
    levels=("type",),
    resource_types=("Patient",),
    affects_state=False,
    callers="a clinician",
    parameters=(
        Parameter("list", "code", "`marked`, `opened` or `ward`", 1),
        Parameter("vital-signs-from", "dateTime", "Vital signs since then"),
        Parameter("laboratory-from", "dateTime", "Laboratory results since then"),
        Parameter("code", "string", "Other Observations with these codes, as in a search"),
        Parameter("shown", "string", "`shown` of the answer that the screen shows now"),
    ),
    required_scope=None,
    audit_query=LIST_QUERY,
)
# Patients of one list. Chosen: two large wards; more would make the answer slow.
_MOST_PATIENTS = 60
# Records of one search. Chosen: a ward's rounds of a day, and its results of a week.
_PAGE_SIZE, _MOST_RECORDS = 500, 3_000
# Encounters of patients who are in a hospital (v3-ActCode).
_HOSPITAL_CLASSES = "IMP,ACUTE,NONAC,EMER,OBSENC,SS"
# How long one event stands for a list that does not change. Chosen: less than the longest pause
# within a visit, so that a screen which is looked at for an hour is one visit of an hour.
_EVENT_MS = round(timedelta(minutes=10) / timedelta(milliseconds=1))
_ID = CONTENT_COLUMNS.index("id")
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class _NamedSearch:
    """A search, and what its matches are called in the answer."""

    name: str
    resource_type: str
    criteria: Pairs


@dataclass(frozen=True)
class _RecordedList:
    """The list that `shown` stands for: when which event put which content on record."""

    at_ms: int
    event: str
    digest: str


def answer(call: OperationCall) -> Response:
    """Answer with the records that the caller may see, and whom the list is about."""
    context = call.context
    if context.access.requester.role != "clinician":
        raise Forbidden("This is for clinicians.")
    sent = dict(call.query)
    if sent.get("list") not in _LISTS:
        raise Invalid(f"`list` is one of {', '.join(_LISTS)}.", expression="list")
    _check_bounds(sent)
    if sent["list"] == "opened":
        # So that what was opened a moment ago is found.
        context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        marks = _find_matches(connection, call, _mark_search(call))
        patients = _find_patients(connection, call, sent["list"], marks)
        found = [("mark", mark) for mark in marks]
        for search in _list_searches(patients, sent):
            matches = _find_matches(connection, call, search)
            found += [(search.name, version) for version in matches]
        rows = recorder.build_disclosure_rows(
            connection, call.audit_context, _drop_repeated(version for _, version in found)
        )
    shown = _record_list(call, sent, patients, rows)
    return call.respond(
        *([parameter("shown", shown)] if shown else []),
        *({"name": "listed", "valueId": patient} for patient in patients),
        *(
            {"name": name, "resource": orjson.Fragment(version.body)}
            for name, version in found
        ),
    )  # fmt: skip


def _check_bounds(sent: Mapping[str, str]) -> None:
    """Refuse bounds that are no dateTime, by the name that was sent."""
    for name in ("vital-signs-from", "laboratory-from"):
        if name in sent:
            datetime_interval(sent[name])


def _mark_search(call: OperationCall) -> _NamedSearch:
    """Return the search for the caller's marks: CareTeams that say whom they count as theirs."""
    practitioner = call.context.access.requester.person or call.context.caller.subject.login
    return _NamedSearch("mark", "CareTeam", [
        ("participant", f"Practitioner/{practitioner}"),
        ("identifier", f"{MARK_SYSTEM}|"),
        ("status", "active"),
    ])  # fmt: skip


def _find_patients(
    connection: Connection, call: OperationCall, which: str, marks: Sequence[Version]
) -> list[str]:
    """Return the ids of a list's patients in their order."""
    if which == "marked":
        patients = [_patient_of(orjson.loads(mark.body)) for mark in marks]
    elif which == "opened":
        patients = [record.patient for record in find_opened_records(connection, call.context)]
    else:
        organization = call.context.access.requester.organization
        stays = _find_matches(connection, call, _NamedSearch("stay", "Encounter", [
            ("status", "in-progress"),
            ("class", _HOSPITAL_CLASSES),
            ("service-provider", f"Organization/{organization}"),
        ]))  # fmt: skip
        encounters = [orjson.loads(stay.body) for stay in stays]
        by_bed = sorted((find_current_place(stay), _patient_of(stay)) for stay in encounters)
        patients = [patient for _, patient in by_bed]
    return list(filter(None, dict.fromkeys(patients)))[:_MOST_PATIENTS]


def _list_searches(patients: Sequence[str], sent: Mapping[str, str]) -> Iterator[_NamedSearch]:
    """Yield the searches for what a screen shows of some patients."""
    if not patients:
        return
    ids = ",".join(patients)
    about, active = ("patient", ids), ("clinical-status", "active")
    yield _NamedSearch("patient", "Patient", [("_id", ids)])
    yield _NamedSearch("stay", "Encounter", [about, ("status", "in-progress")])
    # R4 has no search by a Flag's status.
    yield _NamedSearch("flag", "Flag", [about])
    yield _NamedSearch("allergy", "AllergyIntolerance", [about, active])
    yield _NamedSearch("problem", "Condition", [about, active])
    if "code" in sent:
        yield _NamedSearch("context", "Observation", [about, ("code", sent["code"])])
    for category in ("vital-signs", "laboratory"):
        if since := sent.get(f"{category}-from"):
            criteria = [about, ("category", category), ("date", f"ge{since}")]
            yield _NamedSearch(category, "Observation", criteria)


def _find_matches(
    connection: Connection, call: OperationCall, search: _NamedSearch
) -> list[Version]:
    """Return what a search finds, page by page; nothing of a type that the token does not cover."""
    context, found = call.context, list[Version]()
    criteria: Pairs = [*search.criteria, ("_count", str(_PAGE_SIZE))]
    cursor: str | None = ""
    while cursor is not None and len(found) < _MOST_RECORDS:
        pairs = [*criteria, ("_cursor", cursor)] if cursor else criteria
        try:
            page = search_on(
                connection, context.gateway.store, context.access, search.resource_type, pairs
            )
        except Forbidden:
            break
        found += page.matches
        cursor = page.next_cursor
    return found


def _record_list(
    call: OperationCall, sent: Mapping[str, str], patients: Sequence[str], rows: list[RowValues]
) -> str:
    """Put the list on record, or only that it was shown again; return what `shown` is to be."""
    audit_context, key = call.audit_context, call.context.gateway.store.cursor_key
    subject, now_ms = audit_context.subject, audit_context.at_ms
    disclosed = split_disclosures(rows, patients)
    # Who else asks with it, or for another list, puts everything on record anew.
    scope = [LIST_QUERY, sent["list"], subject.login, subject.organization, subject.client,
             audit_context.purpose]  # fmt: skip
    earlier = _open_shown(key, scope, sent.get("shown", ""))
    if (
        earlier is not None
        and earlier.digest == disclosed.digest
        and 0 <= now_ms - earlier.at_ms < _EVENT_MS
    ):
        # Whom the criteria name is on record by that event.
        audit_context.inquiry.recorded.update(patients)
        call.record(entities=[f"AuditEvent/{earlier.event}"])
        return sent["shown"]
    built = build_list_rows(audit_context, disclosed)
    if not built:
        call.record()
        return ""
    call.context.add_audit_entry(built)
    return seal_cursor(key, scope, [now_ms, str(built[0][_ID]), disclosed.digest])


def _open_shown(key: bytes, scope: Sequence[object], shown: str) -> _RecordedList | None:
    """Return what `shown` says; None if it is not of this person and list: then all is recorded."""
    try:
        at_ms, event, digest = open_cursor(key, scope, shown)
    except Invalid:
        return None
    return _RecordedList(int(str(at_ms)), str(event), str(digest))


def _drop_repeated(versions: Iterable[Version]) -> list[Version]:
    return list({version.position: version for version in versions}.values())


def _patient_of(record: Mapping[str, Any]) -> str:
    """Return the id of the patient a record is about, empty where it names none."""
    target = local_target(str(record.get("subject", {}).get("reference", "")))
    return target.id if target is not None and target.type == "Patient" else ""
