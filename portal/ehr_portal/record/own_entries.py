"""Own entries of a patient: the form's fields read into an Observation. Pure.

What is plausible is in `ehr_fhir.own_entries`, which the gateway checks by too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.own_entries import MAX_NOTE_CHARACTERS, OwnEntryKind, OwnEntryPart, build_own_entry
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import FormFault, normalize_number, range_fault

__all__ = [
    "KIND_TITLES",
    "PART_TITLES",
    "form_values",
    "parse_entry_form",
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
            faults.append(range_fault(part.name, part.least, part.most))
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
    if len(note) > MAX_NOTE_CHARACTERS:
        text = N_("Write %(most)s characters at most.")
        faults.append(FormFault("note", text, {"most": str(MAX_NOTE_CHARACTERS)}))
    if faults or measured is None:
        return None, faults
    return build_own_entry(kind, patient, numbers, measured[1], note), []


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


def _parse_number(text: str, part: OwnEntryPart) -> float | None:
    # With a decimal comma, too.
    plain = normalize_number(text).replace(",", ".")
    try:
        number = float(plain)
    except ValueError:
        return None
    if not math.isfinite(number) or not part.least <= number <= part.most:
        return None
    rounded = round(number, part.decimals)
    return int(rounded) if part.decimals == 0 else rounded


def _parse_moment(day: str, clock: str) -> tuple[datetime, str] | None:
    """Return a moment in local time and as FHIR writes it, to the day where no time is known."""
    try:
        start = datetime.fromisoformat(day.strip())
        at = time.fromisoformat(clock.strip()) if clock.strip() else None
    except ValueError:
        return None
    moment = datetime.combine(start.date(), at or time.min).replace(tzinfo=JURISDICTION.zone)
    return moment, moment.isoformat(timespec="seconds") if at else start.date().isoformat()
