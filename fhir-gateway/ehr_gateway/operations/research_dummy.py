"""`$research-dummy`: made-up tables of the shape of a project's views, to write code with."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import PEOPLE, begin_work, read_query
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="research-dummy",
    summary="Fetch made-up tables of the shape of a project's views, from their schemas alone.",
    levels=("system",),
    returns="Binary",
    affects_state=False,
    callers=PEOPLE,
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("people", "integer", "How many persons to make up; 200 when nothing is said"),
    ),
    required_scope=None,
)
_PEOPLE = 200
# Chosen: code is tried on them, not measured.
_MOST_PEOPLE = 5_000


def answer(call: OperationCall) -> Response:
    """Answer with a zip of Parquet files."""
    work, person = begin_work(call.context)
    sent = read_query(call, "project")
    people = sent.get("people", str(_PEOPLE))
    if not (people.isascii() and people.isdigit() and len(people) < 6):
        raise Invalid("The parameter people is a number.", expression="people")
    if not 0 < int(people) <= _MOST_PEOPLE:
        raise Invalid(f"The parameter people is from 1 to {_MOST_PEOPLE}.", expression="people")
    content = work.make_dummy_tables(person, sent["project"], int(people))
    call.record(entities=name_audit_entities(sent["project"]))
    headers = {"Content-Disposition": 'attachment; filename="dummy-tables.zip"'}
    return Response(content, media_type="application/zip", headers=headers)
