"""`$release-file`: one file of a release, byte for byte as it left."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._research_projects import name_audit_entities
from ehr_gateway.operations._research_work import (
    CHECKERS,
    PEOPLE,
    begin_work,
    read_query,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="release-file",
    summary="Fetch a file: a checker's from the request on, its people's once it is released.",
    levels=("system",),
    returns="Binary",
    affects_state=False,
    callers=f"{PEOPLE}; {CHECKERS}",
    parameters=(
        Parameter("release", "id", "The request, as `$research-releases` lists it", 1),
        Parameter("file", "string", "The name of the file", 1),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with the bytes, to be saved."""
    work, person = begin_work(call.context, checkers=True)
    sent = read_query(call, "release", "file")
    release = work.find_release(person, sent["release"])
    content, media_type = work.read_release_file(person, release.id, sent["file"])
    call.record(entities=name_audit_entities(release.project, release.id))
    # A file of this name is there: it has no quote or line break.
    headers = {
        "Content-Disposition": f'attachment; filename="{sent["file"]}"',
        "Cache-Control": "no-store",
    }
    return Response(content, media_type=media_type, headers=headers)
