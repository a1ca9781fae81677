"""`$viewdefinition-export` of SQL on FHIR v2: views of a project into files, in the background."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.http.view_exports import accepted_response
from ehr_gateway.operations._table_answers import (
    FORMAT,
    PROJECT,
    read_format,
    read_view_name,
    require_research,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_queries import ExportOutput

OPERATION = Operation(
    name="viewdefinition-export",
    summary="Write the approved columns of views into files, to be fetched when they are done.",
    levels=("system",),
    standards={"": "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-export"},
    returns="",
    affects_state=True,
    callers="people of an open research project that may read rows",
    parameters=(
        Parameter(
            "view",
            "BackboneElement",
            "Parts: `viewReference`, the view, or `viewResource`, one of one's own; `name`, that of"
            " its output (the view's if none)",
            1,
            "*",
        ),
        Parameter("clientTrackingId", "string", "A text that the answers repeat"),
        PROJECT,
        FORMAT,
    ),
)
# As many as one export may have; see `ehr_analytics.view_exports`.
_MOST_VIEWS = 20
_LONGEST_TRACKING_ID = 200


def answer(call: OperationCall) -> Response:
    """Start the export; answer with the address of its status."""
    research, login = require_research(call.context)
    sent = call.parse_body(with_parts=("view",))
    tracking_id = sent.optional_text("clientTrackingId")
    if tracking_id is not None and len(tracking_id) > _LONGEST_TRACKING_ID:
        raise Invalid("The clientTrackingId is too long.", expression="Parameters.parameter")
    outputs = []
    for parts in sent.parts("view", _MOST_VIEWS, ("name", "viewReference", "viewResource")):
        outputs.append(_read_output(parts))
    status = research.start_export(
        login,
        sent.text("project"),
        outputs,
        media=read_format(sent),
        tracking_id=tracking_id,
        changed=call.context.gateway.store.list_changed_subjects,
    )
    call.record()
    return accepted_response(call.context, status)


def _read_output(parts: OperationParameters) -> ExportOutput:
    name = parts.optional_text("name")
    if definitions := parts.resources("viewResource", 1):
        if parts.has("viewReference"):
            raise Invalid("Send a viewReference or a viewResource.", expression="Parameters")
        return ExportOutput("", name or str(definitions[0].get("name", "view")), definitions[0])
    view = read_view_name(parts)
    return ExportOutput(view, name or view)
