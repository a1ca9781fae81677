"""`$reindex`: how far the index of an added search parameter is."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.store.reindex import ReindexProgress, reindex_progress
from ehr_privacy.consent import load_roles

OPERATION = Operation(
    name="reindex",
    summary="Say for each resource type how many resources are indexed, of how many there were.",
    levels=("instance",),
    resource_types=("SearchParameter",),
    affects_state=False,
    callers="an administrator, the platform's own program",
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with an `index` for each type."""
    requester = call.context.access.requester
    is_platform = requester.role == "system" and requester.organization == load_roles().platform
    if requester.role != "administrator" and not is_platform:
        raise Forbidden("Only an administrator sees how far an index is.")
    with call.context.gateway.store.read_transaction() as connection:
        indexes = reindex_progress(connection, call.logical_id)
    if not indexes:
        raise NotFound("There is no active SearchParameter with this id.")
    call.record()
    return call.respond(*(_index_parameter(index) for index in indexes))


def _index_parameter(index: ReindexProgress) -> dict[str, object]:
    return {
        "name": "index",
        "part": [
            {"name": "type", "valueCode": index.type},
            {"name": "code", "valueCode": index.code},
            {"name": "state", "valueCode": index.state},
            {"name": "done", "valueInteger": index.done},
            {"name": "total", "valueInteger": index.total},
        ],
    }
