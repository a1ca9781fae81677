"""The patient's choice about research: a Consent of category `research`, read and written. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.sharing.consents import (
    build_consent,
    consent_category,
    deactivate_consent,
    format_instant,
    is_in_force,
    provision_of,
)

__all__ = ["allow_research", "has_opted_out", "refuse_research"]


def has_opted_out(consents: Iterable[Resource], now: datetime) -> bool:
    """Return whether the patient keeps their record out of research."""
    return bool(_refusals(consents, now))


def refuse_research(consents: Iterable[Resource], patient: str, now: datetime) -> list[Resource]:
    """Return the Consents to write so that the record is not used; none if it is so already."""
    consents = list(consents)
    if _refusals(consents, now):
        return []
    provision = {"type": "deny", "period": {"start": format_instant(now)}}
    # The same Consent is used again, so that its history is the whole story of the choice.
    for consent in consents:
        if consent_category(consent) == "research":
            return [{**consent, "status": "active", "provision": provision}]
    return [build_consent("research", patient, now, provision)]


def allow_research(consents: Iterable[Resource], now: datetime) -> list[Resource]:
    """Return the Consents to write so that the record may be used again."""
    return [deactivate_consent(consent) for consent in _refusals(consents, now)]


def _refusals(consents: Iterable[Resource], now: datetime) -> list[Resource]:
    return [
        consent
        for consent in consents
        if consent_category(consent) == "research"
        and is_in_force(consent, now)
        and provision_of(consent).get("type") == "deny"
    ]
