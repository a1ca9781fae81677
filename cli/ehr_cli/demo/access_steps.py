"""A step of the tour: access beyond sharing is requested, approved, notified and reviewed."""

from __future__ import annotations

from typing import Any

from ehr_cli.demo.http_client import DemoClient
from ehr_cli.demo.tour_state import StepResult, Tour
from ehr_cli.sample import sample_accounts
from ehr_cli.sample.overlay import sample_patients
from ehr_fhir.errors import Fault

REASON = "Checking the dose against the last films"


def run_access_requests(tour: Tour) -> StepResult:
    """Let a pharmacist request access, a doctor declare an emergency, and a carer be invited."""
    pharmacist = DemoClient(tour.settings, user="ph.ho")
    withholding_patient_id, domain = _find_withheld_domain(pharmacist)
    _request_and_approve(tour, pharmacist, withholding_patient_id, domain)

    patient_id = sample_accounts.featured_patients()[0].id
    DemoClient(tour.settings, user="dr.chan").invoke(
        f"Patient/{patient_id}/$declare-emergency", reason="Brought in unconscious by ambulance"
    )
    invitation = DemoClient(tour.settings, user=f"p.{patient_id}").invoke(
        f"Patient/{patient_id}/$invite-carer", power="both"
    )
    DemoClient(tour.settings, user=sample_accounts.CARER.login).invoke(
        "$accept-invitation", code=_value(invitation, "code")
    )
    reviews = DemoClient(tour.settings, user="steward.ng").read("$access-reviews")["parameter"]
    output = (
        f"a pharmacist sees {domain} for a day, a doctor in an emergency, a carer for good; "
        f"{len(reviews)} accesses for the steward, notices in {tour.settings.data / 'notices'}"
    )
    return StepResult("3 requests for access", output)


def _request_and_approve(tour: Tour, pharmacist: DemoClient, patient_id: str, domain: str) -> None:
    access_request = pharmacist.invoke(
        f"Patient/{patient_id}/$request-access", reason=REASON, domain=domain, hours=24
    )
    patient = DemoClient(tour.settings, user=f"p.{patient_id}")
    patient.invoke("$approve-access", request=_value(access_request, "id"))
    if domain in _withheld_domains(pharmacist, patient_id):
        raise Fault("The patient agreed, and the pharmacist still meets the marker.")


def _find_withheld_domain(pharmacist: DemoClient) -> tuple[str, str]:
    """Return a patient's id and a domain withheld there, radiology if there is one."""
    candidates = [
        (patient.id, domain)
        for patient in sample_patients()
        for domain in _withheld_domains(pharmacist, patient.id)
    ]
    if not candidates:
        raise Fault("No marker is met anywhere in the sample.")
    return min(candidates, key=lambda candidate: candidate[1] != "radiology")


def _withheld_domains(client: DemoClient, patient_id: str) -> list[str]:
    parameters = client.read(f"Patient/{patient_id}/$withheld").get("parameter", [])
    return [parameter["valueCode"] for parameter in parameters if parameter["name"] == "domain"]


def _value(answer: dict[str, Any], name: str) -> str:
    return next(
        str(parameter["valueString"])
        for parameter in answer["parameter"]
        if parameter["name"] == name
    )
