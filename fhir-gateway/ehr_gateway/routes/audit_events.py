"""AuditEvents over HTTP: who saw a record, for the patient, a carer, the steward, the auditor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log import queries as log
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.date_filter import narrow_to_date
from ehr_gateway.audit_log.fhir_event import RenderContext, render_audit_event
from ehr_gateway.audit_log.read_policy import (
    ROLES_READING_ALL,
    find_readable_row,
    restrict_to_requester,
)
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import GENERAL_PARAMETERS, etag, fhir_response, parse_preferences
from ehr_gateway.http.query_string import describe_query, parse_query
from ehr_gateway.search.named_patients import find_patients_by_number

_DEFAULT_COUNT, _MAX_COUNT = 50, 500
# Parameters of one value that must be equal, and the column each is about.
_EQUAL = {"reason": "reason", "domain": "domain", "outcome": "outcome", "subtype": "interaction"}
# The chain that finds the events of whoever has an identity card number.
_BY_NUMBER = "patient.identifier"
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class _EventQuery:
    """A search of the audit log as it was asked for."""

    audit_filter: log.AuditFilter
    count: int
    with_total: bool


def search_events(context: RequestContext) -> Response:
    """Search by patient, date, agent, reason and more; newest first."""
    return _answer_search(context, parse_query(context.request))


def search_events_by_form(context: RequestContext, body: Pairs) -> Response:
    """Search by a form, whose values stay out of addresses and their logs."""
    pairs = [pair for pair in body if pair[0] not in GENERAL_PARAMETERS]
    return _answer_search(context, [*parse_query(context.request), *pairs])


def read_event(context: RequestContext, logical_id: str) -> Response:
    """Read one AuditEvent; it has one version for ever."""
    prefer = parse_preferences(context.request)
    audit_context = context.begin_audit("read")
    # So that what was answered a moment ago is found.
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        row = find_readable_row(context.access, connection, logical_id)
        rendering = _render_context(context, connection, [row])
    context.add_audit_entry(
        recorder.build_event_rows(
            audit_context=audit_context,
            patient=row.patient,
            entities=[f"AuditEvent/{row.id}"],
        )
    )
    body = orjson.dumps(render_audit_event(row, rendering))
    return fhir_response(body, headers={"ETag": etag(1)}, pretty=prefer.pretty)


def _answer_search(context: RequestContext, pairs: Pairs) -> Response:
    prefer = parse_preferences(context.request)
    audit_context = context.begin_audit("search-type", describe_query("AuditEvent", pairs))
    pairs = _resolve_numbers(context, pairs)
    query = _parse_event_query(pairs)
    for patient in _named_patients(query.audit_filter):
        context.access.inquiry.name_target("Patient", patient)
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        readable = restrict_to_requester(context.access, connection, query.audit_filter, "search")
        if query.with_total and readable.is_partial:
            raise Invalid("_total is not for carers.", issue_code="not-supported")
        # One more than the page holds tells whether there is a next page.
        rows = readable.rows(connection, query.count + 1)
        total = log.count_rows(connection, readable.audit_filter) if query.with_total else None
        rendering = _render_context(context, connection, rows)
    about = _searched_patient(context, readable.audit_filter)
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=about))
    address = f"{context.gateway.settings.fhir_base}/AuditEvent"
    shown = rows[: query.count]
    links = [("self", build_page_url(address, pairs))]
    if len(rows) > query.count and shown:
        rest = [pair for pair in pairs if pair[0] != "_cursor"]
        links.append(("next", build_page_url(address, [*rest, ("_cursor", shown[-1].id)])))
    entries = (
        build_entry(
            f"{address}/{row.id}", orjson.dumps(render_audit_event(row, rendering)), mode="match"
        )
        for row in shown
    )
    body = build_bundle("searchset", entries, total=total, links=links)
    return fhir_response(body, pretty=prefer.pretty)


def _resolve_numbers(context: RequestContext, pairs: Pairs) -> Pairs:
    """Return the parameters with `patient` for `patient.identifier`: ids for card numbers.

    So the links of the answer hold no number, whichever way it came.
    """
    if not any(name == _BY_NUMBER for name, _ in pairs):
        return pairs
    if context.access.requester.role not in ROLES_READING_ALL:
        raise Invalid(f"{_BY_NUMBER} is for the steward and the auditor.")
    with context.gateway.store.read_transaction() as connection:
        return [
            ("patient", ",".join(find_patients_by_number(connection, value.rpartition("|")[2])))
            if name == _BY_NUMBER
            else (name, value)
            for name, value in pairs
        ]


def _named_patients(audit_filter: log.AuditFilter) -> tuple[str, ...]:
    if audit_filter.patient is not None:
        return (audit_filter.patient,)
    return audit_filter.patients or ()


def _searched_patient(context: RequestContext, searched: log.AuditFilter) -> str | None:
    """Return the patient whose log was asked for, so that they see who reads it."""
    if searched.patients is None:
        return searched.patient
    # Of several patients, or of none: on the record of the patient who asked.
    is_one = len(searched.patients) == 1
    return searched.patients[0] if is_one else context.caller.subject.patient


def _parse_event_query(pairs: Pairs) -> _EventQuery:
    fields: dict[str, object] = {}
    count, with_total = _DEFAULT_COUNT, False
    for name, value in pairs:
        if name == "patient" and "," in value:
            fields["patients"] = tuple(one.removeprefix("Patient/") for one in value.split(","))
        elif name == "patient":
            fields["patient"] = value.removeprefix("Patient/")
        elif name == "agent" and value.startswith("Organization/"):
            fields["organization"] = value.removeprefix("Organization/")
        elif name in ("agent", "altid"):
            fields["login"] = value.rpartition("|")[2]
        elif name in _EQUAL:
            fields[_EQUAL[name]] = value.rpartition("|")[2]
        elif name == "_id":
            fields["id"] = value
        elif name == "date":
            narrow_to_date(value, fields)
        elif name == "_cursor":
            fields["before"] = value
        elif name == "_count":
            count = _parse_count(value)
        elif name == "_total" and value in ("none", "accurate", "estimate"):
            with_total = value != "none"
        elif not (name == "_sort" and value == "-date"):
            raise Invalid(
                f"AuditEvent is searched by patient, {_BY_NUMBER}, date, agent (a log-in or "
                "Organization/id), subtype, outcome, reason, domain, _id, _count, _total and "
                "_sort=-date."
            )
    audit_filter = log.AuditFilter(**fields)  # type: ignore[arg-type]  # by name above
    return _EventQuery(audit_filter, count, with_total)


def _parse_count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise Invalid("_count must be a whole number.")
    return min(int(value), _MAX_COUNT)


def _render_context(
    context: RequestContext, connection: Connection, rows: Iterable[log.AuditRow]
) -> RenderContext:
    server = urlsplit(context.gateway.settings.base_url).netloc
    return RenderContext(_organization_names(connection, rows), server)


def _organization_names(connection: Connection, rows: Iterable[log.AuditRow]) -> dict[str, str]:
    """Return the name of each organisation that acted, by its id."""
    ids = sorted({row.organization for row in rows if row.organization})
    if not ids:
        return {}
    found = connection.execute(
        "SELECT id, body FROM resource WHERE type = 'Organization' AND current = 1"  # noqa: S608
        f" AND deleted = 0 AND id IN ({', '.join('?' * len(ids))})",
        ids,
    )
    return {row[0]: str(orjson.loads(row[1]).get("name", row[0])) for row in found}
