"""A step of the tour: access beyond sharing, asked for, approved, told and reviewed, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ehr_cli.demo.http_client import DemoClient
from ehr_cli.sample import sample_accounts
from ehr_cli.sample.overlay import sample_patients
from ehr_fhir.errors import Fault

if TYPE_CHECKING:
    from ehr_cli.demo.tour import Tour

REASON = "Checking the dose against the last films"


def run_access_requests(tour: Tour) -> tuple[str, str]:
    """Let a pharmacist meet a marker and ask, a doctor declare an emergency, a carer be invited."""
    pharmacist = DemoClient(tour.settings, user="ph.ho")
    patient, domain = _find_withheld_domain(pharmacist)
    own = DemoClient(tour.settings, user=f"p.{patient}")
    asked = pharmacist.call(
        f"Patient/{patient}/$request-access", reason=REASON, domain=domain, hours=24
    )
    own.call("$approve-access", request=_value(asked, "id"))
    if domain in _withheld_domains(pharmacist, patient):
        raise Fault("The patient agreed, and the pharmacist still meets the marker.")

    first = sample_accounts.featured_patients()[0].id
    DemoClient(tour.settings, user="dr.chan").call(
        f"Patient/{first}/$declare-emergency", reason="Brought in unconscious by ambulance"
    )
    invited = DemoClient(tour.settings, user=f"p.{first}").call(
        f"Patient/{first}/$invite-carer", power="both"
    )
    DemoClient(tour.settings, user=sample_accounts.CARER.login).call(
        "$accept-invitation", code=_value(invited, "code")
    )
    waiting = DemoClient(tour.settings, user="steward.ng").read("$access-reviews")["parameter"]
    given = (
        f"a pharmacist sees {domain} for a day, a doctor in an emergency, a carer for good; "
        f"{len(waiting)} accesses for the steward, notices in {tour.settings.data / 'notices'}"
    )
    return "3 requests for access", given


def _find_withheld_domain(pharmacist: DemoClient) -> tuple[str, str]:
    """Return a patient with a marker, radiology before all others."""
    found = [
        (one.id, domain)
        for one in sample_patients()
        for domain in _withheld_domains(pharmacist, one.id)
    ]
    if not found:
        raise Fault("No marker is met anywhere in the sample.")
    return min(found, key=lambda pair: pair[1] != "radiology")


def _withheld_domains(caller: DemoClient, patient: str) -> list[str]:
    told = caller.read(f"Patient/{patient}/$withheld").get("parameter", [])
    return [one["valueCode"] for one in told if one["name"] == "domain"]


def _value(answer: dict[str, Any], name: str) -> str:
    return next(str(one["valueString"]) for one in answer["parameter"] if one["name"] == name)
