"""Who saw what: AuditEvents for the patient himself, the steward and the auditor."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_fhir.intervals import date_interval
from ehr_gateway import audit
from ehr_gateway.audit_event import audit_event
from ehr_gateway.auditing import rows as log
from ehr_gateway.body import form_pairs
from ehr_gateway.bundle_bytes import bundle, entry, link
from ehr_gateway.caller import Asking, TheAsking
from ehr_gateway.database import Connection
from ehr_gateway.negotiation import GENERAL, etag, fhir_response, preferences
from ehr_gateway.query_pairs import query_pairs
from ehr_privacy.consent import interaction_covered

router = APIRouter(prefix="/fhir/AuditEvent")
_GET = ["GET", "HEAD"]
Form = Annotated[list[tuple[str, str]], Depends(form_pairs)]
_SEES_ALL = frozenset({"steward", "auditor"})
_DEFAULT_COUNT, _MOST = 50, 500


@router.api_route("", methods=_GET)
def search(asking: TheAsking) -> Response:
    """Search by patient, date and agent; newest first."""
    return _search(asking, query_pairs(asking.request))


@router.post("/_search")
def post_search(asking: TheAsking, form: Form) -> Response:
    """Search by a form."""
    pairs = [pair for pair in form if pair[0] not in GENERAL]
    return _search(asking, [*query_pairs(asking.request), *pairs])


@router.api_route("/{logical_id}", methods=_GET)
def read(asking: TheAsking, logical_id: str) -> Response:
    """Read one AuditEvent."""
    prefer = preferences(asking.request)
    occasion = asking.occasion("read")
    wanted = _limited(asking, log.AuditFilter(id=logical_id), "read")
    with asking.gateway.store.reading() as connection:
        rows = log.find(connection, wanted, 1)
        if not rows:
            raise NotFound("There is no such AuditEvent.")
        names = _names(connection, rows)
    asking.note(partial(audit.record_about, occasion=occasion, patient=rows[0].patient))
    body = orjson.dumps(audit_event(rows[0], names))
    return fhir_response(body, headers={"ETag": etag(1)}, pretty=prefer.pretty)


def _search(asking: Asking, pairs: list[tuple[str, str]]) -> Response:
    prefer = preferences(asking.request)
    wanted, count, with_total = _parse(pairs)
    occasion = asking.occasion("search-type", "AuditEvent?" + "&".join(name for name, _ in pairs))
    wanted = _limited(asking, wanted, "search")
    with asking.gateway.store.reading() as connection:
        rows = log.find(connection, wanted, count + 1)
        total = log.total(connection, wanted) if with_total else None
        names = _names(connection, rows)
    asking.note(partial(audit.record_about, occasion=occasion, patient=wanted.patient))
    base = asking.gateway.settings.fhir_base
    shown = rows[:count]
    links = [("self", link(f"{base}/AuditEvent", pairs))]
    if len(rows) > count and shown:
        links.append(
            (
                "next",
                link(f"{base}/AuditEvent", [*_without_cursor(pairs), ("_cursor", shown[-1].id)]),
            )
        )
    entries = (
        entry(f"{base}/AuditEvent/{row.id}", orjson.dumps(audit_event(row, names)), mode="match")
        for row in shown
    )
    body = bundle("searchset", entries, total=total, links=links)
    return fhir_response(body, pretty=prefer.pretty)


def _limited(asking: Asking, wanted: log.AuditFilter, interaction: str) -> log.AuditFilter:
    subject = asking.caller.subject
    scopes = asking.access.requester.scopes
    if not interaction_covered(scopes, interaction, "AuditEvent", in_patient=True):
        raise Forbidden("The access token's scopes do not cover AuditEvent.")
    if subject.role in _SEES_ALL:
        return wanted
    if subject.role != "patient" or subject.patient is None:
        raise Forbidden("The audit log is for the patient, the steward and the auditor.")
    if wanted.patient not in (None, subject.patient):
        # Not "forbidden": the answer is the same whether such a patient exists or not.
        return log.AuditFilter(id="", patient=subject.patient)
    return log.AuditFilter(**{**vars(wanted), "patient": subject.patient})


def _parse(pairs: list[tuple[str, str]]) -> tuple[log.AuditFilter, int, bool]:
    fields: dict[str, object] = {}
    count, with_total = _DEFAULT_COUNT, False
    for name, value in pairs:
        if name == "patient":
            fields["patient"] = value.removeprefix("Patient/")
        elif name in ("agent", "altid"):
            fields["login"] = value.rpartition("|")[2]
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
                "AuditEvent is searched by patient, date, agent, _id, _count, _total and "
                "_sort=-date."
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
