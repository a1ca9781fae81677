"""The sections of a summary, and which records belong to each.

Codes, required sections and entry types are those of Composition-uv-ips 2.0.0. Which records stand
there is this project's choice where the guide leaves it open: what holds now, the newest of each
measurement, and never what was entered in error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Invalid

__all__ = ["SECTIONS", "SUMMARY_TYPES", "Section", "select_records"]

Json = Mapping[str, Any]  # FHIR JSON of every shape
_MOST_RESULTS = 100
_FINAL = frozenset({"registered", "preliminary", "partial", "final", "amended", "corrected"})
_FINAL |= {"appended"}
_LOINC = "http://loinc.org"
# The codes of the guide's profiles: status, expected date of delivery, outcomes so far.
_PREGNANCY = frozenset(
    {"82810-3", "11778-8", "11779-6", "11780-4"}
    | {"11636-8", "11637-6", "11638-4", "11639-2", "11640-0", "11612-9", "11613-7", "11614-5",
       "33065-4"}
)  # fmt: skip
_TOBACCO_AND_ALCOHOL = frozenset({"72166-2", "74013-4"})


@dataclass(frozen=True)
class Section:
    """One section: its LOINC code, the types of its entries, which records stand there."""

    # Of `words.toml`; with `no_` before it the sentence of an empty section.
    key: str
    code: str
    types: tuple[str, ...]
    belongs: Callable[[Json], bool]
    # It is there even without an entry.
    is_required: bool = False
    # Of each code only the newest.
    newest_of_code: bool = False


def status_codes(record: Json, element: str) -> frozenset[str]:
    """Return the codes of a status that is a code or a CodeableConcept.

    >>> sorted(status_codes({"clinicalStatus": {"coding": [{"code": "active"}]}}, "clinicalStatus"))
    ['active']
    """
    value = record.get(element)
    if isinstance(value, str):
        return frozenset({value})
    codings = value.get("coding", ()) if isinstance(value, Mapping) else ()
    return frozenset(str(coding.get("code")) for coding in codings)


def _in_error(record: Json) -> bool:
    wrong = {"entered-in-error", "refuted"}
    return bool(
        wrong & (status_codes(record, "verificationStatus") | status_codes(record, "status"))
    )


def _holds_now(record: Json) -> bool:
    over = {"inactive", "remission", "resolved"}
    return not _in_error(record) and not over & status_codes(record, "clinicalStatus")


def _is_past(record: Json) -> bool:
    return not _in_error(record) and not _holds_now(record)


def _has_status(*known: str) -> Callable[[Json], bool]:
    return lambda record: record.get("status") in known


def _is_in_use(record: Json) -> bool:
    # An order not to give something, a plan and a proposal are no medicine that is taken.
    return (
        record.get("status") in ("active", "intended", "on-hold", "unknown")
        and record.get("doNotPerform") is not True
        and record.get("intent", "order") not in ("plan", "proposal", "option")
    )


def _in_category(*known: str) -> Callable[[Json], bool]:
    def belongs(record: Json) -> bool:
        codes = (
            coding.get("code")
            for category in record.get("category", ())
            for coding in category.get("coding", ())
        )
        return record.get("status") in _FINAL and bool(set(known) & set(codes))

    return belongs


def _has_loinc(record: Json, codes: frozenset[str]) -> bool:
    return record.get("status") in _FINAL and any(
        coding.get("system") == _LOINC and coding.get("code") in codes
        for coding in record.get("code", {}).get("coding", ())
    )


def _is_about_pregnancy(record: Json) -> bool:
    return _has_loinc(record, _PREGNANCY)


def _is_social_history(record: Json) -> bool:
    if _is_about_pregnancy(record):
        return False
    return _in_category("social-history")(record) or _has_loinc(record, _TOBACCO_AND_ALCOHOL)


def _is_current_plan(record: Json) -> bool:
    return record.get("status") in ("active", "on-hold") and record.get("intent") in (
        "plan", "order",
    )  # fmt: skip


def _is_result(record: Json) -> bool:
    if record["resourceType"] == "DiagnosticReport":
        return record.get("status") in _FINAL
    return _in_category("laboratory")(record)


SECTIONS = (
    Section("allergies", "48765-2", ("AllergyIntolerance",), _holds_now, is_required=True),
    Section("medicines", "10160-0", ("MedicationStatement", "MedicationRequest"), _is_in_use,
            is_required=True),
    Section("problems", "11450-4", ("Condition",), _holds_now, is_required=True),
    Section("alerts", "104605-1", ("Flag",), _has_status("active")),
    Section("immunisations", "11369-6", ("Immunization",), _has_status("completed")),
    Section("results", "30954-2", ("Observation", "DiagnosticReport"), _is_result,
            newest_of_code=True),
    Section("procedures", "47519-4", ("Procedure",),
            _has_status("completed", "in-progress", "on-hold", "stopped", "unknown")),
    Section("devices", "46264-8", ("DeviceUseStatement",),
            _has_status("active", "completed", "intended", "on-hold")),
    Section("measurements", "8716-3", ("Observation",), _in_category("vital-signs"),
            newest_of_code=True),
    Section("social_history", "29762-2", ("Observation",), _is_social_history,
            newest_of_code=True),
    Section("pregnancy", "10162-6", ("Observation",), _is_about_pregnancy, newest_of_code=True),
    Section("care_plans", "18776-5", ("CarePlan",), _is_current_plan),
    Section("past_problems", "11348-0", ("Condition",), _is_past),
)  # fmt: skip
# What is asked of a store.
SUMMARY_TYPES = frozenset({"Patient", *(kind for section in SECTIONS for kind in section.types)})
# The elements that say when something was, the most telling first.
_DATES = (
    "effectiveDateTime", "effectiveInstant", "performedDateTime", "occurrenceDateTime",
    "onsetDateTime", "timingDateTime", "authoredOn", "recordedDate", "recordedOn",
    "dateAsserted", "issued",
)  # fmt: skip
_PERIODS = ("effectivePeriod", "performedPeriod", "onsetPeriod", "timingPeriod", "period")


def date_of(record: Json) -> str:
    """Return when something was, as it is written; empty where nothing says so.

    >>> date_of({"onsetDateTime": "2020-03"}), date_of({"effectivePeriod": {"start": "2021"}})
    ('2020-03', '2021')
    """
    for name in _DATES:
        if isinstance(record.get(name), str):
            return str(record[name])
    for name in _PERIODS:
        if isinstance(record.get(name), Mapping) and "start" in record[name]:
            return str(record[name]["start"])
    return ""


def _begin_of(record: Json) -> float:
    """Return the instant at which it began, in ms: two texts may be of two zones."""
    text = date_of(record)
    # The fast way, for most are instants and there may be thousands.
    with suppress(ValueError):
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.timestamp() * 1000
    with suppress(Invalid):
        return datetime_interval(text)[0]
    return -inf


def select_records(records: Iterable[Json]) -> dict[str, list[Json]]:
    """Return the records of each section by its key, the newest first."""
    ordered = sorted(records, key=lambda one: (str(one["resourceType"]), str(one["id"])))
    ordered.sort(key=_begin_of, reverse=True)
    selected: dict[str, list[Json]] = {}
    for section in SECTIONS:
        found = [one for one in ordered if one["resourceType"] in section.types]
        found = [one for one in found if section.belongs(one)]
        if section.newest_of_code:
            newest: dict[object, Json] = {}
            for one in found:
                newest.setdefault(_code_key(one), one)
            found = list(newest.values())[:_MOST_RESULTS]
        selected[section.key] = found
    return selected


def _code_key(record: Json) -> object:
    code = record.get("code", {})
    coding: Json = next(iter(code.get("coding", ())), {})
    if "code" in coding:
        return record["resourceType"], coding.get("system"), coding["code"]
    return record["resourceType"], code.get("text", record["id"])
