"""`$access-history`: who looked at a patient's record, as visits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.access_visits import (
    AccessVisit,
    exclude_logins,
    find_own_logins,
    find_visits,
    list_distinct_codes,
)
from ehr_gateway.audit_log.date_filter import narrow_to_date
from ehr_gateway.audit_log.queries import AuditFilter
from ehr_gateway.audit_log.read_policy import restrict_to_requester
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_privacy.consent import DOMAINS

OPERATION = Operation(
    name="access-history",
    summary="List who looked at a patient's record and who changed it, as visits, newest first.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="whoever may read the patient's AuditEvents",
    parameters=(
        Parameter("own", "boolean", "Whether the patient's own visits are listed; false if unsaid"),
        Parameter("login", "string", "Only the visits of one person"),
        Parameter("organization", "id", "Only the visits for one organisation"),
        Parameter("domain", "code", "Only what was about one data domain"),
        Parameter("date", "date", "Only then, with a prefix as in a search", most="*"),
        Parameter("_count", "integer", "Visits of a page: 25, at most 100"),
        Parameter("_cursor", "string", "Where the page begins: `next` of the page before"),
    ),
    required_scope=None,
)
_DEFAULT_COUNT, _MOST_COUNT = 25, 100


def answer(call: OperationCall) -> Response:
    """Answer with one page of visits, made of the rows that the requester may read."""
    context, patient = call.context, call.logical_id
    store = context.gateway.store
    audit_filter, include_own, count, cursor = _parse_query(call)
    scope = ["access-history", patient, *(pair for pair in call.query if pair[0] != "_cursor")]
    position = open_cursor(store.cursor_key, scope, cursor) if cursor else None
    # So that what was answered a moment ago is found.
    context.gateway.audit_batcher.flush()
    with store.read_transaction() as connection:
        readable = restrict_to_requester(context.access, connection, audit_filter, "search")
        own_logins = find_own_logins(connection, patient)
        if not include_own:
            readable = exclude_logins(readable, own_logins)
        page = find_visits(connection, readable, count, position)
    # An empty tuple: the requester may read nobody's rows, so this says nothing of this patient.
    is_readable = readable.audit_filter.patients != ()
    call.record(patient if is_readable else context.caller.subject.patient)
    parts = [{"name": "visit", "part": list(_parts(v, own_logins))} for v in page.visits]
    if page.next_position is not None:
        cursor = seal_cursor(store.cursor_key, scope, page.next_position)
        parts.append(parameter("next", cursor))
    return call.respond(*parts)


def _parse_query(call: OperationCall) -> tuple[AuditFilter, bool, int, str]:
    fields: dict[str, object] = {"patient": call.logical_id}
    include_own, count, cursor = False, _DEFAULT_COUNT, ""
    for name, value in call.query:
        if name == "own" and value in ("true", "false"):
            include_own = value == "true"
        elif name in ("login", "organization"):
            fields[name] = value.removeprefix("Organization/")
        elif name == "domain" and value in DOMAINS:
            fields["domain"] = value
        elif name == "date":
            narrow_to_date(value, fields)
        elif name == "_count" and value.isascii() and value.isdigit() and len(value) < 9:
            count = max(1, min(int(value), _MOST_COUNT))
        elif name == "_cursor":
            cursor = value
        else:
            raise Invalid("own is true or false, domain a data domain, _count a whole number.")
    return AuditFilter(**fields), include_own, count, cursor  # type: ignore[arg-type]  # by name


def _parts(visit: AccessVisit, own_logins: Sequence[str]) -> Iterator[dict[str, Any]]:
    newest = visit.newest
    yield parameter("login", newest.login)
    yield parameter("person", newest.display)
    yield {"name": "role", "valueCode": newest.role}
    if newest.organization:
        yield {
            "name": "organization",
            "valueReference": {"reference": f"Organization/{newest.organization}"},
        }
    yield {"name": "purpose", "valueCode": newest.purpose}
    yield {
        "name": "period",
        "valuePeriod": {
            "start": format_instant(visit.start_ms), "end": format_instant(newest.at_ms)
        },
    }  # fmt: skip
    yield parameter("own", newest.login in own_logins)
    yield parameter("refused", visit.is_refused)
    yield parameter("searched", visit.has_search)
    if visit.list_size:
        yield parameter("list-of", visit.list_size)
    for name, codes in (
        ("looked-at", visit.looked_at),
        ("changed", visit.changed),
        ("in-bundle", visit.in_bundles),
        ("operation", visit.operations),
        ("reason", visit.reasons),
    ):
        yield from ({"name": name, "valueCode": code} for code in list_distinct_codes(codes))
    for consent in list_distinct_codes(visit.consents):
        yield {"name": "consent", "valueReference": {"reference": f"Consent/{consent}"}}
