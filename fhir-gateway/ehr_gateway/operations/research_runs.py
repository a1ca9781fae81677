"""`$research-runs`: the runs of a project, how far they are, and their log."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    PEOPLE,
    begin_work,
    build_run_parameter,
    read_query,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_work import ResearchPerson, ResearchWork, RunPage
from ehr_gateway.search.cursor import open_cursor, seal_cursor

OPERATION = Operation(
    name="research-runs",
    summary="List the runs of a research project with their state and the platform's log of each.",
    levels=("system",),
    affects_state=False,
    callers=f"{PEOPLE}; {CHECKERS}",
    parameters=(
        Parameter("project", "id", "The project, as `$research-projects` lists it", 1),
        Parameter("run", "id", "This one alone"),
        Parameter("_count", "integer", "Runs of a page: 25, at most 100"),
        Parameter("_cursor", "string", "Where the page begins: `next` of the page before"),
    ),
    required_scope=None,
)
_DEFAULT_COUNT, _MOST_COUNT = "25", 100


def answer(call: OperationCall) -> Response:
    """Answer with a `run` for each, newest first, and with `next` where there are older ones."""
    work, person = begin_work(call.context, checkers=True)
    sent = read_query(call, "project")
    project = sent["project"]
    # One list in each cursor: it leads nobody into another project's.
    key, scope = call.context.gateway.store.cursor_key, ["research-runs", project]
    older = _open_cursor(key, scope, sent["_cursor"]) if "_cursor" in sent else None
    page = _fetch_page(work, person, sent, older)
    call.record(entities=name_audit_entities(project))
    following = []
    if page.older is not None:
        following.append(parameter("next", seal_cursor(key, scope, [page.older])))
    return call.respond(*map(build_run_parameter, page.runs), *following)


def _fetch_page(
    work: ResearchWork, person: ResearchPerson, sent: dict[str, str], older: int | None
) -> RunPage:
    if "run" in sent:
        return RunPage((work.find_run(person, sent["project"], sent["run"]),), None)
    count = sent.get("_count", _DEFAULT_COUNT)
    if not (count.isascii() and count.isdigit() and len(count) < 9 and int(count) > 0):
        raise Invalid("The parameter _count is a whole number above zero.", expression="_count")
    return work.list_runs(person, sent["project"], min(int(count), _MOST_COUNT), older)


def _open_cursor(key: bytes, scope: list[str], cursor: str) -> int:
    (position,) = open_cursor(key, scope, cursor)
    if not isinstance(position, int):
        raise Invalid("The parameter _cursor is not of this list.", expression="_cursor")
    return position
