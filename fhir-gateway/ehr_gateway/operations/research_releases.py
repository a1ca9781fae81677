"""`$research-releases`: requests for release, what the checks said, and the steps on record."""

from __future__ import annotations

from itertools import chain

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    PEOPLE,
    begin_work,
    build_release_parameter,
    read_query,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="research-releases",
    summary="List requests for release: to people those of their projects, to checkers all others.",
    levels=("system",),
    affects_state=False,
    callers=f"{PEOPLE}; {CHECKERS}",
    parameters=(
        Parameter("project", "id", "Those of one project"),
        Parameter("release", "id", "This one alone"),
        Parameter("waiting", "boolean", "Those that wait for checkers, or that do not"),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `release` for each, oldest first."""
    work, person = begin_work(call.context, checkers=True)
    sent = read_query(call)
    waiting = sent.get("waiting")
    if waiting not in (None, "true", "false"):
        raise Invalid("The parameter waiting is true or false.", expression="waiting")
    if "release" in sent:
        releases = [work.find_release(person, sent["release"])]
    else:
        releases = list(work.list_releases(person, sent.get("project", "")))
    if waiting is not None:
        releases = [one for one in releases if (one.state == "waiting") == (waiting == "true")]
    shown = (name_audit_entities(release.project, release.id) for release in releases)
    call.record(entities=chain.from_iterable(shown))
    return call.respond(*map(build_release_parameter, releases))
