"""`$breach-report`: whose records a suspended or suspected party reached in a period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval, format_instant
from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.reached_patients import ReachedPatient, find_reached_patients
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._suspensions import (
    ROLES_READING_SUSPENSIONS,
    require_role,
    resolve_subject,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.tokens.suspensions import KINDS

OPERATION = Operation(
    name="breach-report",
    summary="List the patients whose records a person, an organisation, a client or emergency"
    " access reached in a period.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor",
    parameters=(
        Parameter("kind", "code", "`person`, `organization`, `client` or `emergency`", 1),
        Parameter("subject", "string", "A log-in, or the id of it; none with `emergency`"),
        Parameter("from", "dateTime", "The first instant", 1),
        Parameter("until", "dateTime", "The instant after the last; now if unsaid"),
    ),
    required_scope=None,
)
_ROLES = ROLES_READING_SUSPENSIONS - {"administrator"}


def answer(call: OperationCall) -> Response:
    """List them with counts; each is on record as counted, by the log's own rules."""
    context = call.context
    require_role(context, _ROLES)
    sent = dict(call.query)
    kind, named = sent.get("kind", ""), sent.get("subject", "")
    if kind not in KINDS or bool(named) == (kind == "emergency"):
        raise Invalid(f"`kind` is one of {', '.join(KINDS)}; all but emergency name a subject.")
    if "from" not in sent:
        raise Invalid("Say from when.", expression="from")
    since = datetime_interval(sent["from"])[0]
    until = datetime_interval(sent["until"])[0] if "until" in sent else context.access.now_ms + 1
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        # Of an account or a client that is no more, the log still tells.
        subject = resolve_subject(connection, kind, named) or named
        reached = find_reached_patients(connection, kind, subject, since, until)
    # Who is in the report finds it in their own log, as somebody who is counted does.
    context.access.inquiry.count_patients(found.patient for found in reached)
    call.record()
    return call.respond(
        {"name": "kind", "valueCode": kind},
        *([parameter("subject", subject)] if subject else []),
        {"name": "period", "valuePeriod": {
            "start": format_instant(since), "end": format_instant(until)
        }},
        parameter("patients", len(reached)),
        parameter("accesses", sum(found.accesses for found in reached)),
        *({"name": "patient", "part": list(_parts(found))} for found in reached),
    )  # fmt: skip


def _parts(found: ReachedPatient) -> Iterator[dict[str, Any]]:
    yield {"name": "patient", "valueReference": {"reference": f"Patient/{found.patient}"}}
    yield {
        "name": "period",
        "valuePeriod": {
            "start": format_instant(found.first_ms), "end": format_instant(found.last_ms)
        },
    }  # fmt: skip
    yield parameter("accesses", found.accesses)
    yield parameter("changes", found.changes)
    yield parameter("emergency", found.by_emergency)
    yield from ({"name": "domain", "valueCode": domain} for domain in sorted(found.domains))
