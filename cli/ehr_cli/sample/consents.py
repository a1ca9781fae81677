"""The sample's Consents: who joined, who shares with whom, who restricts what.

Chosen by the position of a patient (0 is "the patient" of the demo), so that the mix is the same
each time. All dates are fixed, so a consent for a year expires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ehr_cli.sample.hong_kong import SYSTEM
from ehr_cli.sample.rewrite import with_source

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
CATEGORY = f"{SYSTEM}/fhir/CodeSystem/consent-category"
DOMAIN = f"{SYSTEM}/fhir/CodeSystem/data-domain"
SEALED = f"{SYSTEM}/fhir/StructureDefinition/sealed"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

NOT_JOINED = frozenset({11, 19})
SINGLE_RECORD = 10
RESEARCH_OPT_OUT = frozenset({7})
# Position modulo 6 -> organisation and whether the consent ends after a year.
SHARING = {
    0: (("st-gabriel", False), ("kwun-fong", False)),
    1: (("st-gabriel", False), ("kwun-fong", True)),
    2: (("kwun-fong", False),),
    3: (),
    4: (("st-gabriel", True), ("kwun-fong", False)),
    5: (("kwun-fong", True),),
}
ONE_YEAR = {"start": "2026-06-01", "end": "2027-05-31"}


def sample_consents(patients: Sequence[str], notes: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the Consents of the patients, in order; `notes` names one document of each."""
    for position, patient in enumerate(patients):
        if position in NOT_JOINED:
            continue
        yield build_consent(
            "joining", patient, {"type": "permit", "period": {"start": "2025-12-01"}}
        )
        for organization, for_one_year in SHARING[position % len(SHARING)]:
            yield sharing_consent(
                patient, organization, ONE_YEAR if for_one_year else {"start": "2026-01-05"}
            )
        if position in RESEARCH_OPT_OUT:
            yield build_consent(
                "research", patient, {"type": "deny", "period": {"start": "2026-02-01"}}
            )
        if position in _restrictions():
            yield build_consent("restriction", patient, _restrictions()[position])
        if position == SINGLE_RECORD:
            data = {"meaning": "instance", "reference": {"reference": notes[patient]}}
            yield build_consent("restriction", patient, restriction_provision(data=[data]))


def sharing_consent(patient: str, organization: str, period: dict[str, str]) -> dict[str, Any]:
    """Return a patient's sharing consent for one organisation."""
    provision = {"type": "permit", "period": period, "actor": [_actor(organization)]}
    return build_consent("sharing", patient, provision, organization)


def build_consent(
    category: str, patient: str, provision: dict[str, Any], suffix: str = ""
) -> dict[str, Any]:
    """Return one Consent of a patient in the platform's form."""
    resource = {
        "resourceType": "Consent",
        "id": "-".join(filter(None, (category, patient, suffix))),
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": provision["period"]["start"],
        "policyRule": {"text": "Electronic Health System Ordinance (Cap. 625)"},
        "provision": provision,
    }
    return with_source(resource, "ehr-commons")


def restriction_provision(**selector: Any) -> dict[str, Any]:
    """Return the provision of a restriction; without a selector it closes everything.

    The keywords are elements of Consent.provision, hence Any.
    """
    return {"type": "deny", "period": {"start": "2026-03-01"}, **selector}


def domain_coding(code: str) -> dict[str, str]:
    """Return a data domain as a Coding."""
    return {"system": DOMAIN, "code": code}


def _restrictions() -> dict[int, dict[str, Any]]:
    return {
        2: restriction_provision(**{"class": [domain_coding("laboratory")]}),
        4: restriction_provision(actor=[_actor("ha-harbour")]),
        6: restriction_provision(
            **{"class": [domain_coding("diagnosis")]}, provision=[_exception_for("ha-lion-rock")]
        ),
        8: restriction_provision(
            extension=[{"url": SEALED, "valueBoolean": True}],
            **{"class": [domain_coding("medication")]},
        ),
    }


def _exception_for(organization: str) -> dict[str, Any]:
    return {"type": "permit", "actor": [_actor(organization)]}


def _actor(organization: str) -> dict[str, Any]:
    return {
        "role": {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]},
        "reference": {"reference": f"Organization/{organization}"},
    }
