"""`$decide-release`: a checker's decision or question about a request for release; the answer."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    PEOPLE,
    begin_work,
    build_release_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="decide-release",
    summary="Approve a request for release, return it, ask about it; or answer a question.",
    levels=("system",),
    affects_state=True,
    callers=f"{CHECKERS}; to answer, {PEOPLE}",
    parameters=(
        Parameter("release", "id", "The request, as `$research-releases` lists it", 1),
        Parameter("decision", "code", "`approve`, `return` or `ask`; `answer`", 1),
        Parameter("reason", "string", "Why, or the question, or the answer; others read it", 1),
        Parameter(
            "digest",
            "string",
            "To approve: the `digest` of the files that were read; 409 when they are others",
        ),
        Parameter(
            "unsafe-judged",
            "boolean",
            "Whether an approver of unsafe output judged whom its numbers are about",
        ),
    ),
    required_scope=None,
)
_DECISIONS = ("approve", "return", "ask", "answer")


def answer(call: OperationCall) -> Response:
    """Take the step, and answer with the request; the second of two approvers releases it."""
    work, person = begin_work(call.context, checkers=True)
    sent = call.parse_body()
    decision = sent.code("decision", _DECISIONS)
    if (decision == "answer") == person.is_checker:
        raise Forbidden("Checkers approve, return and ask; people of the project answer.")
    release = work.decide_release(
        person,
        sent.text("release"),
        decision,
        call.parse_reason(sent),
        is_unsafe_judged=sent.optional_boolean("unsafe-judged"),
        digest=sent.text("digest") if decision == "approve" else None,
    )
    call.record(entities=name_audit_entities(release.project, release.id))
    return call.respond(build_release_parameter(release))
