"""The narrative of a summary: XHTML of the sections, in the words of the reader's language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from ehr_fhir.dates import local_day
from ehr_fhir.ips.sections import Section, date_of

__all__ = ["load_words", "patient_text", "section_text"]

Json = Mapping[str, Any]  # FHIR JSON of every shape
Words = Mapping[str, str]
_XHTML = "http://www.w3.org/1999/xhtml"
# No character of XML 1.0; JSON may hold them.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@cache
def load_words() -> Mapping[str, Words]:
    """Return every word of a summary by language and key."""
    text = files("ehr_fhir").joinpath("ips/words.toml").read_text("utf-8")
    return tomllib.loads(text)


def patient_text(patient: Json, language: str) -> dict[str, str]:
    """Return the narrative of a summary as a whole: whom it is about."""
    words = load_words()[language]
    # A person has one in letters and one in characters; one of before is left out.
    names = (_name(name) for name in patient.get("name") or () if name.get("use") != "old")
    rows = [
        (words["patient"], ", ".join(dict.fromkeys(filter(None, names)))),
        (words["birth"], str(patient.get("birthDate", ""))),
        (words["sex"], words.get(str(patient.get("gender")), "")),
    ]
    cells = "".join(f"<tr><th>{_text(head)}</th><td>{_text(cell)}</td></tr>" for head, cell in rows)
    return _narrative(f"<table>{cells}</table>", language)


def section_text(
    section: Section, records: Sequence[Json], known: Mapping[str, Json], language: str
) -> dict[str, str]:
    """Return the narrative of a section; `known` are the resources that records name, by reference.

    The words of a code are those of the record.
    """
    words = load_words()[language]
    if not records:
        return _narrative(f"<p>{_text(words[f'no_{section.key}'])}</p>", language)
    columns = _COLUMNS[section.key]
    head = "".join(f"<th>{_text(words[key])}</th>" for key, _ in columns)
    rows = (
        "".join(f"<td>{_text(read(record, known))}</td>" for _, read in columns)
        for record in records
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _narrative(table, language)


def _narrative(inside: str, language: str) -> dict[str, str]:
    div = f'<div xmlns="{_XHTML}" lang="{language}" xml:lang="{language}">{inside}</div>'
    return {"status": "generated", "div": div}


def _text(text: str) -> str:
    # A cell of nothing but white space says nothing, as one with a dash does, which is seen.
    return escape(_NO_XML.sub("", text).strip() or "–", quote=False)


def _name(name: Json) -> str:
    parts = (*(name.get("given") or ()), name.get("family") or "")
    return str(name.get("text") or " ".join(part for part in parts if part))


def concept_text(concept: object) -> str:
    """Return the words of a CodeableConcept: its text, else a display, else a code.

    >>> concept_text({"coding": [{"code": "718-7", "display": "Haemoglobin"}]})
    'Haemoglobin'
    """
    if not isinstance(concept, Mapping):
        return ""
    codings = concept.get("coding") or ()
    named = [concept.get("text"), *(coding.get("display") for coding in codings)]
    return str(next((one for one in named if one), None) or _first_code(codings))


def _first_code(codings: Iterable[Json]) -> str:
    return str(next((coding["code"] for coding in codings if "code" in coding), ""))


def quantity_text(quantity: Json) -> str:
    """Return a Quantity as it is written."""
    value = quantity.get("value")
    number = "" if value is None else str(getattr(value, "spelling", value))
    unit = quantity.get("unit") or quantity.get("code") or ""
    joined = f"{quantity.get('comparator', '')}{number} {unit}"
    return joined.strip()


def value_text(part: Json) -> str:
    """Return the value of an Observation or of a component, or its parts one after another."""
    for key, value in part.items():
        if key.startswith("value"):
            return _plain_value(value)
    parts = part.get("component") or ()
    told = (f"{concept_text(one.get('code'))} {value_text(one)}".strip() for one in parts)
    return "; ".join(told) or concept_text(part.get("dataAbsentReason"))


def _plain_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, Mapping):
        return str(getattr(value, "spelling", value))
    if "coding" in value or "text" in value:
        return concept_text(value)
    if "low" in value or "high" in value:
        return " – ".join(quantity_text(value[end]) for end in ("low", "high") if end in value)
    if "numerator" in value:
        return ":".join(quantity_text(value.get(end, {})) for end in ("numerator", "denominator"))
    if "start" in value or "end" in value:
        return " – ".join(_day(str(value[end])) for end in ("start", "end") if end in value)
    return quantity_text(value)


def _code(record: Json, known: Mapping[str, Json]) -> str:
    return concept_text(record.get("code"))


def _date(record: Json, known: Mapping[str, Json]) -> str:
    return _day(date_of(record))


def _day(text: str) -> str:
    """Return the day of a date at the precision that it has."""
    day = local_day(text) if len(text) > len("2026-01-01") else None
    return day.isoformat() if day else text


def _result(record: Json, known: Mapping[str, Json]) -> str:
    if record["resourceType"] == "DiagnosticReport":
        return str(record.get("conclusion") or concept_text(next(iter(
            record.get("conclusionCode") or ()), None)))  # fmt: skip
    return value_text(record)


def _reactions(record: Json, known: Mapping[str, Json]) -> str:
    found = (
        concept_text(manifestation)
        for reaction in record.get("reaction") or ()
        for manifestation in reaction.get("manifestation") or ()
    )
    return ", ".join(filter(None, found))


def _medicine(record: Json, known: Mapping[str, Json]) -> str:
    named = record.get("medicationReference") or {}
    medication = known.get(str(named.get("reference")), {})
    return (
        concept_text(record.get("medicationCodeableConcept"))
        or concept_text(medication.get("code"))
        or str(named.get("display") or "")
    )


def _dosage(record: Json, known: Mapping[str, Json]) -> str:
    lines = record.get("dosage") or record.get("dosageInstruction") or ()
    return "; ".join(str(line["text"]) for line in lines if line.get("text"))


def _device(record: Json, known: Mapping[str, Json]) -> str:
    named = record.get("device") or {}
    device = known.get(str(named.get("reference")), {})
    names = device.get("deviceName") or [{}]
    return str(
        concept_text(device.get("type")) or names[0].get("name") or named.get("display") or ""
    )


def _plan(record: Json, known: Mapping[str, Json]) -> str:
    kinds = (concept_text(category) for category in record.get("category") or ())
    named = (record.get("title"), record.get("description"), *kinds)
    return str(next((one for one in named[:2] if one), "") or ", ".join(filter(None, named[2:])))


def _state(record: Json, known: Mapping[str, Json]) -> str:
    return concept_text(record.get("verificationStatus"))


Column = tuple[str, Callable[[Json, Mapping[str, Json]], str]]
_WHAT: tuple[Column, ...] = (("what", _code), ("date", _date))
_MEASURED: tuple[Column, ...] = (("what", _code), ("result", _result), ("date", _date))
_PROBLEM: tuple[Column, ...] = (
    ("what", _code),
    ("severity", lambda record, known: concept_text(record.get("severity"))),
    ("state", _state),
    ("date", _date),
)
_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "allergies": (("what", _code), ("reactions", _reactions), ("state", _state), ("date", _date)),
    "medicines": (("medicine", _medicine), ("dosage", _dosage), ("date", _date)),
    "problems": _PROBLEM,
    "past_problems": _PROBLEM,
    "alerts": _WHAT,
    "immunisations": (
        ("vaccine", lambda record, known: concept_text(record.get("vaccineCode"))),
        ("date", _date),
    ),
    "results": _MEASURED,
    "measurements": _MEASURED,
    "social_history": _MEASURED,
    "pregnancy": _MEASURED,
    "care_plans": (("what", _plan), ("date", _date)),
    "procedures": _WHAT,
    "devices": (("device", _device), ("date", _date)),
}
