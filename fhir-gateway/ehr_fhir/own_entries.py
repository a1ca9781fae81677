"""Own entries: Observations that a patient measured and wrote down (patient-generated data).

The kinds, their codes and units and their bounds are in `own_entries.toml`. An own entry names the
patient as subject and as performer, and has nothing beyond what is checked here: no reference to
another record, no narrative, no extension. The vital-signs category of each puts all of them, blood
sugar too, into one data domain, which a patient can close at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NoReturn

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = [
    "MAX_NOTE_CHARACTERS",
    "OWN_ENTRY_KINDS",
    "OwnEntryKind",
    "OwnEntryPart",
    "build_own_entry",
    "check_own_entry",
    "find_own_entry_kind",
    "is_own_entry",
]

PROFILE = f"{JURISDICTION.fhir_base}/StructureDefinition/own-entry"
MAX_NOTE_CHARACTERS = 300
_LOINC = "http://loinc.org"
_UCUM = "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_VITAL_SIGNS = {"coding": [{"system": _CATEGORY, "code": "vital-signs"}]}
# No primitive of it has an extension (`_status` and so on).
_ELEMENTS = frozenset(
    {"resourceType", "id", "meta", "status", "category", "code", "subject", "performer",
     "effectiveDateTime", "valueQuantity", "component", "note"}
)  # fmt: skip
_STATUSES = ("final", "corrected", "entered-in-error")
# A telephone's clock may be ahead. Chosen.
_CLOCK_SLACK_MS = 300_000
# Chosen: nobody who writes here measured before.
_OLDEST_MS = int(datetime(1930, 1, 1, tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True)
class OwnEntryPart:
    """One number of an entry: its unit (UCUM) and its bounds, both included."""

    name: str
    # LOINC; empty where the number is the entry's own value and no component.
    code: str
    display: str
    unit: str
    least: float
    most: float
    decimals: int


@dataclass(frozen=True)
class OwnEntryKind:
    """A kind of entry, with its LOINC code."""

    name: str
    code: str
    display: str
    parts: tuple[OwnEntryPart, ...]


_META = frozenset({"profile", "versionId", "lastUpdated", "security", "source"})
_SOURCE = re.compile(rf"(?:{re.escape(JURISDICTION.base)}/client/[^#\s]{{1,128}})?")


def _load_kinds() -> Mapping[str, OwnEntryKind]:
    text = files("ehr_fhir").joinpath("own_entries.toml").read_text(encoding="utf-8")
    return {
        name: OwnEntryKind(
            name,
            kind["code"],
            kind["display"],
            tuple(OwnEntryPart(**part) for part in kind["parts"]),
        )
        for name, kind in tomllib.loads(text).items()
    }


OWN_ENTRY_KINDS = _load_kinds()


def is_own_entry(resource: Mapping[str, Any]) -> bool:
    """Say whether a resource is an Observation whose only performer is the patient it is about.

    >>> own = {"reference": "Patient/p"}
    >>> is_own_entry({"resourceType": "Observation", "subject": own, "performer": [own]})
    True
    """
    subject, performers = resource.get("subject"), resource.get("performer")
    return (
        resource.get("resourceType") == "Observation"
        and isinstance(subject, Mapping)
        and isinstance(performers, list)
        and len(performers) == 1
        and isinstance(performers[0], Mapping)
        and str(subject.get("reference", "")).startswith("Patient/")
        and performers[0].get("reference") == subject.get("reference")
    )


def find_own_entry_kind(resource: Mapping[str, Any]) -> OwnEntryKind | None:
    """Return the kind of an own entry by its code, None for an unknown one."""
    codings = resource.get("code", {}).get("coding", ())
    codes = {coding.get("code") for coding in codings if coding.get("system") == _LOINC}
    return next((kind for kind in OWN_ENTRY_KINDS.values() if kind.code in codes), None)


def build_own_entry(
    kind: OwnEntryKind, patient: str, numbers: Sequence[float], measured: str, note: str = ""
) -> dict[str, Any]:
    """Return the Observation of an own entry: a number for each part, and when it was measured.

    >>> entry = build_own_entry(OWN_ENTRY_KINDS["weight"], "p", [61.5], "2026-11-22")
    >>> entry["valueQuantity"]["value"], entry["valueQuantity"]["code"]
    (61.5, 'kg')
    """
    reference = {"reference": f"Patient/{patient}"}
    entry: dict[str, Any] = {
        "resourceType": "Observation",
        "meta": {"profile": [PROFILE]},
        "status": "final",
        "category": [_VITAL_SIGNS],
        "code": _build_concept(kind.code, kind.display),
        "subject": reference,
        "performer": [reference],
        "effectiveDateTime": measured,
    }
    quantities = [
        {"value": number, "unit": part.unit, "system": _UCUM, "code": part.unit}
        for part, number in zip(kind.parts, numbers, strict=True)
    ]
    if kind.parts[0].code:
        entry["component"] = [
            {"code": _build_concept(part.code, part.display), "valueQuantity": quantity}
            for part, quantity in zip(kind.parts, quantities, strict=True)
        ]
    else:
        entry["valueQuantity"] = quantities[0]
    if note:
        entry["note"] = [{"text": note}]
    return entry


def check_own_entry(resource: Mapping[str, Any], now_ms: int) -> None:
    """Refuse what is no plausible own entry; the resource is valid FHIR and `is_own_entry`.

    Raises Unprocessable with the element's path.
    """
    kind = find_own_entry_kind(resource)
    if kind is None:
        known = ", ".join(kind.code for kind in OWN_ENTRY_KINDS.values())
        _refuse("code", f"Patients write down the LOINC codes {known}.")
    for name in resource:
        if name not in _ELEMENTS:
            _refuse(name, "An own entry has no such element.")
    meta = resource.get("meta", {})
    if not set(meta) <= _META:
        _refuse("meta", "An own entry has a profile in its meta, and nothing else.")
    # The server says which program sent it; a text of somebody's own has no place there.
    if not _SOURCE.fullmatch(str(meta.get("source", ""))):
        _refuse("meta.source", "The source of an own entry is the server's to say.")
    if resource.get("status") not in _STATUSES:
        _refuse("status", f"The status of an own entry is one of {', '.join(_STATUSES)}.")
    if resource.get("category") != [_VITAL_SIGNS]:
        _refuse("category", "The category of an own entry is vital-signs.")
    _check_code(resource["code"], kind.code, "code")
    _check_time(resource, now_ms)
    _check_numbers(resource, kind)
    _check_note(resource)


def _check_numbers(resource: Mapping[str, Any], kind: OwnEntryKind) -> None:
    if kind.parts[0].code:
        components = resource.get("component", [])
        if "valueQuantity" in resource or len(components) != len(kind.parts):
            _refuse("component", "Each part is there once, and no value beside them.")
        for number, (component, part) in enumerate(zip(components, kind.parts, strict=True)):
            path = f"component[{number}]"
            if set(component) != {"code", "valueQuantity"}:
                _refuse(path, "A part has a code and a quantity.")
            _check_code(component["code"], part.code, f"{path}.code")
            _check_quantity(component["valueQuantity"], part, f"{path}.valueQuantity")
        if components[0]["valueQuantity"]["value"] <= components[1]["valueQuantity"]["value"]:
            _refuse("component[0].valueQuantity", "The upper value is above the lower one.")
        return
    if "component" in resource or "valueQuantity" not in resource:
        _refuse("valueQuantity", "The entry is one number with its unit.")
    _check_quantity(resource["valueQuantity"], kind.parts[0], "valueQuantity")


def _check_quantity(quantity: Mapping[str, Any], part: OwnEntryPart, path: str) -> None:
    if set(quantity) != {"value", "unit", "system", "code"}:
        _refuse(path, "A number has its unit, in UCUM.")
    if (quantity["system"], quantity["code"], quantity["unit"]) != (_UCUM, part.unit, part.unit):
        _refuse(path, f"The unit is {part.unit}.")
    if not part.least <= quantity["value"] <= part.most:
        _refuse(path, f"The number is from {part.least} to {part.most}.")


def _check_code(concept: Mapping[str, Any], code: str, path: str) -> None:
    codings = concept.get("coding", [])
    if set(concept) != {"coding"} or len(codings) != 1:
        _refuse(path, "The code is one coding.")
    if (codings[0].get("system"), codings[0].get("code")) != (_LOINC, code):
        _refuse(path, f"The code is LOINC {code}.")
    if not set(codings[0]) <= {"system", "code", "display"}:
        _refuse(path, "The coding has a system, a code and a display.")


def _check_time(resource: Mapping[str, Any], now_ms: int) -> None:
    measured = resource.get("effectiveDateTime")
    # To the day at least: a year alone is no measurement.
    if not isinstance(measured, str) or len(measured) < len("2026-11-22"):
        _refuse("effectiveDateTime", "An own entry says when it was measured.")
    if not _OLDEST_MS <= date_interval(measured)[0] <= now_ms + _CLOCK_SLACK_MS:
        _refuse("effectiveDateTime", "It was measured in one's life, and not later than now.")


def _check_note(resource: Mapping[str, Any]) -> None:
    notes = resource.get("note", [])
    if len(notes) > 1 or any(set(note) != {"text"} for note in notes):
        _refuse("note", "A note is one text.")
    if notes and len(notes[0]["text"]) > MAX_NOTE_CHARACTERS:
        _refuse("note", f"A note has {MAX_NOTE_CHARACTERS} characters at most.")


def _build_concept(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": _LOINC, "code": code, "display": display}]}


def _refuse(path: str, text: str) -> NoReturn:
    raise Unprocessable(text, expression=f"Observation.{path}")
