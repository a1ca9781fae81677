"""Rules between the records of one person: birth and death, sex, duplicates, references.

A pure function of the person's records as they are now, so it does not matter in which order they
came: what changes gave is what a rebuild gives. A duplicate is the later of two by its id.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from ehr_etl.data_quality.faults import Fault, Interval, Resource, find_elements, read_interval
from ehr_etl.data_quality.quantities import unit_of
from ehr_etl.data_quality.rules import QualityRule, QualityRules
from ehr_etl.data_quality.version_rules import DAY_MS, YEAR_DAYS, code_paths, loinc_codes
from ehr_fhir.references import local_target
from ehr_fhir.units import convert

__all__ = [
    "EVENTS",
    "MASS_UNITS",
    "LinkedRecord",
    "PersonRecords",
    "find_linked_faults",
    "iterate_references",
    "read_measure",
    "read_stay",
]

_BIRTH_SEX = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"
_SEXES = {"F": "female", "M": "male", "female": "female", "male": "male"}
# When something happened to a person, by type; the first that is there counts. What was asked,
# planned, billed or written down may lie elsewhere.
EVENTS: Mapping[str, tuple[str, ...]] = {
    "Observation": ("effectiveDateTime", "effectiveInstant", "effectivePeriod.start"),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod.start"),
    "Encounter": ("period.start",),
    "Procedure": ("performedDateTime", "performedPeriod.start"),
    "Condition": ("onsetDateTime", "onsetPeriod.start", "recordedDate"),
    "AllergyIntolerance": ("onsetDateTime", "recordedDate"),
    "Immunization": ("occurrenceDateTime",),
    "MedicationRequest": ("authoredOn",),
    "MedicationAdministration": ("effectiveDateTime", "effectivePeriod.start"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod.start"),
    "ImagingStudy": ("started",),
    "Specimen": ("collection.collectedDateTime", "collection.collectedPeriod.start"),
    "CarePlan": ("period.start",),
    "ServiceRequest": ("authoredOn",),
    "QuestionnaireResponse": ("authored",),
}
# What is written about the dead as well.
_AFTER_DEATH = frozenset({"DiagnosticReport", "QuestionnaireResponse", "Specimen"})


@dataclass(frozen=True)
class LinkedRecord:
    """A record as the lake has it now: its key `Type/id`, and its content, None if deleted."""

    key: str
    resource: Resource | None

    @property
    def type(self) -> str:
        """Return the type of the record."""
        return self.key.partition("/")[0]


@dataclass
class PersonRecords:
    """The records of one person, and what the rules look up in them."""

    patient: str
    rules: QualityRules
    records: Mapping[str, LinkedRecord]
    birth: Interval | None = None
    death: Interval | None = None
    sex: str | None = None
    # Fingerprint of a record -> keys; code and instant of a result -> value -> first key.
    alike: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    prints: dict[str, str] = field(default_factory=dict)
    results: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    # Instant of a pressure -> side -> key and number; LOINC code and day -> key and number.
    pressures: defaultdict[str, dict[str, tuple[str, float]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    measures: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    stays: list[tuple[Interval, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        patient = self.records.get(f"Patient/{self.patient}")
        if patient is not None and patient.resource is not None:
            self.birth = read_interval(patient.resource.get("birthDate"))
            self.death = read_interval(patient.resource.get("deceasedDateTime"))
            self.sex = _read_sex(patient.resource)


def find_linked_faults(
    patient: str,
    records: Iterable[LinkedRecord],
    rules: QualityRules,
    only: Collection[str] | None = None,
) -> dict[str, list[Fault]]:
    """Return key -> faults of those records of a person that break a rule between records.

    With `only`, of the records with these keys; `records` are those and all they are linked with.
    """
    person = PersonRecords(patient, rules, {record.key: record for record in records})
    linked = [rule for rule in rules.linked() if rule.kind in _TESTS]
    checked = [
        record
        for record in person.records.values()
        if record.resource is not None
        and record.type not in rules.never_held
        and not rules.is_voided(record.resource)
    ]
    _index(person, checked, linked)
    found = {}
    for record in checked:
        if only is not None and record.key not in only:
            continue
        faults = []
        for rule in linked:
            if rule.applies_to(record.type):
                paths = tuple(dict.fromkeys(_TESTS[rule.kind](rule, person, record)))
                if paths:
                    faults.append(Fault(rule.name, paths))
        if faults:
            found[record.key] = faults
    return found


def _index(
    person: PersonRecords, checked: Iterable[LinkedRecord], rules: Iterable[QualityRule]
) -> None:
    by_kind = {rule.kind: rule for rule in rules}
    duplicate, pressures = by_kind.get("duplicate"), by_kind.get("pressures")
    conflict, overlap = by_kind.get("conflict"), by_kind.get("overlap")
    mass = by_kind.get("body_mass_index")
    for record in sorted(checked, key=lambda record: record.key):
        if conflict is not None and conflict.applies_to(record.type):
            if (pair := _read_result(record, conflict)) is not None:
                person.results[pair[0]].setdefault(pair[1], record.key)
        if overlap is not None and record.type == "Encounter":
            person.stays += read_stay(record, overlap)
        if mass is not None and record.type == "Observation":
            for name in ("weight", "height"):
                found = read_measure(record, mass.parameters[name], MASS_UNITS[name])
                if found is not None:
                    person.measures[name, found[0]] = (record.key, found[1])
        if duplicate is not None and duplicate.applies_to(record.type):
            if (text := _fingerprint(record, duplicate)) is not None:
                person.alike[text].append(record.key)
                person.prints[record.key] = text
        if pressures is not None and record.type == "Observation":
            for name, value in _read_pressure(record, pressures):
                person.pressures[name].update(value)


def _test_patient(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    # A Patient that is deleted is known: all their records are out of research by that.
    if f"Patient/{person.patient}" not in person.records:
        yield _name_subject(record)


def _test_deleted_patient(
    rule: QualityRule, person: PersonRecords, record: LinkedRecord
) -> Iterator[str]:
    patient = person.records.get(f"Patient/{person.patient}")
    if patient is not None and patient.resource is None:
        yield _name_subject(record)


def _name_subject(record: LinkedRecord) -> str:
    return "subject" if "subject" in (record.resource or {}) else "patient"


def _test_references(
    rule: QualityRule, person: PersonRecords, record: LinkedRecord
) -> Iterator[str]:
    targets = rule.parameters["targets"]
    for path, reference in iterate_references(record.resource, ""):
        target = local_target(reference)
        if target is None or target.type not in targets:
            continue
        found = person.records.get(str(target))
        if found is None or found.resource is None:
            yield path


def iterate_references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield path, value["reference"]
        for key, content in value.items():
            if isinstance(content, dict | list) and key not in ("extension", "contained"):
                yield from iterate_references(content, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield from iterate_references(item, f"{path}[{number}]")


def _event(record: LinkedRecord) -> tuple[str, Interval] | None:
    for path in EVENTS.get(record.type, ()):
        for name, value in find_elements(record.resource or {}, path):
            found = read_interval(value)
            return None if found is None else (name, found)
    return None


def _test_birth(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    event, birth = _event(record), person.birth
    if event is None or birth is None or event[1][1] > birth[0]:
        return
    is_antenatal = birth[0] - event[1][1] < rule.parameters["antenatal_days"] * DAY_MS
    if is_antenatal == (rule.kind == "antenatal"):
        yield from (event[0], f"Patient/{person.patient}#birthDate")


def _test_death(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    event, death = _event(record), person.death
    if event is None or death is None or event[1][0] < death[1] + DAY_MS:
        return
    about_death = rule.parameters["about_death"]
    is_about_death = any(
        code in about_death.get(system, ()) for _, system, code in code_paths(record.resource or {})
    )
    if record.type in _AFTER_DEATH or is_about_death:
        return
    is_shortly = event[1][0] - death[1] < rule.parameters["later_days"] * DAY_MS
    if is_shortly == (rule.kind == "after_death"):
        yield from (event[0], f"Patient/{person.patient}#deceasedDateTime")


def _test_age(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    event, birth = _event(record), person.birth
    if event is None or birth is None:
        return
    if event[1][0] - birth[1] > rule.parameters["most_years"] * YEAR_DAYS * DAY_MS:
        yield from (event[0], f"Patient/{person.patient}#birthDate")


def _test_sex(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    if person.sex is None:
        return
    other = _sex_codes()["male" if person.sex == "female" else "female"]
    for path, system, code in code_paths(record.resource or {}):
        exact, beginnings = other.get(system, (frozenset(), ()))
        if code in exact or code.startswith(beginnings):
            yield from (path, f"Patient/{person.patient}#gender")


def _test_duplicate(
    rule: QualityRule, person: PersonRecords, record: LinkedRecord
) -> Iterator[str]:
    text = person.prints.get(record.key)
    if text is None:
        return
    first = min(person.alike[text])
    if first != record.key:
        yield from (key for key in ("code", "vaccineCode", "class") if key in record.resource)  # type: ignore[operator]
        yield f"{first}#id"


def _test_pressures(
    rule: QualityRule, person: PersonRecords, record: LinkedRecord
) -> Iterator[str]:
    for name, _ in _read_pressure(record, rule):
        pair = person.pressures[name]
        if len(pair) == 2 and pair["higher"][1] < pair["lower"][1]:
            other = next(key for key, _ in pair.values() if key != record.key)
            yield from ("code", "valueQuantity", f"{other}#valueQuantity")


def _test_encounter(
    rule: QualityRule, person: PersonRecords, record: LinkedRecord
) -> Iterator[str]:
    event = _event(record)
    for path, reference in find_elements(record.resource or {}, "encounter.reference"):
        visit = person.records.get(str(local_target(str(reference))))
        if event is None or visit is None or visit.resource is None:
            continue
        period = visit.resource.get("period", {})
        start, end = read_interval(period.get("start")), read_interval(period.get("end"))
        slack = rule.parameters["days"] * DAY_MS
        is_before = start is not None and event[1][1] < start[0] - slack
        is_after = end is not None and event[1][0] > end[1] + slack
        if is_before or is_after:
            side = "start" if is_before else "end"
            yield from (event[0], path, f"{visit.key}#period.{side}")


def _test_overlap(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    least = rule.parameters["days"] * DAY_MS
    for (start, end), provider, key in read_stay(record, rule):
        for (other_start, other_end), other_provider, other in person.stays:
            shared = min(end, other_end) - max(start, other_start)
            if other < key and provider != other_provider and shared > least:
                yield from ("period", "serviceProvider", f"{other}#period")
                return


def _test_conflict(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    pair = _read_result(record, rule)
    if pair is None:
        return
    others = person.results[pair[0]]
    first = min(others.values())
    if len(others) > 1 and others[pair[1]] != first:
        yield from ("code", "effectiveDateTime", "valueQuantity", f"{first}#valueQuantity")


def _test_mass(rule: QualityRule, person: PersonRecords, record: LinkedRecord) -> Iterator[str]:
    found = read_measure(record, rule.parameters["index"], "kg/m2")
    if found is None:
        return
    weight = person.measures.get(("weight", found[0]))
    height = person.measures.get(("height", found[0]))
    if weight is None or height is None or height[1] <= 0:
        return
    index = weight[1] / height[1] ** 2
    if abs(found[1] - index) > rule.parameters["tolerance"] * index:
        yield from (
            *("code", "valueQuantity"),
            *(f"{weight[0]}#valueQuantity", f"{height[0]}#valueQuantity"),
        )


_TESTS = {
    "patient_exists": _test_patient,
    "patient_not_deleted": _test_deleted_patient,
    "references_resolve": _test_references,
    "after_birth": _test_birth,
    "antenatal": _test_birth,
    "before_death": _test_death,
    "after_death": _test_death,
    "age_at_event": _test_age,
    "sex": _test_sex,
    "pressures": _test_pressures,
    "duplicate": _test_duplicate,
    "within_encounter": _test_encounter,
    "overlap": _test_overlap,
    "conflict": _test_conflict,
    "body_mass_index": _test_mass,
}
MASS_UNITS = {"weight": "kg", "height": "m"}


def _fingerprint(record: LinkedRecord, rule: QualityRule) -> str | None:
    """Return what a record says, so that two that say the same are alike; None without a time."""
    if _event(record) is None:
        return None
    left_out = rule.parameters["left_out"]
    kept = {key: value for key, value in (record.resource or {}).items() if key not in left_out}
    text = orjson.dumps(_without_displays(kept), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _without_displays(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_displays(content) for key, content in value.items() if key != "display"
        }
    return [_without_displays(item) for item in value] if isinstance(value, list) else value


def _read_pressure(
    record: LinkedRecord, rule: QualityRule
) -> Iterator[tuple[str, dict[str, tuple[str, float]]]]:
    """Yield the instant of a pressure that is a record of its own, and which of the two it is."""
    resource = record.resource or {}
    quantity, at = resource.get("valueQuantity"), resource.get("effectiveDateTime")
    if not isinstance(quantity, dict) or not isinstance(quantity.get("value"), int | float):
        return
    for side in ("higher", "lower"):
        if isinstance(at, str) and not {*loinc_codes(resource)}.isdisjoint(rule.parameters[side]):
            yield at, {side: (record.key, float(quantity["value"]))}


def _read_result(record: LinkedRecord, rule: QualityRule) -> tuple[str, str] | None:
    """Return what is measured and when, and the number; None without an instant or a number."""
    resource = record.resource or {}
    quantity, at = resource.get("valueQuantity"), resource.get("effectiveDateTime")
    if not isinstance(quantity, dict) or not isinstance(at, str) or "T" not in at:
        return None
    codes = sorted(f"{system}|{code}" for _, system, code in code_paths(resource))
    if not codes or any(key in resource for key in ("component", "hasMember")):
        return None
    others = {key: resource[key] for key in rule.parameters["distinct_by"] if key in resource}
    subject = [at, codes, others]
    text = orjson.dumps(subject, option=orjson.OPT_SORT_KEYS).decode()
    return text, f"{quantity.get('value')} {unit_of(quantity)}"


def read_stay(record: LinkedRecord, rule: QualityRule) -> list[tuple[Interval, str, str]]:
    resource = record.resource or {}
    kind, period = resource.get("class"), resource.get("period")
    if not isinstance(kind, dict) or kind.get("code") not in rule.parameters["classes"]:
        return []
    if not isinstance(period, dict):
        return []
    start, end = read_interval(period.get("start")), read_interval(period.get("end"))
    provider = next(
        (str(name) for _, name in find_elements(resource, "serviceProvider.reference")), ""
    )
    if start is None or end is None or not provider:
        return []
    return [((start[0], end[1]), provider, record.key)]


def read_measure(record: LinkedRecord, code: str, unit: str) -> tuple[str, float] | None:
    """Return the day and the number of a measurement of a code, in a unit."""
    resource = record.resource or {}
    quantity, at = resource.get("valueQuantity"), resource.get("effectiveDateTime")
    if (
        not isinstance(quantity, dict)
        or not isinstance(at, str)
        or code not in loinc_codes(resource)
    ):
        return None
    if not isinstance(quantity.get("value"), int | float):
        return None
    number = convert(float(quantity["value"]), unit_of(quantity) or "", unit)
    return None if number is None else (at[:10], number)


def _read_sex(patient: Resource) -> str | None:
    """Return the sex at birth where it is held, else the administrative one; None if it is open."""
    for _, extension in find_elements(patient, "extension"):
        if isinstance(extension, dict) and extension.get("url") == _BIRTH_SEX:
            return _SEXES.get(str(extension.get("valueCode")))
    return _SEXES.get(str(patient.get("gender")))


@cache
def _sex_codes() -> Mapping[str, Mapping[str, tuple[frozenset[str], tuple[str, ...]]]]:
    """Return sex -> system -> codes, and beginnings of codes."""
    content = tomllib.loads((files(__package__) / "sex_codes.toml").read_text("utf-8"))
    return {
        sex: {
            system: (frozenset(), tuple(codes)) if "icd-10" in system else (frozenset(codes), ())
            for system, codes in systems.items()
        }
        for sex, systems in content.items()
    }
