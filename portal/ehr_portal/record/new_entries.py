"""What a clinician writes: notes and allergies as FHIR resources, and marking an entry as wrong.

Pure: fields of a form in, a resource out. Who may write what is judged by the gateway.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_

LOINC = "http://loinc.org"
_TERMS = "http://terminology.hl7.org/CodeSystem"
# The identifier by which a form that is sent twice makes one record.
ENTRY_SYSTEM = f"{JURISDICTION.base}/identifier/portal-entry"
# Kinds of notes: LOINC code -> LOINC's name, and what the form calls it.
NOTE_KINDS = {
    "11506-3": ("Progress note", N_("Progress note")),
    "34117-2": ("History and physical note", N_("History and examination")),
    "11488-4": ("Consult note", N_("Consultation")),
    "18842-5": ("Discharge summary", N_("Discharge summary")),
}
# Of a note in Chinese, nine bytes of a form for a character: well below what a form may have.
MAX_NOTE_CHARACTERS = 6000
MAX_TEXT_CHARACTERS = 500
ALLERGY_CATEGORIES = {
    "medication": N_("Medicine"),
    "food": N_("Food"),
    "environment": N_("Surroundings, such as pollen or latex"),
}
CRITICALITIES = {
    "high": N_("High risk"),
    "low": N_("Low risk"),
    "unable-to-assess": N_("Cannot be said"),
}
SEVERITIES = {
    "": N_("Not known"),
    "severe": N_("Severe"),
    "moderate": N_("Moderate"),
    "mild": N_("Mild"),
}
CERTAINTIES = {"confirmed": N_("Confirmed"), "unconfirmed": N_("Not confirmed")}
# Types that a clinician writes here, and may mark as wrong.
WRITTEN_TYPES = frozenset(
    {"AllergyIntolerance", "DocumentReference", "MedicationRequest", "Observation"}
)
# What differs between two sendings of one form, at any depth: when it was sent, and by the server.
_OF_ONE_SENDING = frozenset({"authoredOn", "creation", "date", "meta", "recordedDate", "time"})


@dataclass(frozen=True)
class EntryAuthor:
    """Who writes an entry, for which organisation."""

    practitioner: str
    organization: str
    # Name as staff are called in the record: Latin, then Han.
    name: str

    @property
    def person(self) -> Resource:
        """Return the reference to the Practitioner."""
        return {"reference": f"Practitioner/{self.practitioner}", "display": self.name}

    @property
    def place(self) -> Resource:
        """Return the reference to the Organization."""
        return {"reference": f"Organization/{self.organization}"}


def new_entry(
    resource_type: str, author: EntryAuthor, token: str, /, **elements: Any
) -> dict[str, Any]:
    """Return a resource with what every entry has: its author's organisation and its identifier."""
    return {
        "resourceType": resource_type,
        "meta": {"source": f"{JURISDICTION.base}/organization/{author.organization}"},
        "identifier": [{"system": ENTRY_SYSTEM, "value": token}],
        **elements,
    }


def build_note(
    patient: str, author: EntryAuthor, form: Mapping[str, str], token: str, now: datetime
) -> dict[str, Any]:
    """Return a DocumentReference that holds a text in Markdown."""
    code = form["kind"]
    text = form["text"].replace("\r\n", "\n").strip()
    attachment = {
        "contentType": "text/markdown",
        "data": base64.b64encode(text.encode()).decode(),
        "title": form["title"],
        "creation": now.isoformat(),
    }
    return new_entry(
        "DocumentReference",
        author,
        token,
        status="current",
        docStatus="final",
        type={"coding": [{"system": LOINC, "code": code, "display": NOTE_KINDS[code][0]}]},
        subject={"reference": f"Patient/{patient}"},
        date=now.isoformat(),
        author=[author.person, author.place],
        custodian=author.place,
        description=form["title"],
        content=[{"attachment": attachment}],
    )


def build_allergy(
    patient: str, author: EntryAuthor, form: Mapping[str, str], token: str, now: datetime
) -> dict[str, Any]:
    """Return an AllergyIntolerance."""
    allergy = new_entry(
        "AllergyIntolerance",
        author,
        token,
        clinicalStatus=_coded("allergyintolerance-clinical", "active"),
        verificationStatus=_coded("allergyintolerance-verification", form["certainty"]),
        category=[form["category"]],
        criticality=form["criticality"],
        code={"text": form["substance"]},
        patient={"reference": f"Patient/{patient}"},
        recordedDate=now.isoformat(),
        recorder=author.person,
    )
    if form.get("reaction"):
        allergy["reaction"] = [{"manifestation": [{"text": form["reaction"]}]}]
        if form.get("severity"):
            allergy["reaction"][0]["severity"] = form["severity"]
    if form.get("note"):
        allergy["note"] = [annotation(form["note"], author, now)]
    return allergy


def annotation(text: str, author: EntryAuthor, now: datetime) -> dict[str, Any]:
    """Return an Annotation by the author."""
    return {"authorReference": author.person, "time": now.isoformat(), "text": text}


def is_made_here(resource: Resource) -> bool:
    """Return whether a form of this portal made a record."""
    return any(name.get("system") == ENTRY_SYSTEM for name in resource.get("identifier", ()))


def says_the_same(stored: Resource, entry: Resource, names: Iterable[str] = ()) -> bool:
    """Return whether a stored entry has what a form says, whenever the form was sent.

    `names`: the elements that are compared; all when none is named.

    >>> says_the_same({"id": "1", "code": "a", "date": "2026"}, {"code": "a", "date": "2027"})
    True
    >>> says_the_same({"id": "1", "code": "a", "note": "b"}, {"code": "a"})
    False
    """
    compared = frozenset(names) or (stored.keys() | entry.keys()) - {"id"} - _OF_ONE_SENDING
    return all(
        _drop_moments(stored.get(name)) == _drop_moments(entry.get(name)) for name in compared
    )


def _drop_moments(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _drop_moments(part) for name, part in value.items() if name not in _OF_ONE_SENDING
        }
    return [_drop_moments(part) for part in value] if isinstance(value, list) else value


def is_marked_wrong(resource: Resource) -> bool:
    """Return whether a record is marked as entered in error."""
    states = resource.get("verificationStatus", {}).get("coding", ())
    return resource.get("status") == "entered-in-error" or any(
        state.get("code") == "entered-in-error" for state in states
    )


def mark_wrong(
    resource: Resource, reason: str, author: EntryAuthor, now: datetime
) -> dict[str, Any]:
    """Return a record as entered in error, with the reason where its type has a place for it.

    >>> author = EntryAuthor("dr-a", "st-b", "Dr A")
    >>> now = datetime.fromisoformat("2026-11-28T14:00:00+08:00")
    >>> wrong = mark_wrong({"resourceType": "Observation", "status": "final"}, "No", author, now)
    >>> wrong["status"], wrong["note"][0]["text"]
    ('entered-in-error', 'Entered in error: No')
    """
    marked = dict(resource)
    note = annotation(f"Entered in error: {reason}", author, now)
    if resource["resourceType"] == "AllergyIntolerance":
        # A clinical status must not be present then (R4 AllergyIntolerance, ait-2).
        marked.pop("clinicalStatus", None)
        marked["verificationStatus"] = _coded("allergyintolerance-verification", "entered-in-error")
    else:
        marked["status"] = "entered-in-error"
    if resource["resourceType"] == "DocumentReference":
        described = str(resource.get("description", ""))
        marked["description"] = f"{described} (entered in error: {reason})".strip()
    else:
        marked["note"] = [*resource.get("note", ()), note]
    return marked


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{_TERMS}/{system}", "code": code}]}
