"""Who saw what: AuditEvents for the patient himself, the carer, the steward and the auditor."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log import queries as log
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.fhir_event import RenderContext, render_audit_event
from ehr_gateway.audit_log.read_policy import find_readable_row, restrict_to_requester
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import GENERAL_PARAMETERS, etag, fhir_response, parse_preferences
from ehr_gateway.http.query_string import parse_query

_DEFAULT_COUNT, _MOST = 50, 500
# Parameters with one value that must be equal: ours by name, then R4's.
_EQUAL = {"reason": "reason", "domain": "domain", "outcome": "outcome", "subtype": "interaction"}


def search_events(context: RequestContext) -> Response:
    """Search by patient, date, agent, reason and more; newest first."""
    return _search(context, parse_query(context.request))


def search_events_by_form(context: RequestContext, body: list[tuple[str, str]]) -> Response:
    """Search by a form."""
    pairs = [pair for pair in body if pair[0] not in GENERAL_PARAMETERS]
    return _search(context, [*parse_query(context.request), *pairs])


def read_event(context: RequestContext, logical_id: str) -> Response:
    """Read one AuditEvent."""
    prefer = parse_preferences(context.request)
    audit_context = context.begin_audit("read")
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        row = find_readable_row(context.access, connection, logical_id)
        how = _rendering(context, connection, [row])
    context.add_audit_entry(
        recorder.build_event_rows(
            audit_context=audit_context,
            patient=row.patient,
            entities=[f"AuditEvent/{row.id}"],
        )
    )
    body = orjson.dumps(render_audit_event(row, how))
    return fhir_response(body, headers={"ETag": etag(1)}, pretty=prefer.pretty)


def _search(context: RequestContext, pairs: list[tuple[str, str]]) -> Response:
    prefer = parse_preferences(context.request)
    wanted, count, with_total = _parse(pairs)
    audit_context = context.begin_audit(
        "search-type", "AuditEvent?" + "&".join(name for name, _ in pairs)
    )
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        allowed = restrict_to_requester(context.access, connection, wanted, "search")
        if with_total and allowed.is_partial:
            raise Invalid("_total is not for carers.", issue_code="not-supported")
        rows = allowed.rows(connection, count + 1)
        total = log.count_rows(connection, allowed.audit_filter) if with_total else None
        how = _rendering(context, connection, rows)
    context.add_audit_entry(
        recorder.build_event_rows(
            audit_context=audit_context, patient=_about(context, allowed.audit_filter)
        )
    )
    base = context.gateway.settings.fhir_base
    shown = rows[:count]
    links = [("self", build_page_url(f"{base}/AuditEvent", pairs))]
    if len(rows) > count and shown:
        rest = [*_without_cursor(pairs), ("_cursor", shown[-1].id)]
        links.append(("next", build_page_url(f"{base}/AuditEvent", rest)))
    entries = (
        build_entry(
            f"{base}/AuditEvent/{row.id}", orjson.dumps(render_audit_event(row, how)), mode="match"
        )
        for row in shown
    )
    body = build_bundle("searchset", entries, total=total, links=links)
    return fhir_response(body, pretty=prefer.pretty)


def _about(context: RequestContext, wanted: log.AuditFilter) -> str | None:
    """Return the patient whose log was asked for, so that he sees who reads it."""
    if wanted.patients is not None:
        # Of another patient, or of nobody: on the record of him who asked.
        return wanted.patients[0] if len(wanted.patients) == 1 else context.caller.subject.patient
    return wanted.patient


def _parse(pairs: list[tuple[str, str]]) -> tuple[log.AuditFilter, int, bool]:
    fields: dict[str, object] = {}
    count, with_total = _DEFAULT_COUNT, False
    for name, value in pairs:
        if name == "patient":
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
            _date(value, fields)
        elif name == "_cursor":
            fields["before"] = value
        elif name == "_count":
            count = _count(value)
        elif name == "_total" and value in ("none", "accurate", "estimate"):
            with_total = value != "none"
        elif not (name == "_sort" and value == "-date"):
            raise Invalid(
                "AuditEvent is searched by patient, date, agent (a log-in or Organization/id), "
                "subtype, outcome, reason, domain, _id, _count, _total and _sort=-date."
            )
    return log.AuditFilter(**fields), count, with_total  # type: ignore[arg-type]  # by name above


def _date(value: str, fields: dict[str, object]) -> None:
    prefix, text = (value[:2], value[2:]) if value[:1].isalpha() else ("eq", value)
    low, high = date_interval(text)
    limits = {
        "eq": (low, high),
        "ge": (low, None),
        "gt": (high, None),
        "le": (None, high),
        "lt": (None, low),
    }
    if prefix not in limits:
        raise Invalid("date: the prefixes eq, ge, gt, le and lt are supported.")
    since, until = limits[prefix]
    if since is not None:
        fields["since_ms"] = max(since, int(str(fields.get("since_ms", since))))
    if until is not None:
        fields["until_ms"] = min(until, int(str(fields.get("until_ms", until))))


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise Invalid("_count must be a whole number.")
    return min(int(value), _MOST)


def _rendering(
    context: RequestContext, connection: Connection, rows: Iterable[log.AuditRow]
) -> RenderContext:
    server = urlsplit(context.gateway.settings.base_url).netloc
    return RenderContext(_names(connection, rows), server)


def _names(connection: Connection, rows: Iterable[log.AuditRow]) -> dict[str, str]:
    wanted = sorted({row.organization for row in rows if row.organization})
    if not wanted:
        return {}
    found = connection.execute(
        "SELECT id, body FROM resource WHERE type = 'Organization' AND current = 1"  # noqa: S608
        f" AND deleted = 0 AND id IN ({', '.join('?' * len(wanted))})",
        wanted,
    )
    return {row[0]: str(orjson.loads(row[1]).get("name", row[0])) for row in found}


def _without_cursor(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] != "_cursor"]
