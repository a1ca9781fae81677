"""The sections of a record: the one list of what a record page shows, and in what order.

A section is one FHIR search or a few; `title` and `empty_text` are translated where they are shown.
Pages show a part of a section and ask for no more: the newest records, and what holds now among the
older ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ehr_portal.i18n import N_
from ehr_portal.record.special_codes import SOCIAL_CATEGORIES, list_social_codes

# Records that the first page reads of a section. Chosen: twice what it shows of the longest, as
# several may have the same title and are one line.
_PREVIEW_READ = 12
# Of what holds now. Chosen: more medicines or problems at one time are rare, and then the newest
# are read.
_CURRENT_READ = 100


@dataclass(frozen=True)
class Search:
    """One FHIR search of a section."""

    resource_type: str
    # Search parameters besides the patient.
    params: Mapping[str, str] = field(default_factory=dict)
    # The search parameter that names the patient.
    patient_param: str = "patient"
    # Only so many matches, the newest by date; None for all.
    newest: int | None = None
    # Whether the page says how many there are in all, beside the newest.
    has_total: bool = False
    # Whether it finds all of a section that holds now.
    is_of_now: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the record."""

    # In the address, such as /record/results.
    key: str
    searches: tuple[Search, ...]
    # Of DOMAIN_TITLES: something of these may be withheld here.
    domains: tuple[str, ...]
    title: str
    # Shown to the patient where the search finds nothing.
    empty_text: str
    # How many rows the record's first page shows; None for all, which are never cut.
    preview_size: int | None = 5
    # On the first page, rows of the same title are shown once, with how many there are.
    groups_titles: bool = True
    # Results of the same test are drawn as one line over time.
    has_trends: bool = False
    # What holds now stands apart from what is past.
    splits_past: bool = False
    # Only what is, or only what is not, a circumstance of life; None for both.
    social: bool | None = None
    # Not on the page where it has nothing.
    is_optional: bool = False
    # Has a page of its own and only a link on the record's first page, which fetches nothing of it.
    is_further: bool = False
    # What holds now, however old it is: it stands before the newest records. Not needed where that
    # has an open period, as a visit has: it ends after all others, and so is the newest.
    current_searches: tuple[Search, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Return whether every page shows all of the section."""
        return self.preview_size is None

    @property
    def first_page(self) -> Section:
        """Return the section as the record's first page fetches it: the newest, and how many."""
        return self.newest(_PREVIEW_READ, has_total=True)

    def newest(self, number: int, *, has_total: bool = False) -> Section:
        """Return the section with searches for so many newest records and for what holds now."""
        if self.is_whole or self.has_trends:
            return self
        searches = (replace(search, newest=number, has_total=has_total) for search in self.searches)
        return replace(self, searches=(*searches, *self.current_searches))


def _of_now(resource_type: str, **params: str) -> Search:
    """Return the search for what holds now, however old it is."""
    return Search(resource_type, params, newest=_CURRENT_READ, is_of_now=True)


# As `RecordRow.is_social` tells circumstances of life from illnesses, in the words of a search:
# by category, or else by code.
_SOCIAL_CATEGORY = ",".join(sorted(SOCIAL_CATEGORIES))
_SOCIAL_CODES = ",".join(list_social_codes())
_ILLNESS = {"category:not": _SOCIAL_CATEGORY, "code:not": _SOCIAL_CODES}
# Also a Condition whose state nobody noted.
_CONDITIONS_NOW = _of_now("Condition", **{"clinical-status:not": "inactive,remission,resolved"})
# The states in which an order or statement may be in effect.
MEDICINES_IN_USE = (
    _of_now(
        "MedicationRequest",
        status="active,on-hold,unknown",
        _include="MedicationRequest:medication",
    ),
    _of_now(
        "MedicationStatement",
        status="active,on-hold,unknown,intended",
        _include="MedicationStatement:medication",
    ),
)

SECTIONS = (
    Section(
        "alerts",
        (Search("Flag"),),
        ("summary",),
        N_("Alerts"),
        N_("No alerts are recorded."),
        preview_size=None,
        groups_titles=False,
        splits_past=True,
        is_optional=True,
    ),
    Section(
        "allergies",
        (Search("AllergyIntolerance"),),
        ("allergy",),
        N_("Allergies"),
        N_("No allergies are recorded."),
        # Never cut, never grouped (NHS CUI): the next one may be the one that matters.
        preview_size=None,
        groups_titles=False,
        splits_past=True,
    ),
    Section(
        "problems",
        (Search("Condition", _ILLNESS),),
        ("diagnosis",),
        N_("Health problems"),
        N_("No health problems are recorded."),
        preview_size=6,
        splits_past=True,
        social=False,
        current_searches=(_CONDITIONS_NOW,),
    ),
    Section(
        "medicines",
        (
            Search("MedicationRequest", {"_include": "MedicationRequest:medication"}),
            Search("MedicationStatement", {"_include": "MedicationStatement:medication"}),
        ),
        ("medication",),
        N_("Medicines"),
        N_("No medicines are recorded."),
        preview_size=6,
        splits_past=True,
        current_searches=MEDICINES_IN_USE,
    ),
    Section(
        "immunisations",
        (Search("Immunization"),),
        ("immunisation",),
        N_("Immunisations"),
        N_("No immunisations are recorded."),
        preview_size=3,
    ),
    Section(
        "social",
        (
            Search("Condition", {"category": _SOCIAL_CATEGORY}),
            Search("Condition", {"category:not": _SOCIAL_CATEGORY, "code": _SOCIAL_CODES}),
            Search("Observation", {"category": "social-history"}),
        ),
        ("observation", "diagnosis"),
        N_("Life and surroundings"),
        N_("Nothing about life and surroundings is recorded."),
        preview_size=3,
        splits_past=True,
        social=True,
        is_optional=True,
        current_searches=(_CONDITIONS_NOW,),
    ),
    Section(
        "results",
        (Search("Observation", {"category": "laboratory"}),),
        ("laboratory",),
        N_("Test results"),
        N_("No test results are recorded."),
        preview_size=6,
        has_trends=True,
    ),
    Section(
        "measurements",
        (Search("Observation", {"category": "vital-signs"}),),
        ("observation",),
        N_("Measurements"),
        N_("No measurements are recorded."),
        preview_size=5,
        has_trends=True,
    ),
    Section(
        "appointments",
        (Search("Appointment"),),
        ("encounter",),
        N_("Appointments"),
        N_("No appointments are recorded."),
        preview_size=3,
        groups_titles=False,
        splits_past=True,
        is_optional=True,
        # What is only proposed may have no date.
        current_searches=(_of_now("Appointment", status="proposed,pending,waitlist"),),
    ),
    Section(
        "visits",
        (Search("Encounter"),),
        ("encounter",),
        N_("Visits"),
        N_("No visits are recorded."),
        preview_size=4,
        groups_titles=False,
    ),
    Section(
        "reports",
        (Search("DiagnosticReport"),),
        ("investigation", "laboratory", "radiology"),
        N_("Reports"),
        N_("No reports are recorded."),
        preview_size=4,
    ),
    Section(
        "scans",
        (Search("ImagingStudy"),),
        ("radiology",),
        N_("Scans"),
        N_("No scans are recorded."),
        is_further=True,
    ),
    Section(
        "procedures",
        (Search("Procedure"),),
        ("procedure",),
        N_("Procedures"),
        N_("No procedures are recorded."),
        preview_size=3,
    ),
    Section(
        "documents",
        (Search("DocumentReference"),),
        ("summary",),
        N_("Documents"),
        N_("No documents are recorded."),
        preview_size=3,
    ),
    Section(
        "plans",
        (Search("CarePlan"), Search("Goal")),
        ("summary",),
        N_("Care plans and goals"),
        N_("No care plans are recorded."),
        preview_size=3,
        splits_past=True,
        is_optional=True,
        current_searches=(
            _of_now("CarePlan", status="active,on-hold,unknown"),
            _of_now("Goal", **{"lifecycle-status": "proposed,planned,accepted,active,on-hold"}),
        ),
    ),
    Section(
        "referrals",
        (Search("ServiceRequest"),),
        ("referral", "laboratory", "radiology"),
        N_("Referrals and orders"),
        N_("No referrals are recorded."),
        splits_past=True,
        is_further=True,
        current_searches=(_of_now("ServiceRequest", status="active,on-hold,unknown"),),
    ),
    Section(
        "family",
        (Search("FamilyMemberHistory"),),
        ("diagnosis",),
        N_("Illnesses in the family"),
        N_("No illnesses in the family are recorded."),
        is_further=True,
    ),
    Section(
        "given",
        (
            Search("MedicationAdministration", {"_include": "MedicationAdministration:medication"}),
            Search("MedicationDispense", {"_include": "MedicationDispense:medication"}),
        ),
        ("medication",),
        N_("Medicines given and supplied"),
        N_("No medicines given or supplied are recorded."),
        is_further=True,
    ),
    Section(
        "findings",
        (
            Search("Observation", {"category": "exam,survey,imaging,procedure,therapy,activity"}),
            Search("Observation", {"category:missing": "true"}),
            Search("ClinicalImpression"),
            Search("QuestionnaireResponse"),
        ),
        ("observation", "investigation", "radiology", "summary"),
        N_("Other findings"),
        N_("No other findings are recorded."),
        is_further=True,
    ),
    Section(
        "devices",
        (Search("Device"), Search("DeviceUseStatement"), Search("DeviceRequest")),
        ("procedure",),
        N_("Devices"),
        N_("No devices are recorded."),
        is_further=True,
    ),
    Section(
        "more",
        (
            Search("AdverseEvent", patient_param="subject"),
            Search("CareTeam"),
            Search("Communication"),
            Search("Composition"),
            Search("DetectedIssue"),
            Search("EpisodeOfCare"),
            Search("ImmunizationEvaluation"),
            Search("ImmunizationRecommendation"),
            Search("List"),
            Search("Media"),
            Search("Specimen"),
        ),
        ("summary", "encounter", "immunisation", "laboratory", "allergy", "other"),
        N_("Other records"),
        N_("No other records are there."),
        groups_titles=False,
        is_further=True,
    ),
)
# On a wide screen what a clinician must know stands left; what happened, newest first, right.
LEFT_COLUMN = ("alerts", "allergies", "problems", "medicines", "immunisations", "plans", "social")
# Fetched for the record's first page.
FIRST_PAGE = tuple(section.first_page for section in SECTIONS if not section.is_further)
FURTHER_SECTIONS = tuple(section for section in SECTIONS if section.is_further)
SECTION_BY_KEY = {section.key: section for section in SECTIONS}

# Titles of the resource types that pages show, for a single record and for the access history.
TYPE_TITLES = {
    "AdverseEvent": N_("Harm from treatment"),
    "AllergyIntolerance": N_("Allergies"),
    "Appointment": N_("Appointments"),
    "CarePlan": N_("Care plans"),
    "CareTeam": N_("Care teams"),
    "ClinicalImpression": N_("Assessments"),
    "Communication": N_("Messages"),
    "Composition": N_("Documents"),
    "Condition": N_("Health problems"),
    "Consent": N_("Sharing choices"),
    "DetectedIssue": N_("Warnings"),
    "Device": N_("Devices"),
    "DeviceRequest": N_("Devices"),
    "DeviceUseStatement": N_("Devices"),
    "DiagnosticReport": N_("Reports"),
    "DocumentReference": N_("Documents"),
    "Encounter": N_("Visits"),
    "EpisodeOfCare": N_("Episodes of care"),
    "FamilyMemberHistory": N_("Illnesses in the family"),
    "Flag": N_("Alerts"),
    "Goal": N_("Goals"),
    "ImagingStudy": N_("Scans"),
    "Immunization": N_("Immunisations"),
    "ImmunizationEvaluation": N_("Immunisations"),
    "ImmunizationRecommendation": N_("Immunisations"),
    "List": N_("Lists"),
    "Media": N_("Pictures"),
    "Medication": N_("Medicines"),
    "MedicationAdministration": N_("Medicines"),
    "MedicationDispense": N_("Medicines"),
    "MedicationRequest": N_("Medicines"),
    "MedicationStatement": N_("Medicines"),
    "Observation": N_("Results and measurements"),
    "Patient": N_("Personal details"),
    "Procedure": N_("Procedures"),
    "Provenance": N_("Origin of records"),
    "QuestionnaireResponse": N_("Questionnaires"),
    "RelatedPerson": N_("Personal details"),
    "RiskAssessment": N_("Risk scores"),
    "ServiceRequest": N_("Referrals and orders"),
    "Specimen": N_("Specimens"),
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
