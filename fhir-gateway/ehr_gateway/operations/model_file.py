"""`$model-file`: the card or report of a model's version, as it was signed."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.operations._models import READERS, require_register
from ehr_gateway.operations._research_work import read_query
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="model-file",
    summary="Fetch a file of a version of a model, such as its card or its report.",
    levels=("system",),
    returns="Binary",
    affects_state=False,
    callers="a steward, an auditor, a researcher, a clinician",
    parameters=(
        Parameter("task", "string", "The task, as `$models` lists it", 1),
        Parameter("version", "integer", "The number of the version", 1),
        Parameter("file", "string", "The name of the file", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with the bytes, to be saved."""
    register = require_register(call.context, READERS)
    sent = read_query(call, "task", "version", "file")
    number = sent["version"]
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Invalid("The number of a version is needed.", expression="version")
    content, media_type = register.read_file(sent["task"], int(number), sent["file"])
    call.record()
    headers = {
        # A file of this name is there: it has no quote or line break.
        "Content-Disposition": f'attachment; filename="{sent["file"]}"',
        "Cache-Control": "no-store",
    }
    return Response(content, media_type=media_type, headers=headers)
