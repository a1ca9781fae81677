"""`$model-worklist`: those whose record is open to the caller, in the order of their risk.

A risk sums up all of a patient's records, restricted ones too. So somebody of whose record anything
is withheld from the caller is left out, as their RiskAssessment is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound, Unavailable
from ehr_gateway.access_requests.markers import find_marker
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.parameters import parameter
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.model_register import WorklistPerson
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.page import search_on
from ehr_gateway.store.store import Version

OPERATION = Operation(
    name="model-worklist",
    summary="Show whom a model's version that scores puts first, with its reasons.",
    levels=("system",),
    affects_state=False,
    callers="a clinician",
    parameters=(
        Parameter("task", "string", "The task, as `$models` lists it", 1),
        Parameter("language", "code", "Of the reasons, one of the languages of the pages"),
    ),
)
# People of one answer. Chosen: what a nurse can call or visit in some weeks.
_MOST_PEOPLE = 50
# Patients of one search.
_PAGE_SIZE = 100


def answer(call: OperationCall) -> Response:
    """Answer with the people whose record is open to the caller now, the riskiest first."""
    context = call.context
    if context.access.requester.role != "clinician":
        raise Forbidden("This is for clinicians.")
    register = context.gateway.models
    if register is None:
        raise Unavailable("This gateway is served without models.")
    sent = dict(call.query)
    language = choose_language(sent.get("language", "en"), "")
    now = datetime.fromtimestamp(context.access.now_ms / 1000, UTC)
    worklist = register.read_worklist(_read_task(sent), language, now)
    with context.gateway.store.read_transaction() as connection:
        people = list(islice(_find_open(connection, call, worklist.people), _MOST_PEOPLE))
        rows = recorder.build_disclosure_rows(
            connection, call.audit_context, [version for _, version in people]
        )
    context.add_audit_entry(rows or recorder.build_event_rows(call.audit_context, patient=None))
    return call.respond(
        parameter("title", worklist.title),
        parameter("version", worklist.version),
        *(_build_person(person, version) for person, version in people),
    )


def _read_task(sent: dict[str, str]) -> str:
    if not sent.get("task"):
        raise NotFound("There is no model of that name.")
    return sent["task"]


def _find_open(
    connection: Connection, call: OperationCall, people: Sequence[WorklistPerson]
) -> Iterator[tuple[WorklistPerson, Version]]:
    """Yield the people whose whole record is open to the caller, with their Patient."""
    context = call.context
    # The model names these people, not the caller: who is not shown was not asked about.
    access = replace(context.access, inquiry=Inquiry())
    for start in range(0, len(people), _PAGE_SIZE):
        part = people[start : start + _PAGE_SIZE]
        ids = ",".join(person.patient for person in part)
        pairs = [("_id", ids), ("_count", str(_PAGE_SIZE)), ("_total", "none")]
        page = search_on(connection, context.gateway.store, access, "Patient", pairs)
        found = {version.id: version for version in page.matches}
        for person in part:
            if person.patient not in found:
                continue
            marker = find_marker(connection, access, person.patient)
            if marker.shared and not marker.hidden and not marker.domains:
                yield person, found[person.patient]


def _build_person(person: WorklistPerson, version: Version) -> dict[str, Any]:
    reasons = [
        {
            "name": "reason",
            "part": [
                parameter("text", reason.text),
                *(
                    []
                    if reason.value is None
                    else [{"name": "value", "valueDecimal": round(reason.value, 4)}]
                ),
            ],
        }
        for reason in person.reasons
    ]
    return {
        "name": "person",
        "part": [
            {"name": "patient", "resource": orjson.Fragment(version.body)},
            {"name": "probability", "valueDecimal": round(person.probability, 4)},
            *reasons,
        ],
    }
