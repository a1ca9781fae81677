"""`$decide-model`: promote a version of a model, put it in shadow, or roll back."""

from __future__ import annotations

from contextlib import suppress

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unavailable
from ehr_gateway.accounts.accounts import list_names_of_person
from ehr_gateway.audit_log.lineage import record_new_lineage
from ehr_gateway.operations._models import DECIDERS, require_register
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

_WITH_VERSION, _WITHOUT = ("promote", "shadow"), ("roll-back", "end-shadow")

OPERATION = Operation(
    name="decide-model",
    summary="Propose or confirm a version that scores, put one in shadow, end the shadow, roll"
    " back.",
    levels=("system",),
    affects_state=True,
    callers="a steward, an auditor; two people for a promotion",
    parameters=(
        Parameter("task", "string", "The task, as `$models` lists it", 1),
        Parameter("action", "code", "`promote`, `roll-back`, `shadow` or `end-shadow`", 1),
        Parameter("version", "string", "The number of the version, to promote or to shadow"),
        Parameter("reason", "string", "Why; others read it", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Take the step; of a promotion the second person's confirms the first's."""
    context = call.context
    register = require_register(context, DECIDERS)
    sent = call.parse_body()
    task = sent.text("task")
    action = sent.code("action", (*_WITH_VERSION, *_WITHOUT))
    number = sent.optional_text("version")
    if (number is None) == (action in _WITH_VERSION):
        raise Invalid("A version is told to promote it or to shadow it, else none.")
    if number is not None and not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Invalid("The number of a version is needed.")
    reason = call.parse_reason(sent)
    with context.gateway.store.read_transaction() as connection:
        names = list_names_of_person(connection, context.caller.subject.login)
    who = context.access.requester.person or context.caller.subject.login
    register.decide(action, task, None if number is None else int(number), who, names, reason)
    # Where the log cannot be written now it is told within a second: until then nothing scores by
    # what was decided.
    with suppress(Unavailable):
        record_new_lineage(
            context.gateway.store.database,
            register.decisions,
            context.gateway.clock,
            program="models",
        )
    call.record()
    return call.respond()
