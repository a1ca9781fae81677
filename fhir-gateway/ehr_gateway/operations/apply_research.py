"""`$apply-research`: save the application of a research project, and hand it in."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Unprocessable
from ehr_gateway.accounts.accounts import find_person
from ehr_gateway.http.operation_parameters import require_plain_text
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    build_project_parameter,
    name_audit_entities,
    parse_day,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_projects import ProjectApplication

OPERATION = Operation(
    name="apply-research",
    summary="Save the application of a research project as a draft, or hand it in for approval.",
    levels=("system",),
    affects_state=True,
    callers="a researcher, a clinician",
    parameters=(
        Parameter("project", "id", "The id that the project shall have, or a draft's own", 1),
        Parameter("title", "string", "Title", 1),
        Parameter("purpose", "string", "The question, in a sentence", 1),
        Parameter("ethics", "string", "Reference of the ethics approval", 1),
        Parameter("item", "string", "A column, as `view.column`", 1, "*"),
        Parameter("justification", "string", "`view: why its columns are needed`", 0, "*"),
        Parameter("person", "string", "Log-in of somebody who works with the data", 1, "*"),
        Parameter("from", "date", "First day", 1),
        Parameter("to", "date", "Last day", 1),
        Parameter(
            "dates",
            "code",
            "Form in which dates are read: quarter (the default), month, episode or shift",
        ),
        Parameter(
            "rare-code-persons",
            "integer",
            "A code that fewer persons have is read as a broader one or not at all; more than the"
            " platform's number, which holds otherwise",
        ),
        Parameter("submit", "boolean", "Whether it is handed in; a draft stays one otherwise"),
    ),
    required_scope=None,
)
_MOST_ITEMS = 60
_MOST_PERSONS = 1_000_000


def answer(call: OperationCall) -> Response:
    """Save, hand in where that is asked for, and answer with the project."""
    projects = require_projects(call.context, APPLICANT_ROLES)
    sent = call.parse_body()
    application = ProjectApplication(
        id=sent.text("project"),
        title=sent.plain_text("title", 4),
        purpose=sent.plain_text("purpose", 10),
        ethics=sent.plain_text("ethics", 2),
        items=sent.texts("item", _MOST_ITEMS),
        justifications=dict(map(_split_justification, sent.texts("justification", _MOST_ITEMS))),
        people=_resolve_people(call, sent.texts("person", _MOST_ITEMS)),
        first_day=parse_day(sent, "from"),
        last_day=parse_day(sent, "to"),
        dates=sent.optional_text("dates") or "quarter",
        rare_code_persons=sent.optional_integer("rare-code-persons", 0, _MOST_PERSONS) or 0,
    )
    applicant = call.context.access.requester.person
    project = projects.save_draft(applicant, application)
    if sent.optional_boolean("submit"):
        project = projects.submit(applicant, application.id)
    call.record(entities=name_audit_entities(application.id))
    return call.respond(build_project_parameter(project))


def _split_justification(text: str) -> tuple[str, str]:
    view, colon, reason = text.partition(":")
    if not colon or not reason.strip():
        raise Unprocessable(
            "A justification is `view: why its columns are needed`.", expression="justification"
        )
    return view.strip(), require_plain_text(reason, "justification", 4)


def _resolve_people(call: OperationCall, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the people by whom tokens and the log name them; refuse who has no such account."""
    people = []
    with call.context.gateway.store.read_transaction() as connection:
        for name in names:
            person = find_person(connection, name, APPLICANT_ROLES)
            if person is None:
                raise Unprocessable(
                    "One of the people has no account of a researcher or clinician here.",
                    expression="person",
                )
            people.append(person)
    return tuple(dict.fromkeys(people))
