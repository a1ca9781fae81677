"""`$everything`: the whole record of a patient, or all of one encounter, page by page."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.operations._record_answer import answer_record_page
from ehr_gateway.operations._record_parameters import PAGING
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="everything",
    summary="Return all that the caller may see of a patient's record, or of one encounter.",
    levels=("instance",),
    resource_types=("Patient", "Encounter"),
    standards={
        "Patient": "http://hl7.org/fhir/OperationDefinition/Patient-everything",
        "Encounter": "http://hl7.org/fhir/OperationDefinition/Encounter-everything",
    },
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="whoever may search these records",
    parameters=(
        Parameter("start", "date", "Care on this day or later", resource_types=("Patient",)),
        Parameter("end", "date", "Care on this day or earlier", resource_types=("Patient",)),
        *PAGING,
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with one page: the matches, and what they refer to as includes."""
    return answer_record_page(call)
