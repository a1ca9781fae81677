"""FHIR Consents of step-up, emergency, hold and carer, as ehr_privacy.consent reads them.

Pure functions. People are named by their account, so that no directory entry has to exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = [
    "build_carer_consent",
    "build_carer_restriction",
    "build_emergency_consent",
    "build_hold_consent",
    "build_period",
    "build_step_up_consent",
]

EHR = JURISDICTION.fhir_base
REASON = f"{EHR}/StructureDefinition/access-reason"
REQUEST = f"{EHR}/sid/access-request"
_SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
_RECIPIENT = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}


def build_step_up_consent(
    request: str, patient: str, now_ms: int, *, person: dict[str, Any], organization: str,
    domains: Sequence[str], reason: str,
) -> dict[str, Any]:  # fmt: skip
    """Return a proposed step-up Consent. Approval makes it active and sets its period."""
    provision = {
        "type": "permit",
        "actor": [_build_actor(person), _build_organization_actor(organization)],
        "class": _build_domain_codings(domains),
    }
    body = _build_consent("step-up", patient, now_ms, provision, request, status="proposed")
    return body | _build_reason_extension(reason)


def build_emergency_consent(
    request: str, patient: str, now_ms: int, until_ms: int, *, person: dict[str, Any],
    organization: str, reason: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the Consent of a declared emergency, for one person of one organisation."""
    provision = {
        "type": "permit",
        "period": build_period(now_ms, until_ms),
        "actor": [_build_actor(person), _build_organization_actor(organization)],
    }
    return _build_consent(
        "emergency", patient, now_ms, provision, request
    ) | _build_reason_extension(reason)


def build_hold_consent(
    request: str, patient: str, now_ms: int, until_ms: int, *, record: str, organization: str
) -> dict[str, Any]:
    """Return the Consent that holds a result back from the patient.

    Without the reason: the patient may read the Consent, and so learns only that a result is held.
    """
    provision = {
        "type": "deny",
        "period": build_period(now_ms, until_ms),
        "actor": [_build_organization_actor(organization)],
        "data": [{"meaning": "instance", "reference": {"reference": record}}],
    }
    return _build_consent("hold", patient, now_ms, provision, request)


def build_carer_consent(
    request: str, patient: str, now_ms: int, until_ms: int | None, *, person: dict[str, Any],
    powers: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the Consent that gives a carer the power to view, to manage, or both."""
    system = f"{EHR}/CodeSystem/carer-power"
    provision = {
        "type": "permit",
        "period": build_period(now_ms, until_ms),
        "actor": [_build_actor(person)],
        "action": [{"coding": [{"system": system, "code": power}]} for power in powers],
    }
    return _build_consent("carer", patient, now_ms, provision, request)


def build_carer_restriction(
    request: str, patient: str, now_ms: int, until_ms: int | None, *, person: dict[str, Any],
    domains: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the restriction Consent that closes some domains to a carer."""
    provision = {
        "type": "deny",
        "period": build_period(now_ms, until_ms),
        "actor": [_build_actor(person)],
        "class": _build_domain_codings(domains),
    }
    return _build_consent("restriction", patient, now_ms, provision, request)


def build_period(since_ms: int, until_ms: int | None) -> dict[str, str]:
    """Return a half-open interval as a FHIR Period, whose end is inclusive.

    >>> build_period(0, 1000)
    {'start': '1970-01-01T00:00:00.000Z', 'end': '1970-01-01T00:00:00.999Z'}
    """
    start = {"start": format_instant(since_ms)}
    return start if until_ms is None else {**start, "end": format_instant(until_ms - 1)}


def _build_consent(
    code: str,
    patient: str,
    now_ms: int,
    provision: dict[str, Any],
    request: str,
    status: str = "active",
) -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "identifier": [{"system": REQUEST, "value": request}],
        "status": status,
        "scope": {"coding": [{"system": _SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": f"{EHR}/CodeSystem/consent-category", "code": code}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": format_instant(now_ms),
        "policyRule": {"text": f"eHR Commons {code} consent"},
        "provision": provision,
    }


def _build_reason_extension(reason: str) -> dict[str, Any]:
    return {"extension": [{"url": REASON, "valueString": reason}]}


def _build_actor(person: dict[str, Any]) -> dict[str, Any]:
    account = {"system": f"{EHR}/sid/account", "value": person["id"]}
    return {
        "role": _RECIPIENT,
        "reference": {"identifier": account, "display": person["display"]},
    }


def _build_organization_actor(name: str) -> dict[str, Any]:
    return {"role": _RECIPIENT, "reference": {"reference": f"Organization/{name}"}}


def _build_domain_codings(domains: Sequence[str]) -> list[dict[str, str]]:
    system = f"{EHR}/CodeSystem/data-domain"
    return [{"system": system, "code": domain} for domain in domains]
