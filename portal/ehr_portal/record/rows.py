"""One record as a row of a list: what it is, when, in what state, who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, local_date, localizer_for
from ehr_portal.record.allergies import allergy_flags, is_drug_allergy
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.describe import Describer, LinkedRecord
from ehr_portal.record.display import Phrase, Text, compose
from ehr_portal.record.dosage import end_of_dosages
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, LEVELS, NEUTRAL, Flag
from ehr_portal.record.providers import author_organization, written_by_patient
from ehr_portal.record.results import ResultValue, whole_result
from ehr_portal.record.special_codes import (
    days_until_over,
    is_social,
    states_none_or_unknown,
)

# A status that says "now" gets a tag; the usual end state of a resource type says nothing new.
CURRENT_STATUSES = frozenset(
    {"active", "unknown", "recurrence", "relapse", "in-progress", "on-hold", "planned",
     "intended", "booked", "arrived", "checked-in", "proposed", "pending", "waitlist", "accepted"}
)  # fmt: skip
# Statuses that say that a record does not hold, or not as it stands: told in every list.
_DOUBTFUL_STATUSES = frozenset(
    {"entered-in-error", "not-done", "not-taken", "cancelled", "stopped", "revoked", "draft",
     "preliminary", "partial", "registered", "amended", "corrected", "superseded", "noshow",
     "unsatisfactory", "on-hold", "rejected", "declined"}
)  # fmt: skip
# Intents of a request that nobody has ordered.
_NO_ORDERS = frozenset({"proposal", "plan", "option"})
_NOT_HELD = frozenset({"refuted", "entered-in-error"})

# Elements with a date, the clinically meaningful ones before those of the paperwork.
_DATES = (
    "effectiveDateTime", "effectiveInstant", "occurrenceDateTime", "performedDateTime",
    "onsetDateTime", "started", "start", "startDate", "authoredOn", "recordedDate", "sent",
    "createdDateTime", "date", "issued", "dateTime", "whenHandedOver", "dateAsserted", "authored",
    "created", "recordedOn", "identifiedDateTime",
)  # fmt: skip
_PERIODS = (
    "period", "performedPeriod", "effectivePeriod", "onsetPeriod", "occurrencePeriod",
    "createdPeriod", "identifiedPeriod",
)  # fmt: skip


@dataclass(frozen=True)
class RecordRow:
    """One record as a row of a list.

    What only a row on the page needs is worked out when it is asked for: a long record has
    thousands of rows, of which a page shows few.
    """

    resource: Resource
    describer: Describer
    language: str
    title: Phrase | Text
    # The status of the record as R4 has it.
    status: str
    # FHIR dates of any precision; empty where there is none.
    start: str
    end: str
    # This holds now.
    is_current: bool

    @property
    def resource_type(self) -> str:
        """Return the resource's type."""
        return str(self.resource["resourceType"])

    @property
    def id(self) -> str:
        """Return the resource's id."""
        return str(self.resource["id"])

    @property
    def author(self) -> str | None:
        """Return the id of the organisation that wrote it."""
        return author_organization(self.resource)

    @cached_property
    def details(self) -> tuple[Phrase | Text, ...]:
        """Return what else its line says, by the type's description."""
        return tuple(self.describer.row_phrases(self.resource))

    @property
    def status_text(self) -> Text:
        """Return its status in the reader's language."""
        return code_text(f"{self.resource_type}.status", self.status, self.language)

    @cached_property
    def flags(self) -> tuple[Flag, ...]:
        """Return what must not be overlooked, the most serious first."""
        return _row_flags(self.resource, self.language)

    @property
    def level(self) -> str:
        """Return the most serious level of its flags; neutral without any."""
        return self.flags[0].level if self.flags else NEUTRAL

    @cached_property
    def result(self) -> ResultValue | None:
        """Return the value of an Observation, None of any other record."""
        is_observation = self.resource_type == "Observation"
        return whole_result(self.resource, self.language) if is_observation else None

    @property
    def line(self) -> str:
        """Return all that its line says: rows of which it is the same may be one line."""
        flags = (flag.word for flag in self.flags)
        return "|".join(str(text) for text in (self.title, *self.details, *flags, self.status))

    @property
    def is_social(self) -> bool:
        """Return whether it is a circumstance of life."""
        return self.resource_type in ("Condition", "Observation") and is_social(self.resource)

    @property
    def is_none_known(self) -> bool:
        """Return whether it states that there is none, or that nothing is known."""
        return states_none_or_unknown(_concept(self.resource))

    @property
    def is_drug_allergy(self) -> bool:
        """Return whether it is an allergy to a medicine."""
        return self.resource_type == "AllergyIntolerance" and is_drug_allergy(self.resource)

    @property
    def has_telling_status(self) -> bool:
        """Return whether a list has to say in what state the record is."""
        is_telling = self.is_current or self.status in _DOUBTFUL_STATUSES
        return is_telling and bool(self.status)

    @property
    def is_in_error(self) -> bool:
        """Return whether the record was entered by mistake."""
        return self.status == "entered-in-error"


