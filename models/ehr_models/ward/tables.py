"""What the task reads, as four tables: people, stays, measurements, decisions for scale 2.

The same function makes them of a lake's records and of one patient's resources, so a model is asked
as it was taught. A value that cannot be used stays as a row with its reason: it is told, never
silently dropped. Instants are epoch milliseconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import pyarrow as pa

from ehr_fhir import news2
from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid
from ehr_fhir.references import local_target
from ehr_fhir.units import convert

Resource = Mapping[str, Any]

# `born_ms` is the first instant of what is known of the birth date.
PEOPLE = pa.schema(
    [
        ("patient_id", pa.string()),
        ("born_ms", pa.int64()),
        ("sex", pa.string()),
        ("died_ms", pa.int64()),
    ]
)
# `ended_ms` is null of a stay that goes on; `died` where its disposition says so.
STAYS = pa.schema(
    [
        ("encounter_id", pa.string()),
        ("patient_id", pa.string()),
        ("provider", pa.string()),
        ("started_ms", pa.int64()),
        ("ended_ms", pa.int64()),
        ("is_intensive", pa.bool_()),
        ("died", pa.bool_()),
    ]
)
# `name` is a sign of NEWS2 or a laboratory value of ward.toml. The oxygen is 1 where it is given,
# the consciousness the place of its letter in ACVPU: 0 is alert. `known_ms` is when the value was
# there to be read; where `value` is null, `reason` says why.
MEASUREMENTS = pa.schema(
    [
        ("patient_id", pa.string()),
        ("name", pa.string()),
        ("at_ms", pa.int64()),
        ("known_ms", pa.int64()),
        ("value", pa.float64()),
        ("reason", pa.string()),
    ]
)
SCALES = pa.schema([("patient_id", pa.string()), ("at_ms", pa.int64()), ("scale_2", pa.bool_())])

# v3-ActCode: IMP and what lies below it.
_WARD_CLASSES = ("IMP", "ACUTE", "NONAC")
_NO_STAY = ("planned", "cancelled", "entered-in-error", "unknown")
_VOID = ("entered-in-error", "cancelled", "registered", "unknown")
_DIED = "exp"


@dataclass(frozen=True)
class WardTables:
    """Arrow tables of the schemas above."""

    people: pa.Table
    stays: pa.Table
    measurements: pa.Table
    scales: pa.Table


@dataclass
class WardReader:
    """Collects rows from resources, each of one patient."""

    _people: dict[str, dict[str, Any]] = field(default_factory=dict)
    _stays: list[dict[str, Any]] = field(default_factory=list)
    _measurements: list[dict[str, Any]] = field(default_factory=list)
    _scales: list[dict[str, Any]] = field(default_factory=list)

    def add(self, patient: str, resource: Resource) -> None:
        """Take what the task reads of a Patient, an Encounter or an Observation."""
        match resource.get("resourceType"):
            case "Patient":
                self._add_person(patient, resource)
            case "Encounter":
                self._stays += _read_stay(patient, resource)
            case "Observation":
                self._add_observation(patient, resource)

    def finish(self) -> WardTables:
        """Return the tables."""
        return WardTables(
            pa.Table.from_pylist(list(self._people.values()), PEOPLE),
            pa.Table.from_pylist(self._stays, STAYS),
            pa.Table.from_pylist(self._measurements, MEASUREMENTS),
            pa.Table.from_pylist(self._scales, SCALES),
        )

    def _add_person(self, patient: str, resource: Resource) -> None:
        earlier = self._people.get(patient, {})
        found = {
            "patient_id": patient,
            "born_ms": _read_ms(resource.get("birthDate")),
            "sex": resource.get("gender"),
            "died_ms": _read_ms(resource.get("deceasedDateTime")),
        }
        # Of merged accounts the first that says something.
        self._people[patient] = {name: earlier.get(name) or found[name] for name in found}

    def _add_observation(self, patient: str, resource: Resource) -> None:
        if (uses_scale_2 := news2.read_scale_decision(resource)) is not None:
            at = _read_ms(resource.get("effectiveDateTime"))
            if at is not None:
                self._scales.append({"patient_id": patient, "at_ms": at, "scale_2": uses_scale_2})
            return
        self._measurements += _read_measurements(patient, resource)


def list_results() -> Mapping[str, Mapping[str, Any]]:
    """Return the laboratory values by name: their codes, unit, limits and molar mass."""
    results: Mapping[str, Mapping[str, Any]] = _load()["results"]
    return results


def read_result(
    name: str, value: float | None, unit: str | None, comparator: str | None = None
) -> news2.Reading:
    """Return a laboratory value in the unit of its feature.

    >>> read_result("creatinine", 1.0, "mg/dL"), read_result("sodium", 14, "mmol/L").reason
    (Reading(value=88.4016973125884, reason=''), 'impossible value')
    """
    if value is None:
        return news2.Reading(None, news2.NO_VALUE)
    if comparator:
        return news2.Reading(None, news2.COMPARATOR)
    row = list_results()[name]
    number = convert(value, unit or "", row["unit"], row.get("molar_mass"))
    if number is None:
        return news2.Reading(None, news2.WRONG_UNIT)
    low, high = row["limits"]
    return news2.Reading(number) if low <= number <= high else news2.Reading(None, news2.IMPOSSIBLE)


def _read_stay(patient: str, encounter: Resource) -> Iterator[dict[str, Any]]:
    is_stay = _dict(encounter.get("class")).get("code") in _WARD_CLASSES
    period = _dict(encounter.get("period"))
    started = _read_ms(period.get("start"))
    if not is_stay or encounter.get("status") in _NO_STAY or started is None:
        return
    care = _load()["intensive_care"]
    codings = [c for concept in encounter.get("type", ()) for c in concept.get("coding", ())]
    leaving = _dict(_dict(encounter.get("hospitalization")).get("dischargeDisposition"))
    provider = local_target(str(_dict(encounter.get("serviceProvider")).get("reference", "")))
    yield {
        "encounter_id": str(encounter.get("id", "")),
        "patient_id": patient,
        "provider": provider.id if provider else "",
        "started_ms": started,
        "ended_ms": _read_ms(period.get("end")),
        "is_intensive": any(
            c.get("system") == care["system"] and c.get("code") in care["codes"] for c in codings
        ),
        "died": any(c.get("code") == _DIED for c in leaving.get("coding", ())),
    }


def _read_measurements(patient: str, observation: Resource) -> Iterator[dict[str, Any]]:
    if observation.get("status") in _VOID or _is_measured_at_home(observation):
        return
    at = _read_instant(observation)
    if at is None:
        return
    issued = _read_ms(observation.get("issued"))
    row = {"patient_id": patient, "at_ms": at, "known_ms": max(at, issued or at)}
    for part in (observation, *observation.get("component", ())):
        for name, reading in _read_part(part):
            value = reading.value
            if name == news2.CONSCIOUSNESS and isinstance(value, str):
                value = news2.ACVPU.index(value)
            number = None if value is None else float(value)
            yield {**row, "name": name, "value": number, "reason": reading.reason or None}


def _read_part(part: Resource) -> Iterator[tuple[str, news2.Reading]]:
    if not any(key.startswith(("value", "dataAbsent")) for key in part):
        return
    codings = _dict(part.get("code")).get("coding", ())
    codes = {c.get("code", "") for c in codings if "loinc.org" in c.get("system", "")}
    quantity = _dict(part.get("valueQuantity"))
    measured = (
        quantity.get("value"),
        quantity.get("code") or quantity.get("unit"),
        quantity.get("comparator"),
    )
    for code in sorted(codes & news2.list_codes().keys()):
        name = news2.list_codes()[code]
        if name == news2.CONSCIOUSNESS:
            yield name, news2.read_consciousness(part)
        else:
            yield name, news2.read_quantity(name, *measured)
    for code in sorted(codes & _result_codes().keys()):
        name = _result_codes()[code]
        yield name, read_result(name, *measured)


def _read_instant(observation: Resource) -> int | None:
    """Return when something was measured; None of what is known to the day only."""
    text = (
        observation.get("effectiveDateTime")
        or observation.get("effectiveInstant")
        or _dict(observation.get("effectivePeriod")).get("start")
    )
    return _read_ms(text) if isinstance(text, str) and len(text) > len("2026-11-28") else None


def _is_measured_at_home(observation: Resource) -> bool:
    performers: Iterable[Resource] = observation.get("performer", ())
    return any(
        str(performer.get("reference", "")).startswith(("Patient/", "RelatedPerson/"))
        for performer in performers
    )


def _read_ms(text: object) -> int | None:
    try:
        return date_interval(text)[0] if isinstance(text, str) else None
    except Invalid:
        return None


@cache
def _result_codes() -> Mapping[str, str]:
    return {code: name for name, row in list_results().items() for code in row["codes"]}


@cache
def _load() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((files(__package__) / "ward.toml").read_text("utf-8"))
    return content


def _dict(value: Any) -> Mapping[str, Any]:  # Any: parsed JSON
    return value if isinstance(value, dict) else {}
