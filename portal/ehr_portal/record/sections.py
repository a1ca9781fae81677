"""The sections of a record: the one list of what a record page shows, and in what order.

A section is one FHIR search; `title` and `none` are translated where they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ehr_portal.i18n import N_


@dataclass(frozen=True)
class Section:
    """One part of the record."""

    key: str
    type: str
    domain: str
    title: str
    none: str
    params: Mapping[str, str] = field(default_factory=dict)
    # How many lines the front page shows.
    first: int = 5
    # On the front page, lines of the same name are told once, with how many there are.
    alike: bool = True
    # Results of the same test are drawn as one line over time.
    trends: bool = False


SECTIONS = (
    Section(
        "allergies",
        "AllergyIntolerance",
        "allergy",
        N_("Allergies"),
        N_("No allergies are recorded."),
        first=8,
    ),
    Section(
        "problems",
        "Condition",
        "diagnosis",
        N_("Health problems"),
        N_("No health problems are recorded."),
        first=6,
    ),
    Section(
        "medicines",
        "MedicationRequest",
        "medication",
        N_("Medicines"),
        N_("No medicines are recorded."),
        {"_include": "MedicationRequest:medication"},
        first=6,
    ),
    Section(
        "immunisations",
        "Immunization",
        "immunisation",
        N_("Immunisations"),
        N_("No immunisations are recorded."),
    ),
    Section(
        "results",
        "Observation",
        "laboratory",
        N_("Test results"),
        N_("No test results are recorded."),
        {"category": "laboratory"},
        first=6,
        trends=True,
    ),
    Section(
        "measurements",
        "Observation",
        "observation",
        N_("Measurements"),
        N_("No measurements are recorded."),
        {"category": "vital-signs"},
        first=6,
        trends=True,
    ),
    Section(
        "visits",
        "Encounter",
        "encounter",
        N_("Visits"),
        N_("No visits are recorded."),
        alike=False,
    ),
    Section(
        "procedures",
        "Procedure",
        "procedure",
        N_("Procedures"),
        N_("No procedures are recorded."),
        first=4,
    ),
    Section(
        "documents",
        "DocumentReference",
        "summary",
        N_("Documents"),
        N_("No documents are recorded."),
        first=4,
    ),
    Section(
        "reports",
        "DiagnosticReport",
        "investigation",
        N_("Reports"),
        N_("No reports are recorded."),
        first=4,
    ),
)
# On a wide screen what a clinician must know stands left; what happened, newest first, right.
LEFT = ("allergies", "problems", "medicines", "immunisations")
BY_KEY = {section.key: section for section in SECTIONS}

# What each kind of record is called in one word, for an item's page and for who looked at what.
KINDS = {
    "AllergyIntolerance": N_("Allergies"),
    "Appointment": N_("Appointments"),
    "CarePlan": N_("Care plans"),
    "CareTeam": N_("Care teams"),
    "Condition": N_("Health problems"),
    "Consent": N_("Sharing choices"),
    "Device": N_("Devices"),
    "DiagnosticReport": N_("Reports"),
    "DocumentReference": N_("Documents"),
    "Encounter": N_("Visits"),
    "ImagingStudy": N_("Scans"),
    "Immunization": N_("Immunisations"),
    "Medication": N_("Medicines"),
    "MedicationAdministration": N_("Medicines"),
    "MedicationRequest": N_("Medicines"),
    "Observation": N_("Results and measurements"),
    "Patient": N_("Personal details"),
    "Procedure": N_("Procedures"),
    "Provenance": N_("Origin of records"),
    "RelatedPerson": N_("Personal details"),
    "RiskAssessment": N_("Risk scores"),
}

# Hong Kong's data domains that a patient may close, in the order of the list.
DOMAINS = {
    "allergy": N_("Allergies"),
    "diagnosis": N_("Diagnoses"),
    "procedure": N_("Procedures"),
    "medication": N_("Medicines"),
    "encounter": N_("Visits and appointments"),
    "summary": N_("Notes and summaries"),
    "birth": N_("Birth records"),
    "immunisation": N_("Immunisations"),
    "laboratory": N_("Laboratory results"),
    "radiology": N_("X-rays and scans"),
    "investigation": N_("Other investigations"),
    "referral": N_("Referrals"),
    "observation": N_("Observations and lifestyle"),
    "chinese-medicine": N_("Chinese medicine"),
    "other": N_("Other records"),
}
