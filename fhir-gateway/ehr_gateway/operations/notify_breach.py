"""`$notify-breach`: tell everybody whose record was reached, in one act that can be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Conflict, Invalid, Unprocessable
from ehr_gateway.access_requests.role_checks import require_role
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.reached_patients import ReachedPatient
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.notices.outbox import Notice, list_readers, queue_notice
from ehr_gateway.operations._breaches import find_breach
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.tokens.suspensions import KINDS

OPERATION = Operation(
    name="notify-breach",
    summary="Send a notice to each patient of a breach report, once.",
    levels=("system",),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("kind", "code", "As in `$breach-report`", 1),
        Parameter("subject", "string", "As in `$breach-report`"),
        Parameter("from", "dateTime", "The first instant", 1),
        Parameter("until", "dateTime", "The instant after the last", 1),
        Parameter("patients", "integer", "How many the report named", 1),
    ),
    required_scope=None,
)
# Patients of one transaction. Chosen: some ten milliseconds, so that other writers hardly wait, and
# what is cut off goes on where it stopped.
_BATCH = 100


def answer(call: OperationCall) -> Response:
    """Queue the notices in batches; each patient finds in their log that they were told."""
    context, sent = call.context, call.parse_body()
    require_role(context, frozenset({"steward"}))
    kind, named = sent.code("kind", KINDS), sent.optional_text("subject") or ""
    if bool(named) == (kind == "emergency"):
        raise Invalid("Name who is meant; nobody for emergency access.", expression="subject")
    since, until = (datetime_interval(sent.text(name))[0] for name in ("from", "until"))
    if since >= until:
        raise Unprocessable("The period ends after it begins.", expression="until")
    breach = find_breach(context, kind, named, since, until)
    reached = breach.reached
    if len(reached) != sent.integer("patients", 0, 10_000_000):
        raise Conflict(f"The report names {len(reached)} patients now. Look at it again.")
    # A later report of the same party from the same instant tells only whom it names anew.
    digest = hashlib.sha256(f"{kind}|{breach.subject}|{since}".encode()).hexdigest()[:32]
    told = 0
    for start in range(0, len(reached), _BATCH):
        with context.gateway.store.write_transaction() as connection:
            batch = reached[start : start + _BATCH]
            told += _queue_notices(connection, call, f"breach:{digest}", batch)
    call.record()
    return call.respond(
        parameter("patients", len(reached)),
        parameter("told", told),
        parameter("told-before", len(reached) - told),
    )


def _queue_notices(
    connection: Connection, call: OperationCall, breach: str, reached: Sequence[ReachedPatient]
) -> int:
    """Queue notices to those patients who were not told of this breach; return how many."""
    now, told = call.context.access.now_ms, 0
    for found in reached:
        cause = f"{breach}:{found.patient}"
        readers = list_readers(connection, found.patient, now)
        if connection.execute(
            "SELECT 1 FROM notice WHERE cause = ?", (f"{cause}|{readers[0]}",)
        ).fetchone():
            continue
        for reader in readers:
            notice = Notice(
                cause, "breach", found.patient, reader, "", None, now, until_ms=found.last_ms
            )
            queue_notice(connection, notice)
        recorder.record_rows(
            connection, recorder.build_event_rows(call.audit_context, found.patient)
        )
        told += 1
    return told
