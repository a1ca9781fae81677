"""Own entries of a patient: the form's fields read into an Observation. Pure.

What is plausible is in `ehr_fhir.own_entries`, which the gateway checks by too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any
from urllib.parse import urlencode

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.own_entries import (
    MAX_NOTE_CHARACTERS,
    OwnEntryKind,
    OwnEntryPart,
    build_own_entry,
)
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import (
    FormFault,
    length_faults,
    normalize_number,
    parse_decimal,
    range_fault,
)

_MAX_NUMBER_CHARACTERS = 8

__all__ = [
    "KIND_TITLES",
    "PART_TITLES",
    "form_values",
    "parse_entry_form",
    "same_entry_criteria",
]

KIND_TITLES = {
    "blood-pressure": N_("Blood pressure"),
    "blood-sugar": N_("Blood sugar"),
    "weight": N_("Body weight"),
}
PART_TITLES = {
    "systolic": N_("Upper value (systolic)"),
    "diastolic": N_("Lower value (diastolic)"),
    "sugar": N_("Blood sugar"),
    "weight": N_("Weight"),
}


def parse_entry_form(
    kind: OwnEntryKind, patient: str, form: Mapping[str, str], now: datetime
) -> tuple[dict[str, Any] | None, list[FormFault]]:
    """Return the Observation of a form, or None and what is wrong with it.

    >>> kind = OwnEntryKind("weight", "29463-7", "", (
    ...     OwnEntryPart("weight", "", "", "kg", 0.3, 500, 1),))
    >>> now = datetime.fromisoformat("2026-11-22T16:00:00+08:00")
    >>> form = {"weight": "６１,5", "day": "2026-11-22", "time": "07:30"}
    >>> entry, faults = parse_entry_form(kind, "p", form, now)
    >>> entry["valueQuantity"]["value"], entry["effectiveDateTime"], faults
    (61.5, '2026-11-22T07:30:00+08:00', [])
    """
    numbers, faults = [], []
    for part in kind.parts:
        number = _parse_number(form.get(part.name, ""), part)
        if number is None:
            faults.append(_number_fault(part))
        else:
            numbers.append(number)
    if len(numbers) == 2 and numbers[0] <= numbers[1]:
        text = N_("The upper value must be higher than the lower value.")
        faults.append(FormFault(kind.parts[0].name, text))
    measured = _parse_moment(form.get("day", ""), form.get("time", ""))
    if measured is None:
        text = N_("Choose the day, and the time if you know it.")
        faults.append(FormFault("day", text))
    elif measured[0] > now:
        faults.append(FormFault("day", N_("This time is still to come.")))
    note = " ".join(form.get("note", "").split())
    faults += length_faults({"note": note}, ["note"], MAX_NOTE_CHARACTERS)
    if faults or measured is None:
        return None, faults
    return build_own_entry(kind, patient, numbers, measured[1], note), []


def same_entry_criteria(entry: Resource) -> str:
    """Return the criteria of a search for an entry of the same numbers at the same time, not void.

    >>> from ehr_fhir.own_entries import OWN_ENTRY_KINDS
    >>> entry = build_own_entry(OWN_ENTRY_KINDS["weight"], "p", [61.5], "2026-11-22")
    >>> same_entry_criteria(entry).rpartition("&")[2]
    'value-quantity=61.5%7Chttp%3A%2F%2Funitsofmeasure.org%7Ckg'
    """
    subject = entry["subject"]["reference"]
    coding = entry["code"]["coding"][0]
    criteria = [
        ("patient", subject.removeprefix("Patient/")),
        ("performer", subject),
        ("code", f"{coding['system']}|{coding['code']}"),
        ("date", entry["effectiveDateTime"]),
        ("status", "final,corrected"),
    ]
    values = [("value-quantity", entry)] if "valueQuantity" in entry else []
    values += [("component-value-quantity", part) for part in entry.get("component", ())]
    for name, part in values:
        quantity = part["valueQuantity"]
        criteria.append((name, f"{quantity['value']}|{quantity['system']}|{quantity['code']}"))
    return urlencode(criteria)


def form_values(kind: OwnEntryKind, entry: Resource) -> dict[str, str]:
    """Return an entry as the fields of its form, to be corrected."""
    quantities = [part["valueQuantity"] for part in entry.get("component", ())]
    quantities = quantities or [entry.get("valueQuantity", {})]
    day, _, clock = str(entry.get("effectiveDateTime", "")).partition("T")
    if clock:
        local = datetime.fromisoformat(f"{day}T{clock}").astimezone(JURISDICTION.zone)
        day, clock = local.date().isoformat(), f"{local:%H:%M}"
    values = {
        part.name: f"{quantity.get('value', ''):g}"
        for part, quantity in zip(kind.parts, quantities, strict=False)
        if "value" in quantity
    }
    note = next((str(note.get("text", "")) for note in entry.get("note", ())), "")
    return {**values, "day": day, "time": clock, "note": note}


def _number_fault(part: OwnEntryPart) -> FormFault:
    text = N_("Type a number from %(least)s to %(most)s, with one decimal at most.")
    if part.decimals == 0:
        text = N_("Type a whole number from %(least)s to %(most)s.")
    return range_fault(part.name, part.least, part.most, text)


def _parse_number(text: str, part: OwnEntryPart) -> float | None:
    # With a decimal comma, too. More decimals than are kept are refused: none is rounded away.
    plain = normalize_number(text).replace(",", ".")
    number = parse_decimal(plain, _MAX_NUMBER_CHARACTERS)
    if number is None or not part.least <= number <= part.most:
        return None
    if number != round(number, part.decimals):
        return None
    return int(number) if part.decimals == 0 else number


def _parse_moment(day: str, clock: str) -> tuple[datetime, str] | None:
    """Return a moment in local time and as FHIR writes it, to the day where no time is known."""
    try:
        start = datetime.fromisoformat(day.strip())
        at = time.fromisoformat(clock.strip()) if clock.strip() else None
    except ValueError:
        return None
    moment = datetime.combine(start.date(), at or time.min).replace(tzinfo=JURISDICTION.zone)
    return moment, moment.isoformat(timespec="seconds") if at else start.date().isoformat()
