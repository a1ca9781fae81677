"""What every Consent of the portal has in common: category, period, recipients, a new one's form.

Pure: no web, no gateway. The gateway turns the Consents into rules; the portal never decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ehr_fhir.dates import date_interval
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource

CATEGORY = f"{JURISDICTION.fhir_base}/CodeSystem/consent-category"
_SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
# Consents about care: clinical documents.
_CLINICAL_SCOPES = frozenset({(_SCOPE, "adr"), (_SCOPE, "treatment")})
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
# LOINC "Patient Consent", as IHE PCF's basic consents have it.
_PATIENT_CONSENT = ("http://loinc.org", "59284-0")
# Information recipient.
RECIPIENT_ROLE = {"coding": [{"system": _PARTICIPATION, "code": "IRCP"}]}


def consent_category(consent: Resource) -> str:
    """Return the code of our category of a Consent; sharing for a general permission (IHE PCF).

    Empty for one that decides nothing about sharing, such as an advance directive, whatever its
    category and provision say.
    """
    scopes = consent.get("scope", {}).get("coding", ())
    if any((scope.get("system"), scope.get("code")) in _CLINICAL_SCOPES for scope in scopes):
        return ""
    codings = [
        coding for concept in consent.get("category", ()) for coding in concept.get("coding", ())
    ]
    is_general = any(
        (coding.get("system"), coding.get("code")) == _PATIENT_CONSENT for coding in codings
    )
    permits = provision_of(consent).get("type") == "permit"
    default = "sharing" if is_general and permits else ""
    return next(
        (coding.get("code", "") for coding in codings if coding.get("system") == CATEGORY), default
    )


def provision_of(consent: Resource) -> Mapping[str, Any]:
    """Return Consent.provision, empty where there is none."""
    provision: Mapping[str, Any] = consent.get("provision", {})
    return provision


def recipient_references(consent: Resource) -> list[str]:
    """Return the references of a Consent's actors; an actor by identifier is the empty string."""
    actors = provision_of(consent).get("actor", ())
    return [str(actor.get("reference", {}).get("reference", "")) for actor in actors]


def active_consents(consents: Iterable[Resource]) -> list[Resource]:
    """Return the Consents of status active, whatever their period."""
    return [consent for consent in consents if consent.get("status") == "active"]


def has_joined(consents: Iterable[Resource]) -> bool:
    """Return whether the patient's account is open."""
    return any(consent_category(consent) == "joining" for consent in active_consents(consents))


def is_in_force(consent: Resource, now: datetime) -> bool:
    """Return whether a Consent is active and its period contains now."""
    if consent.get("status") != "active":
        return False
    period = provision_of(consent).get("period", {})
    start, end = period.get("start") or consent.get("dateTime"), period.get("end")
    now_ms = now.timestamp() * 1000
    # As the gateway counts: a day, month or year holds from its beginning to its end.
    has_begun = not start or date_interval(start)[0] <= now_ms
    return has_begun and not (end and date_interval(end)[1] <= now_ms)


def expired_consents(consents: Iterable[Resource], now: datetime) -> list[Resource]:
    """Return the sharings and restrictions that hold no more, the latest first."""
    expired = [
        consent
        for consent in consents
        if consent_category(consent) in ("sharing", "restriction")
        and not is_in_force(consent, now)
        and not _is_future(consent, now)
    ]
    return sorted(
        expired,
        key=lambda consent: str(consent.get("meta", {}).get("lastUpdated", "")),
        reverse=True,
    )


def deactivate_consent(consent: Resource) -> Resource:
    """Return a Consent of status inactive: it holds no more."""
    return {**consent, "status": "inactive"}


def build_consent(
    category: str, patient: str, now: datetime, provision: Mapping[str, Any]
) -> Resource:
    """Return a new Consent of one of our categories, active from now."""
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": _SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": format_instant(now),
        "policyRule": {"text": f"eHR Commons {category} consent"},
        "provision": provision,
    }


def format_instant(moment: datetime) -> str:
    """Return a moment as a FHIR dateTime, to the second."""
    return moment.isoformat(timespec="seconds")


def _is_future(consent: Resource, now: datetime) -> bool:
    start = provision_of(consent).get("period", {}).get("start")
    is_active = consent.get("status") == "active"
    return bool(is_active and start and date_interval(start)[0] > now.timestamp() * 1000)
