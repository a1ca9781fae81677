"""Allergies in the order of danger: severe reactions and high risk first, then medicines.

Criticality is the possible harm next time, severity how bad one reaction was; each is told as what
it is and none is worked out from the other. Anaphylaxis, severe by what it is, is told as such.
"""

from __future__ import annotations

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.display import Text
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, NEUTRAL, Flag

# Code systems of medicines: RxNorm, ATC, NDC.
_DRUG_SYSTEMS = frozenset(
    {
        "http://www.nlm.nih.gov/research/umls/rxnorm",
        "http://www.whocc.no/atc",
        "http://hl7.org/fhir/sid/ndc",
    }
)
_SEVERITY_WORDS = {
    "severe": (CRITICAL, N_("Severe reaction before")),
    "moderate": (ATTENTION, N_("Moderate reaction before")),
    "mild": (NEUTRAL, N_("Mild reaction before")),
}
# SNOMED CT: anaphylaxis, and anaphylaxis caused by a substance.
_ANAPHYLAXIS_CODES = frozenset({"39579001", "417516000"})
_ANAPHYLAXIS_WORDS = ("anaphyla", "過敏性休克", "过敏性休克")


def worst_severity(allergy: Resource) -> str:
    """Return the severity of the worst reaction; empty where none is recorded.

    >>> worst_severity({"reaction": [{"severity": "mild"}, {"severity": "severe"}]})
    'severe'
    """
    recorded = {reaction.get("severity") for reaction in allergy.get("reaction", ())}
    return next((severity for severity in _SEVERITY_WORDS if severity in recorded), "")


def had_anaphylaxis(allergy: Resource) -> bool:
    """Return whether a reaction was anaphylaxis, which is severe whether or not anybody said so.

    >>> had_anaphylaxis({"reaction": [{"manifestation": [{"text": "Anaphylactic shock"}]}]})
    True
    """
    manifestations = [
        concept
        for reaction in allergy.get("reaction", ())
        for concept in reaction.get("manifestation", ())
    ]
    codings = [coding for concept in manifestations for coding in concept.get("coding", ())]
    names = [str(concept.get("text", "")) for concept in manifestations]
    names += [str(coding.get("display", "")) for coding in codings]
    return any(coding.get("code") in _ANAPHYLAXIS_CODES for coding in codings) or any(
        word in name.lower() for name in names for word in _ANAPHYLAXIS_WORDS
    )


def allergy_flags(allergy: Resource, language: str) -> list[Flag]:
    """Return what a list says of an allergy's danger: past reactions, and risk."""
    flags: list[Flag] = []
    severity = worst_severity(allergy)
    if severity:
        level, word = _SEVERITY_WORDS[severity]
        flags.append(Flag(level, Text(localizer_for(language).translate(word), language)))
    if severity != "severe" and had_anaphylaxis(allergy):
        word = localizer_for(language).translate(N_("Anaphylaxis before"))
        flags.append(Flag(CRITICAL, Text(word, language)))
    criticality = allergy.get("criticality", "")
    if criticality:
        level = CRITICAL if criticality == "high" else NEUTRAL
        text = code_text("AllergyIntolerance.criticality", criticality, language)
        flags.append(Flag(level, text))
    return flags


def is_drug_allergy(allergy: Resource) -> bool:
    """Return whether an allergy is to a medicine, by its category or its code's system."""
    systems = {coding.get("system") for coding in allergy.get("code", {}).get("coding", ())}
    return bool(
        {"medication", "biologic"} & set(allergy.get("category", ())) or systems & _DRUG_SYSTEMS
    )
