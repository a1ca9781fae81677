"""`$counter-patient`: whose identity card it is, for the steward at the counter."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_gateway.access_requests.role_checks import read_patient
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.named_patients import find_person_by_number

OPERATION = Operation(
    name="counter-patient",
    summary="Find the patient of an identity card, whose choice a steward records.",
    levels=("type",),
    resource_types=("Patient",),
    affects_state=True,
    callers="a steward",
    parameters=(Parameter("hkid", "string", "The number of the card, however it is written", 1),),
)


def answer(call: OperationCall) -> Response:
    """Answer with what the card says too, so that the two can be compared; nothing else."""
    if call.context.access.requester.role != "steward":
        raise Forbidden("Only a steward records choices at the counter.")
    number = call.parse_body().text("hkid")
    with call.context.gateway.store.read_transaction() as connection:
        patients = find_person_by_number(connection, number)
        patient = read_patient(connection, patients[0]) if len(patients) == 1 else {}
    for named in patients:
        call.context.access.inquiry.name_target("Patient", named)
    if not patient:
        raise NotFound("There is no one patient with this number.")
    call.record(str(patient["id"]), entities=[f"Patient/{patient['id']}"])
    return call.respond(
        {"name": "patient", "valueReference": {"reference": f"Patient/{patient['id']}"}},
        *({"name": "name", "valueHumanName": name} for name in patient.get("name", ())),
        *(
            parameter(name, patient[element])
            for name, element in (("born", "birthDate"), ("gender", "gender"))
            if element in patient
        ),
    )
