"""`$release-evidence`: each cell of a request for release, and the rule that hides it."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    begin_work,
    read_query,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.research_work import EvidenceCell

OPERATION = Operation(
    name="release-evidence",
    summary="List each cell of a request for release, or the rule that hides it.",
    levels=("system",),
    affects_state=False,
    callers=CHECKERS,
    parameters=(Parameter("release", "id", "The request, as `$research-releases` lists it", 1),),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `cell` for each."""
    work, person = begin_work(call.context, checkers=True, people=False)
    release = work.find_release(person, read_query(call, "release")["release"])
    cells = work.list_evidence(person, release.id)
    call.record(entities=name_audit_entities(release.project, release.id))
    return call.respond(*map(_build_cell_parameter, cells))


def _build_cell_parameter(cell: EvidenceCell) -> dict[str, Any]:
    parts = {
        "file": cell.file,
        "row": cell.row,
        "column": cell.column,
        "shown": cell.shown,
        "rule": cell.rule,
        "meaning": cell.meaning,
    }
    return {"name": "cell", "part": [parameter(name, text) for name, text in parts.items() if text]}
