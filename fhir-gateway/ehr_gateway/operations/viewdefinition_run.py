"""`$viewdefinition-run` of SQL on FHIR v2: the rows of a view, for the people of a project."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.operations._table_answers import (
    COMMON_PARAMETERS,
    read_format,
    read_limit,
    read_view_name,
    require_research,
    table_response,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="viewdefinition-run",
    summary="Answer the approved columns of a view over the de-identified records.",
    levels=("system",),
    # It writes the project's log, and a body keeps what is asked out of addresses.
    standards={"": "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run"},
    returns="Binary",
    affects_state=True,
    callers="people of an open research project that may read rows",
    parameters=(
        Parameter("viewReference", "string", "The view: `ViewDefinition/` and its name"),
        Parameter("viewResource", "ViewDefinition", "Or a view of one's own"),
        *COMMON_PARAMETERS,
    ),
)


def answer(call: OperationCall) -> Response:
    """Answer with the table in the format asked for."""
    research, login = require_research(call.context)
    sent = call.parse_body()
    project, media, most = sent.text("project"), read_format(sent), read_limit(sent)
    changed = call.context.gateway.store.list_changed_subjects
    if definitions := sent.resources("viewResource", 1):
        if sent.has("viewReference"):
            raise Invalid("Send a viewReference or a viewResource.", expression="Parameters")
        table = research.run_own_view(
            login, project, definitions[0], media=media, most=most, changed=changed
        )
    else:
        view = read_view_name(sent)
        table = research.run_view(login, project, view, media=media, most=most, changed=changed)
    return table_response(call, table)
