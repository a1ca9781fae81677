"""`$settle`: a steward's verdict on one item of the worklist of unusual access."""

from __future__ import annotations

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.worklist import VERDICTS, find_items, settle_item
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.operations._worklist_tasks import require_role, task_of
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="settle",
    summary="Settle one item of the worklist, once, with a verdict and a note.",
    levels=("type",),
    resource_types=("AuditEvent",),
    returns="Task",
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("item", "id", "The item, as `$worklist` lists it", 1),
        Parameter("verdict", "code", "`in-order`, `mistake` or `breach`", 1),
        Parameter("note", "string", "Why, in the steward's words", 1),
    ),
    required_scope=None,
    audit_code="audit-settle",
    audit_query="AuditEvent/$settle",
)
_LONGEST_NOTE = 2000


def answer(call: OperationCall) -> Response:
    """Store the verdict; answer with the Task as it stands then."""
    context = call.context
    require_role(context, frozenset({"steward"}))
    item, verdict, note = _parse_settlement(call.body)
    login, now = context.caller.subject.login, context.access.now_ms
    with context.gateway.store.write_transaction() as connection:
        if not settle_item(connection, item, verdict, note, login, now):
            if find_items(connection, identity=item):
                raise Conflict("This item is settled already.")
            raise NotFound("There is no such item.")
        (settled,) = find_items(connection, identity=item)
        recorder.record_rows(
            connection,
            recorder.build_event_rows(
                call.audit_context, None, entities=[f"Task/{item}"], reason=f"settled {verdict}"
            ),
        )
    return fhir_response(orjson.dumps(task_of(settled)), pretty=call.preferences.pretty)


def _parse_settlement(body: bytes) -> tuple[str, str, str]:
    """Return item, verdict and note; other parameters are passed over."""
    parameters = parse(body).get("parameter", ())
    sent: dict[str, str] = {}
    for part in parameters if isinstance(parameters, list) else ():
        value = part.get("valueString", part.get("valueCode")) if isinstance(part, dict) else None
        if isinstance(value, str):
            sent[str(part.get("name"))] = value
    note = sent.get("note", "").strip()
    if not sent.get("item"):
        raise Invalid("item is missing.", expression="Parameters.parameter.where(name='item')")
    if sent.get("verdict") not in VERDICTS:
        raise Invalid(
            f"verdict must be one of {', '.join(VERDICTS)}.",
            expression="Parameters.parameter.where(name='verdict')",
        )
    if not note or len(note) > _LONGEST_NOTE or "\0" in note:
        raise Invalid(
            f"note must say why, in at most {_LONGEST_NOTE} characters.",
            expression="Parameters.parameter.where(name='note')",
        )
    return sent["item"], sent["verdict"], note
