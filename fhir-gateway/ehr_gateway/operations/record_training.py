"""`$record-training`: a steward records what training somebody who works with data took."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Unprocessable
from ehr_gateway.accounts.accounts import find_person, list_names_of_person
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    build_researcher_parameter,
    parse_day,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_projects import Training

OPERATION = Operation(
    name="record-training",
    summary="Record the affiliation and a training of somebody who works with data.",
    levels=("system",),
    affects_state=True,
    callers="a steward, of somebody else",
    parameters=(
        Parameter("person", "string", "Log-in of a researcher or clinician", 1),
        Parameter("course", "string", "The course; its newest record counts", 1),
        Parameter("affiliation", "string", "Where they belong"),
        Parameter("day", "date", "When it was taken"),
        Parameter("expires", "date", "The first day on which it holds no more"),
        Parameter("withdraw", "boolean", "Take the course off their record instead"),
    ),
    required_scope=None,
)
_RECORDER_ROLES = frozenset({"steward"})


def answer(call: OperationCall) -> Response:
    """Record it, and answer with what is on record of the person then."""
    context = call.context
    projects = require_projects(context, _RECORDER_ROLES)
    sent = call.parse_body()
    with context.gateway.store.read_transaction() as connection:
        person = find_person(connection, sent.text("person"), APPLICANT_ROLES)
        names = list_names_of_person(connection, context.caller.subject.login)
    if person is None:
        raise Unprocessable(
            "There is no account of a researcher or clinician of this name.", expression="person"
        )
    course, recorder = sent.plain_text("course", 2), context.access.requester.person
    if sent.optional_boolean("withdraw"):
        researcher = projects.withdraw_training(person, course, recorder, names)
    else:
        training = Training(course, parse_day(sent, "day"), parse_day(sent, "expires"))
        affiliation = sent.plain_text("affiliation", 2)
        researcher = projects.record_training(person, affiliation, training, recorder, names)
    call.record()
    return call.respond(build_researcher_parameter(researcher))
