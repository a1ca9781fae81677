"""Notices over HTTP: the reader's own, how they are wanted; deliveries for the steward."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Unprocessable
from ehr_fhir.intervals import instant
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection, Row
from ehr_gateway.http.authentication import Authenticated, RequestContext, require_access_scope
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.negotiation import parse_preferences
from ehr_gateway.http.operation_parameters import parse_parameters
from ehr_gateway.http.parameters import parameter, parameters_response
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.notices.messages import LANGUAGES, describe_notice, find_reader
from ehr_gateway.notices.outbox import patient_reader

router = APIRouter(prefix="/fhir", dependencies=[Depends(require_access_scope)])
Body = Annotated[bytes, Depends(read_fhir_body)]
_GET = ["GET", "HEAD"]
_EMAIL = re.compile(r"[^@\s<>\",;]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")
_MOST = 100


@router.api_route("/$notices", methods=_GET)
def notices(context: Authenticated) -> Response:
    """List the reader's own notices, newest first, in a language."""
    pairs = check_parameters(
        context.request, lenient=parse_preferences(context.request).lenient, allowed=("language",)
    )
    audit_context = context.begin_audit("operation", "$notices")
    reader, language = _reader(context), dict(pairs).get("language", "en")
    if language not in LANGUAGES:
        raise Unprocessable(f"The language is one of {', '.join(LANGUAGES)}.")
    with context.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT * FROM notice WHERE reader = ? ORDER BY made_ms DESC, id DESC LIMIT ?",
            (reader, _MOST),
        ).fetchall()
        listed = [_told(connection, context, row, language) for row in rows]
        chosen = find_reader(connection, reader)
    patient = context.access.requester.patient
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=patient))
    return parameters_response(
        context,
        parameter("each-access", chosen.each_access),
        *([parameter("email", chosen.email)] if chosen.email else []),
        *([parameter("language", chosen.language)] if chosen.language else []),
        *listed,
    )


@router.post("/$notice-preference")
def preference(context: Authenticated, body: Body) -> Response:
    """Say how one wants to be told: the language, the address, of each access or the first."""
    audit_context = context.begin_audit("operation", "$notice-preference")
    reader = _reader(context)
    given = parse_parameters(body, "language", "email", "each-access")
    language, email = given.optional_text("language"), given.optional_text("email")
    if language is not None and language not in LANGUAGES:
        raise Unprocessable(
            f"The language is one of {', '.join(LANGUAGES)}.", expression="Parameters.parameter"
        )
    if email is not None and not _EMAIL.fullmatch(email):
        raise Unprocessable("This is no e-mail address.", expression="Parameters.parameter")
    each = given.code("each-access", ("yes", "no")) == "yes"
    with context.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO notice_preference (reader, language, email, each_access)"
            " VALUES (?, ?, ?, ?) ON CONFLICT (reader) DO UPDATE SET"
            " language = excluded.language, email = excluded.email,"
            " each_access = excluded.each_access",
            (reader, language, email, int(each)),
        )
        recorder.record_rows(
            connection, recorder.build_event_rows(audit_context, context.access.requester.patient)
        )
    return parameters_response(context, parameter("each-access", each))


@router.api_route("/$notice-deliveries", methods=_GET)
def deliveries(context: Authenticated) -> Response:
    """Show the steward how the notices leave: how many in each state, and those that did not."""
    check_parameters(context.request, lenient=parse_preferences(context.request).lenient)
    audit_context = context.begin_audit("operation", "$notice-deliveries")
    if context.access.requester.role != "steward":
        raise Forbidden("Only a steward sees the deliveries.")
    with context.gateway.store.read_transaction() as connection:
        counts = connection.execute(
            "SELECT channel, state, COUNT(*) AS number FROM notice_delivery"
            " GROUP BY channel, state ORDER BY channel, state"
        ).fetchall()
        stuck = connection.execute(
            "SELECT n.id, n.kind, n.made_ms, d.channel, d.state, d.tries, d.fault"
            " FROM notice_delivery d JOIN notice n ON n.id = d.notice"
            " WHERE d.state <> 'sent' ORDER BY n.made_ms DESC LIMIT ?",
            (_MOST,),
        ).fetchall()
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    return parameters_response(
        context,
        *({"name": "count", "part": [parameter(name, row[name]) for name in row.keys()]}
          for row in counts),
        *({"name": "delivery", "part": _stuck(row)} for row in stuck),
    )  # fmt: skip


def _reader(context: RequestContext) -> str:
    requester = context.access.requester
    if requester.role == "patient" and requester.patient:
        return patient_reader(requester.patient)
    if requester.role == "carer":
        return f"person/{requester.person}"
    raise Forbidden("Notices are for patients and carers.")


def _told(
    connection: Connection, context: RequestContext, row: Row, language: str
) -> dict[str, Any]:
    parts = [
        parameter("id", row["id"]),
        parameter("kind", row["kind"]),
        parameter("patient", row["patient"]),
        parameter(
            "text", describe_notice(connection, row, language, secret=context.gateway.form_secret)
        ),
        {"name": "at", "valueInstant": instant(row["made_ms"])},
    ]
    if row["request"]:
        parts.append(parameter("request", row["request"]))
    return {"name": "notice", "part": parts}


def _stuck(row: Row) -> list[dict[str, Any]]:
    words = [parameter(name, row[name]) for name in ("id", "kind", "channel", "state", "tries")]
    fault = [parameter("fault", row["fault"])] if row["fault"] else []
    return [*words, *fault, {"name": "at", "valueInstant": instant(row["made_ms"])}]