def build_row(
    resource: Resource, included: Mapping[str, Resource], language: str, now: datetime | None = None
) -> RecordRow:
    """Return a resource as a row; `included` has the Medications that prescriptions refer to.

    `now` decides what has ended by itself.
    """
    contained = {f"#{inner.get('id', '')}": inner for inner in resource.get("contained", ())}
    targets = {**included, **contained} if contained else included
    describer = Describer(
        language, links=lambda reference: _find_linked_record(targets, reference, language)
    )
    start, end = event_period(resource)
    status = status_code(resource)
    return RecordRow(
        resource=resource,
        describer=describer,
        language=language,
        title=describer.title(resource),
        status=status,
        start=start,
        end=end,
        is_current=_is_current(resource, status, start, end, now),
    )


def event_period(resource: Resource) -> tuple[str, str]:
    """Return the start and end of what a record describes; empty where it does not say.

    >>> event_period({"onsetDateTime": "2019", "abatementDateTime": "2021-03"})
    ('2019', '2021-03')
    """
    for path in _PERIODS:
        if path in resource:
            return resource[path].get("start", ""), resource[path].get("end", "")
    start = ""
    for path in _DATES:
        if path in resource:
            start = str(resource[path])
            break
    end = resource.get("abatementDateTime") or resource.get("abatementPeriod", {}).get("end")
    return start, str(end or resource.get("end", ""))


def status_code(resource: Resource) -> str:
    """Return a record's clinical status, else the status of the resource.

    What was refuted or entered by mistake has no other status than that.
    """
    verification = _first_code(resource.get("verificationStatus", {}))
    if verification in _NOT_HELD:
        return verification
    return _first_code(resource.get("clinicalStatus", {})) or str(
        resource.get("status") or resource.get("lifecycleStatus") or ""
    )


def _is_current(
    resource: Resource, status: str, start: str, end: str, now: datetime | None
) -> bool:
    # A problem or an allergy whose state nobody noted is not put away with those that are over.
    is_unstated = not status and resource["resourceType"] in ("Condition", "AllergyIntolerance")
    if status not in CURRENT_STATUSES and not is_unstated:
        return False
    # An end in words or as an age is an end as well.
    if any(key.startswith("abatement") for key in resource):
        return False
    if now is None:
        return True
    today = local_date(now).isoformat()
    end = end or end_of_dosages(resource)
    if end and end[:10] < today[: len(end[:10])]:
        return False
    days = days_until_over(_concept(resource))
    over = local_date(now - timedelta(days=days)).isoformat() if days else ""
    return not (over and start and start[:10] < over)


def _row_flags(resource: Resource, language: str) -> tuple[Flag, ...]:
    flags: list[Flag] = []
    if resource["resourceType"] == "AllergyIntolerance":
        flags += allergy_flags(resource, language)
    if written_by_patient(resource):
        word = localizer_for(language).translate(N_("Measured by the patient"))
        flags.append(Flag(NEUTRAL, Text(word, language)))
    if resource.get("doNotPerform"):
        word = localizer_for(language).translate(N_("Must not be given or done"))
        flags.append(Flag(CRITICAL, Text(word, language)))
    intent = resource.get("intent", "")
    is_plan = resource["resourceType"] == "CarePlan" and intent == "plan"
    if intent in _NO_ORDERS and not is_plan:
        text = code_text(f"{resource['resourceType']}.intent", intent, language)
        flags.append(Flag(ATTENTION, text))
    if "modifierExtension" in resource or "implicitRules" in resource:
        word = compose(language, N_("Special condition: open the record")).text
        flags.append(Flag(ATTENTION, Text(word, language)))
    return tuple(sorted(flags, key=lambda flag: LEVELS.index(flag.level)))


def _find_linked_record(
    included: Mapping[str, Resource], reference: str, language: str
) -> LinkedRecord | None:
    target = included.get(reference)
    return LinkedRecord(Describer(language).title(target)) if target else None


def _concept(resource: Resource) -> Resource:
    """Return the resource's code; empty where it has none, or one of another datatype."""
    code = resource.get("code") or resource.get("medicationCodeableConcept")
    code = code or resource.get("vaccineCode", {})
    return code if isinstance(code, Mapping) else {}


def _first_code(concept: Resource) -> str:
    return str(next((c["code"] for c in concept.get("coding", ()) if c.get("code")), ""))
