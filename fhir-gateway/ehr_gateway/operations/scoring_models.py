"""`$scoring-models`: which version of each model scores now, for whoever shows a score."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="scoring-models",
    summary="Tell which version of each model scores now.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor, a researcher, a clinician, a program",
    required_scope=None,
)
# A program, such as an organisation's own system, may read assessments too.
_CALLERS = frozenset({"steward", "auditor", "researcher", "clinician", "system"})


def answer(call: OperationCall) -> Response:
    """Answer with a `model` each; with none where nothing scores."""
    context = call.context
    if context.access.requester.role not in _CALLERS:
        raise Forbidden(f"This is for {', '.join(sorted(_CALLERS))}.")
    register = context.gateway.models
    scoring = {} if register is None else register.find_scoring()
    call.record()
    return call.respond(
        *(
            {
                "name": "model",
                "part": [parameter("task", task), parameter("version", number)],
            }
            for task, number in sorted(scoring.items())
        )
    )
