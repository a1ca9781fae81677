"""Vaccinations and diagnoses from silver, each row under the lake's pseudonym of its person.

Exactly the records are here that research may use, by the function that decides for `visits`. A
code that is none of its system's form is left out: whatever else stands there may be words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from ehr_etl.lake import Lake
from ehr_etl.trusted_zone.visits import read_allowed_records
from ehr_fhir.dates import read_date
from ehr_privacy.deid.code_checks import is_sctid

__all__ = ["CONDITION", "EVENT_SCHEMA", "VACCINATION", "read_health_events"]

Resource = Mapping[str, Any]

VACCINATION, CONDITION = "vaccination", "condition"
_TYPES = {VACCINATION: "Immunization", CONDITION: "Condition"}
_MONTH = 1
# System -> its name beside a code, and what makes a code of a coding; None where it is none.
_CVX = re.compile(r"(\d{1,3})")
# By its category: what lies below it has fewer people.
_ICD_10 = re.compile(r"([A-Z]\d\d)(?:\.?\d{1,4})?")
_ATC = re.compile(r"(J07[A-Z]{2}\d{2})")


def _match(form: re.Pattern[str]) -> Callable[[str], str | None]:
    def check(code: str) -> str | None:
        found = form.fullmatch(code)
        return found[1] if found else None

    return check


def _check_sctid(code: str) -> str | None:
    return code if is_sctid(code) else None


_SYSTEMS: Mapping[str, tuple[str, Callable[[str], str | None]]] = MappingProxyType(
    {
        "http://hl7.org/fhir/sid/cvx": ("CVX", _match(_CVX)),
        "http://www.whocc.no/atc": ("ATC", _match(_ATC)),
        "http://hl7.org/fhir/sid/icd-10": ("ICD-10", _match(_ICD_10)),
        "http://hl7.org/fhir/sid/icd-10-cm": ("ICD-10", _match(_ICD_10)),
        "http://snomed.info/sct": ("SNOMED CT", _check_sctid),
    }
)

# `code`: the name of its system and the code, such as `CVX 140`. `start`: the day, on the wall
# clock; the first of the month where no day is known. `end` is the same.
EVENT_SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("kind", pa.string()),
        ("code", pa.string()),
        ("start", pa.timestamp("ms")),
        ("end", pa.timestamp("ms")),
    ]
)


def read_health_events(lake: Lake, key: bytes, now_ms: int, kind: str) -> pa.Table:
    """Return the vaccinations or the diagnoses that research may use, as EVENT_SCHEMA.

    `key` is that of the lake's pseudonyms. NotFound where the lake has no tables yet.
    """
    rows = [
        {"person": person, "kind": kind, "code": code, "start": day, "end": day}
        for person, resource, _ in read_allowed_records(lake, key, now_ms, _TYPES[kind])
        if _took_place(resource)
        and (code := _find_code(resource.get("vaccineCode") or resource.get("code")))
        and (day := _find_day(resource))
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def _took_place(resource: Resource) -> bool:
    """Say whether it was so: neither an error, nor refuted, nor a dose that was not given."""
    statuses = {resource.get("status")}
    for coding in (resource.get("verificationStatus") or {}).get("coding") or ():
        statuses.add(coding.get("code"))
    return not statuses & {"entered-in-error", "not-done", "refuted"}


def _find_code(concept: Any) -> str | None:  # Any: parsed JSON
    """Return the first code of a concept that is of its system's form."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings or ():
        name, check = _SYSTEMS.get(str(coding.get("system")), ("", lambda code: None))
        code = check(str(coding.get("code", "")))
        if code is not None:
            return f"{name} {code}"
    return None


def _find_day(resource: Resource) -> datetime | None:
    for element in ("occurrenceDateTime", "onsetDateTime", "recordedDate"):
        text = resource.get(element)
        read = read_date(text) if isinstance(text, str) else None
        if read is not None and len(read.parts) > _MONTH:
            return datetime.fromisoformat(f"{text}-01"[:10])
    return None
