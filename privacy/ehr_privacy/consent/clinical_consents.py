"""Consents that are clinical documents: advance directives and consents to treatment.

R4's Consent serves both: decisions about who sees a record, which are rules here, and decisions
about care, which clinicians have to read. The scope tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_privacy.consent.provision import EHR_SYSTEM, concept_codes, list_objects

__all__ = ["CATEGORY", "SCOPE", "is_clinical_consent"]

Json = Mapping[str, Any]  # JSON of every shape

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
CATEGORY = f"{EHR_SYSTEM}/CodeSystem/consent-category"
_CLINICAL = frozenset({(SCOPE, "adr"), (SCOPE, "treatment")})
_OF_RULES = frozenset({"patient-privacy", "research"})


def is_clinical_consent(consent: Json) -> bool:
    """Say whether a Consent is a clinical document; in doubt it is not, and stays closed.

    Neither its status nor its provision matter: a rule that is not in force is still a rule.

    >>> is_clinical_consent({"scope": {"coding": [{"system": SCOPE, "code": "adr"}]}})
    True
    >>> is_clinical_consent({"scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]}})
    False
    """
    codes = concept_codes(consent.get("scope"))
    return (
        bool(codes & _CLINICAL)
        and not any(code in _OF_RULES or system is None for system, code in codes)
        and not _has_category_of_rules(consent)
    )


def _has_category_of_rules(consent: Json) -> bool:
    """Say whether a Consent has a category that only this server's rules have."""
    return any(
        system == CATEGORY
        for item in list_objects(consent.get("category"))
        for system, _ in concept_codes(item)
    )
