"""The sections of a record: the one list of what a record page shows, and in what order.

A section is one FHIR search; `title` and `empty_text` are translated where they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ehr_portal.i18n import N_


@dataclass(frozen=True)
class Section:
    """One part of the record."""

    # In the address, such as /record/results.
    key: str
    resource_type: str
    # One of DOMAIN_TITLES.
    domain: str
    title: str
    # Shown to the patient where the search finds nothing.
    empty_text: str
    # Search parameters besides the patient.
    params: Mapping[str, str] = field(default_factory=dict)
    # How many rows the record's first page shows.
    preview_size: int = 5
    # On the first page, rows of the same title are shown once, with how many there are.
    groups_titles: bool = True
    # Results of the same test are drawn as one line over time.
    has_trends: bool = False


SECTIONS = (
    Section(
        "allergies",
        "AllergyIntolerance",
        "allergy",
        N_("Allergies"),
        N_("No allergies are recorded."),
        preview_size=8,
    ),
    Section(
        "problems",
        "Condition",
        "diagnosis",
        N_("Health problems"),
        N_("No health problems are recorded."),
        preview_size=6,
    ),
    Section(
        "medicines",
        "MedicationRequest",
        "medication",
        N_("Medicines"),
        N_("No medicines are recorded."),
        {"_include": "MedicationRequest:medication"},
        preview_size=6,
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
        preview_size=6,
        has_trends=True,
    ),
    Section(
        "measurements",
        "Observation",
        "observation",
        N_("Measurements"),
        N_("No measurements are recorded."),
        {"category": "vital-signs"},
        preview_size=6,
        has_trends=True,
    ),
    Section(
        "visits",
        "Encounter",
        "encounter",
        N_("Visits"),
        N_("No visits are recorded."),
        groups_titles=False,
    ),
    Section(
        "procedures",
        "Procedure",
        "procedure",
        N_("Procedures"),
        N_("No procedures are recorded."),
        preview_size=4,
    ),
    Section(
        "documents",
        "DocumentReference",
        "summary",
        N_("Documents"),
        N_("No documents are recorded."),
        preview_size=4,
    ),
    Section(
        "reports",
        "DiagnosticReport",
        "investigation",
        N_("Reports"),
        N_("No reports are recorded."),
        preview_size=4,
    ),
)
# On a wide screen what a clinician must know stands left; what happened, newest first, right.
LEFT_COLUMN = ("allergies", "problems", "medicines", "immunisations")
SECTION_BY_KEY = {section.key: section for section in SECTIONS}

# Titles of the resource types that pages show, for a single record and for the access history.
TYPE_TITLES = {
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

# eHealth's data domains, in the order of its list; a patient may restrict each.
DOMAIN_TITLES = {
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
