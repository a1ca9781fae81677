"""`$breach-report`: whose records a suspended or suspected party reached in a period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval, format_instant
from ehr_fhir.errors import Invalid
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.audit_log.reached_patients import ReachedPatient
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._breaches import find_breach
from ehr_gateway.operations._suspensions import ROLES_READING_SUSPENSIONS
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
    breach = find_breach(context, kind, named, since, until)
    # Who is in the report finds it in their own log, as somebody who is counted does.
    context.access.inquiry.count_patients(found.patient for found in breach.reached)
    call.record()
    return call.respond(
        {"name": "kind", "valueCode": kind},
        *([parameter("subject", breach.subject)] if breach.subject else []),
        {"name": "period", "valuePeriod": {
            "start": format_instant(since), "end": format_instant(until)
        }},
        parameter("patients", len(breach.reached)),
        parameter("accesses", sum(found.accesses for found in breach.reached)),
        *({"name": "patient", "part": list(_parts(found))} for found in breach.reached),
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
