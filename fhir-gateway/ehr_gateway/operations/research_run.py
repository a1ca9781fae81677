"""`$research-run`: run a study of a cohort, or own code, in the background."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    PEOPLE,
    begin_work,
    build_run_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="research-run",
    summary="Queue a study of a cohort, or own code, to run on a project's views.",
    levels=("system",),
    affects_state=True,
    callers=PEOPLE,
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("definition", "string", "A cohort with its analyses as TOML; or `code`"),
        Parameter("code", "string", "Python, which reads `tables` and writes into `outputs`"),
        Parameter("output", "string", "A file that the code writes, .csv or .png", 0, "*"),
    ),
    required_scope=None,
)
_MOST_OUTPUTS = 20


def answer(call: OperationCall) -> Response:
    """Queue it, and answer with the run."""
    work, person = begin_work(call.context)
    sent = call.parse_body()
    project = sent.text("project")
    if sent.has("definition") == sent.has("code"):
        raise Invalid("Send a definition, or code.", expression="Parameters.parameter")
    changed = call.context.gateway.store.list_changed_subjects
    if sent.has("code"):
        outputs = sent.texts("output", _MOST_OUTPUTS)
        run = work.start_code(person, project, sent.text("code"), outputs, changed)
    else:
        run = work.start_study(person, project, sent.text("definition"), changed)
    call.record(entities=name_audit_entities(project, run.id))
    return call.respond(build_run_parameter(run))
