"""Appointments as a patient needs them: when, where, with whom, how to prepare, if it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp, has_time_of_day
from ehr_portal.record.display import HAN, Text, concept_text, text_of_record
from ehr_portal.record.rows import RecordRow, build_row

# Statuses of an appointment that takes place no more, or never was one.
CALLED_OFF = frozenset({"cancelled", "noshow", "entered-in-error"})
_OVER = frozenset({"fulfilled", "noshow", "entered-in-error"})


@dataclass(frozen=True)
class Place:
    """Where an appointment is."""

    name: Text
    address: str
    # Telephone numbers.
    phones: tuple[str, ...]


@dataclass(frozen=True)
class Appointment:
    """One appointment."""

    row: RecordRow
    places: tuple[Place, ...]
    # Names of those whom the patient meets.
    people: tuple[Text, ...]
    reasons: tuple[Text, ...]
    # How to prepare, and what was noted beside.
    instruction: Text
    comment: Text
    # Why it was called off; empty where nobody says.
    cancelled_because: Text
    minutes: int | None

    @property
    def is_called_off(self) -> bool:
        """Return whether it does not take place."""
        return self.row.status in CALLED_OFF


def build_appointments(
    resources: Iterable[Resource], included: Mapping[str, Resource], language: str, now: datetime
) -> tuple[list[Appointment], list[Appointment]]:
    """Return what is still to come, the next first, and what is past, the newest first.

    What was called off stays among what is to come until its day: who expects it has to know.
    """
    found = [_build_appointment(resource, included, language, now) for resource in resources]
    found.sort(key=lambda appointment: fhir_timestamp(appointment.row.start))
    coming = [appointment for appointment in found if _is_to_come(appointment.row, now)]
    past = [appointment for appointment in found if not _is_to_come(appointment.row, now)]
    # A day that nobody has fixed yet comes last.
    coming.sort(key=lambda appointment: not appointment.row.start)
    return coming, past[::-1]


def _is_to_come(row: RecordRow, now: datetime) -> bool:
    if row.status in _OVER:
        return False
    end = row.end or row.start
    return not end or fhir_timestamp(end) >= now.timestamp()


def _build_appointment(
    resource: Resource, included: Mapping[str, Resource], language: str, now: datetime
) -> Appointment:
    row = build_row(resource, included, language, now)
    actors = [participant.get("actor", {}) for participant in resource.get("participant", ())]
    cancelled = resource.get("cancelationReason")
    return Appointment(
        row=row,
        places=tuple(
            _build_place(actor, included, language)
            for actor in actors
            if _type_of(actor) == "Location"
        ),
        people=tuple(
            text_of_record(str(actor["display"]))
            for actor in actors
            if _type_of(actor) not in ("Location", "Patient") and actor.get("display")
        ),
        reasons=tuple(concept_text(reason, language) for reason in resource.get("reasonCode", ())),
        instruction=text_of_record(str(resource.get("patientInstruction", ""))),
        comment=text_of_record(str(resource.get("comment", ""))),
        cancelled_because=concept_text(cancelled, language) if cancelled else Text("", language),
        minutes=resource.get("minutesDuration") or _minutes_between(row.start, row.end),
    )


def _type_of(actor: Resource) -> str:
    return str(actor.get("type") or str(actor.get("reference", "")).partition("/")[0])


def _build_place(actor: Resource, included: Mapping[str, Resource], language: str) -> Place:
    location = included.get(str(actor.get("reference", "")), {})
    names = [location.get("name", ""), *location.get("alias", ()), str(actor.get("display", ""))]
    address = location.get("address", {})
    parts: Sequence[str] = [
        *address.get("line", ()), address.get("district", ""), address.get("city", ""),
    ]  # fmt: skip
    return Place(
        name=_name_in([name for name in names if name], language),
        address=address.get("text") or ", ".join(part for part in parts if part),
        phones=tuple(
            str(telecom["value"])
            for telecom in location.get("telecom", ())
            if telecom.get("system") == "phone" and "value" in telecom
        ),
    )


def _name_in(names: Sequence[str], language: str) -> Text:
    wants_han = language.startswith("zh")
    fitting = [name for name in names if bool(HAN.search(name)) == wants_han]
    return text_of_record(next(iter([*fitting, *names]), ""))


def _minutes_between(start: str, end: str) -> int | None:
    if not has_time_of_day(start) or not end:
        return None
    minutes = round((fhir_timestamp(end) - fhir_timestamp(start)) / 60)
    return minutes if 0 < minutes < 24 * 60 else None
