"""`$merges`: merges of Patients and their undoings, those that wait for a decision first."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests.merge_requests import list_merges
from ehr_gateway.operations._merge_parts import merge_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="merges",
    summary="List merges of Patients and their undoings, with what became of them.",
    levels=("system",),
    affects_state=False,
    callers="a steward",
)


def answer(call: OperationCall) -> Response:
    """Answer with a `merge` for each; whoever is named in one is put on record."""
    with call.context.gateway.store.read_transaction() as connection:
        merges = list_merges(connection, call.context)
    patients = {merge.request.patient for merge in merges} | {merge.target_id for merge in merges}
    for patient in sorted(patients):
        call.record(patient, entities=[f"Patient/{patient}"])
    if not patients:
        call.record()
    now = call.context.access.now_ms
    return call.respond(*({"name": "merge", "part": merge_parts(merge, now)} for merge in merges))
