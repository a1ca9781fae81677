"""A round of vital signs as a clinician types it: read, checked, and made into Observations. Pure.

They are what NEWS2 asks for (RCP, 2017). What was not measured stays empty and makes no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.news2 import CONSCIOUSNESS_SYSTEM
from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import (
    FormFault,
    normalize_number,
    parse_decimal,
    range_fault,
)
from ehr_portal.record.new_entries import LOINC, EntryAuthor, new_entry
from ehr_portal.record.news2 import ACVPU_TEXTS

_TERMS = "http://terminology.hl7.org/CodeSystem"
_UCUM = "http://unitsofmeasure.org"
# LOINC of the panel, and of the level of consciousness.
_PRESSURE_CODE, _CONSCIOUSNESS_CODE = "85354-9", "67775-7"
_MAX_AGE = timedelta(days=31)
_MAX_NUMBER_CHARACTERS = 6


@dataclass(frozen=True)
class VitalSign:
    """One number of a round."""

    field: str
    # Marked with N_.
    title: str
    code: str
    display: str
    # UCUM.
    unit: str
    least: float
    most: float


# The limits are those beyond which NEWS2 takes no value (`ehr_fhir.news2`).
RESPIRATION = VitalSign(
    "respiration", N_("Breaths in a minute"), "9279-1", "Respiratory rate", "/min", 0, 100
)
SATURATION = VitalSign(
    "saturation", N_("Oxygen saturation, percent"), "59408-5",
    "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 1, 100,
)  # fmt: skip
OXYGEN = VitalSign(
    "oxygen", N_("Oxygen given, litres a minute (0 is air)"), "3151-8", "Inhaled oxygen flow rate",
    "L/min", 0, 100,
)  # fmt: skip
SYSTOLIC = VitalSign(
    "systolic", N_("Blood pressure, upper (systolic)"), "8480-6", "Systolic blood pressure",
    "mm[Hg]", 30, 300,
)  # fmt: skip
DIASTOLIC = VitalSign(
    "diastolic", N_("Blood pressure, lower (diastolic)"), "8462-4", "Diastolic blood pressure",
    "mm[Hg]", 10, 200,
)  # fmt: skip
PULSE = VitalSign("pulse", N_("Pulse in a minute"), "8867-4", "Heart rate", "/min", 10, 350)
TEMPERATURE = VitalSign(
    "temperature", N_("Temperature (°C)"), "8310-5", "Body temperature", "Cel", 20, 45
)
VITAL_SIGNS = (RESPIRATION, SATURATION, OXYGEN, SYSTOLIC, DIASTOLIC, PULSE, TEMPERATURE)


@dataclass(frozen=True)
class VitalSignsRound:
    """What was measured at one time."""

    at: datetime
    # By VitalSign.field.
    numbers: Mapping[str, float]
    # A letter of ACVPU; empty where it was not looked at.
    consciousness: str


def parse_round(
    form: Mapping[str, str], now: datetime
) -> tuple[VitalSignsRound | None, list[FormFault]]:
    """Return the round of a form, or None and what is wrong with it.

    >>> now = datetime.fromisoformat("2026-11-28T14:05:00+08:00")
    >>> found, faults = parse_round({"at": "2026-11-28T14:00", "pulse": "７２"}, now)
    >>> found.numbers, faults
    ({'pulse': 72.0}, [])
    """
    numbers, faults = {}, []
    for sign in VITAL_SIGNS:
        typed = form.get(sign.field, "").strip()
        if not typed:
            continue
        number = _parse_number(typed)
        if number is None or not sign.least <= number <= sign.most:
            faults.append(range_fault(sign.field, sign.least, sign.most))
        else:
            numbers[sign.field] = number
    faults += _pressure_faults(numbers, form)
    consciousness = form.get("consciousness", "")
    consciousness = consciousness if consciousness in ACVPU_TEXTS else ""
    at = _parse_moment(form.get("at", ""))
    if at is None or at > now + timedelta(minutes=1) or at < now - _MAX_AGE:
        faults.append(FormFault("at", N_("Type when it was measured, not in the future.")))
    if not faults and not numbers and not consciousness:
        faults.append(FormFault(RESPIRATION.field, N_("Type at least one value.")))
    if faults or at is None:
        return None, faults
    return VitalSignsRound(at, numbers, consciousness), []


def build_round(
    measured: VitalSignsRound, patient: str, author: EntryAuthor, token: str
) -> list[dict[str, Any]]:
    """Return the Observations of a round; each has an identifier of its own from the token."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for sign in (RESPIRATION, SATURATION, OXYGEN, PULSE, TEMPERATURE):
        if sign.field in measured.numbers:
            value = {"valueQuantity": _quantity(measured.numbers[sign.field], sign)}
            found.append((sign.code, sign.display, value))
    pressures = [sign for sign in (SYSTOLIC, DIASTOLIC) if sign.field in measured.numbers]
    if pressures:
        components = [
            {
                "code": _concept(LOINC, sign.code, sign.display),
                "valueQuantity": _quantity(measured.numbers[sign.field], sign),
            }
            for sign in pressures
        ]
        found.append((_PRESSURE_CODE, "Blood pressure panel", {"component": components}))
    if measured.consciousness:
        # In English: the RCP's own words.
        display = ACVPU_TEXTS[measured.consciousness]
        concept = _concept(CONSCIOUSNESS_SYSTEM, measured.consciousness, display)
        found.append(
            (_CONSCIOUSNESS_CODE, "Level of responsiveness", {"valueCodeableConcept": concept})
        )
    category = _concept(f"{_TERMS}/observation-category", "vital-signs", "Vital Signs")
    return [
        new_entry(
            "Observation",
            author,
            f"{token}-{code}",
            status="final",
            category=[category],
            code=_concept(LOINC, code, display),
            subject={"reference": f"Patient/{patient}"},
            effectiveDateTime=measured.at.isoformat(),
            issued=measured.at.isoformat(),
            performer=[author.person, author.place],
            **value,
        )
        for code, display, value in found
    ]


def round_identifiers(token: str) -> list[str]:
    """Return the identifiers that the Observations of a form may have."""
    codes = (*(sign.code for sign in VITAL_SIGNS), _PRESSURE_CODE, _CONSCIOUSNESS_CODE)
    return [f"{token}-{code}" for code in codes]


def _pressure_faults(numbers: Mapping[str, float], form: Mapping[str, str]) -> list[FormFault]:
    upper, lower = numbers.get(SYSTOLIC.field), numbers.get(DIASTOLIC.field)
    if upper is not None and lower is not None and upper <= lower:
        text = N_("The upper value must be higher than the lower value.")
        return [FormFault(SYSTOLIC.field, text)]
    if lower is not None and upper is None and not form.get(SYSTOLIC.field, "").strip():
        return [FormFault(SYSTOLIC.field, N_("Type the upper value as well."))]
    return []


def _parse_number(typed: str) -> float | None:
    # With a decimal comma, too.
    return parse_decimal(normalize_number(typed).replace(",", "."), _MAX_NUMBER_CHARACTERS)


def _parse_moment(typed: str) -> datetime | None:
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=JURISDICTION.zone)
    except ValueError:
        return None


def _quantity(number: float, sign: VitalSign) -> dict[str, Any]:
    value = int(number) if number.is_integer() else number
    return {"value": value, "unit": sign.unit, "system": _UCUM, "code": sign.unit}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}
