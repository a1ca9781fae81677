"""`$models`: the platform's models, how good they are, which version scores, and who decided so."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.html.pages import choose_language
from ehr_gateway.operations._models import READERS, build_model_parameter, require_register
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="models",
    summary="List the models: versions, gates and results, decisions, and alarms of the watch.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor, a researcher, a clinician",
    parameters=(
        Parameter(
            "language",
            "code",
            "Of titles and verdicts, one of the languages of the pages; else English",
        ),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `model` each."""
    register = require_register(call.context, READERS)
    language = choose_language(dict(call.query).get("language", "en"), "")
    models = register.list_models(language)
    call.record()
    return call.respond(*map(build_model_parameter, models))
