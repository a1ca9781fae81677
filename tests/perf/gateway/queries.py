"""The searches of the public benchmark's kinds, with values that the sample has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.perf.gateway.bundles import Sample

__all__ = ["queries"]

_PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")


def queries(sample: Sample, names: dict[str, str]) -> list[dict[str, str]]:
    """Return searches as kind and path; `names` tells a record's name on the server."""
    found: list[dict[str, str]] = []
    # Turned, so that one kind is not asked eight times in a row.
    kinds = {kind: list(paths) for kind, paths in _kinds(sample, names).items()}
    for position in range(max(map(len, kinds.values()))):
        for kind, paths in kinds.items():
            found.append({"kind": kind, "path": f"{paths[position % len(paths)]}&_count=20"})
    return found


def _kinds(sample: Sample, names: dict[str, str]) -> dict[str, Iterator[str]]:
    patients = [record[0] for record in sample.records]
    return {
        "string": _string(patients),
        "contains": _contains(patients),
        "date": _date(sample),
        "token": _token(sample),
        "reference": _reference(patients, names),
        "quantity": _quantity(sample),
        "composite": _composite(sample),
    }


def _string(patients: list[dict[str, Any]]) -> Iterator[str]:
    for one in patients:
        yield _path("Patient", name=one["name"][0]["family"])
        yield _path("Patient", address=_street(one))


def _street(patient: dict[str, Any]) -> str:
    # A line: the reference does not find a district.
    return str(patient["address"][0]["line"][1])


def _contains(patients: list[dict[str, Any]]) -> Iterator[str]:
    for one in patients:
        yield _path("Patient", **{"name:contains": one["name"][0]["family"][1:]})
        yield _path("Patient", **{"address:contains": _street(one).partition(" ")[2]})


def _date(sample: Sample) -> Iterator[str]:
    encounters = _all(sample, "Encounter")
    starts = sorted(one["period"]["start"] for one in encounters)
    middle = starts[len(starts) // 2][:10]
    birth = sorted(record[0]["birthDate"] for record in sample.records)[len(sample.records) // 2]
    for prefix in _PREFIXES:
        yield _path("Encounter", date=f"{prefix}{middle}")
        yield _path("Patient", birthdate=f"{prefix}{birth}")


def _token(sample: Sample) -> Iterator[str]:
    for kind in ("Observation", "Condition", "Procedure"):
        codings = (one["code"]["coding"][0] for one in _all(sample, kind))
        counted = Counter((one["system"], one["code"]) for one in codings)
        for (system, code), _ in counted.most_common(5):
            yield _path(kind, code=f"{system}|{code}")
    yield _path("Patient", gender="female")
    yield _path("Encounter", status="finished")


def _reference(patients: list[dict[str, Any]], names: dict[str, str]) -> Iterator[str]:
    for one in patients:
        name = names[f"Patient/{one['id']}"]
        yield _path("Observation", subject=name)
        yield _path("Encounter", patient=name.partition("/")[2])


def _quantity(sample: Sample) -> Iterator[str]:
    for prefix in ("gt", "lt", "ge", "le"):
        for _, unit, value in _measured(sample):
            yield _path("Observation", **{"value-quantity": f"{prefix}{value}|{_UCUM}|{unit}"})


def _composite(sample: Sample) -> Iterator[str]:
    for prefix in ("gt", "lt", "ge", "le"):
        for code, unit, value in _measured(sample):
            pair = f"http://loinc.org|{code}${prefix}{value}|{_UCUM}|{unit}"
            yield _path("Observation", **{"code-value-quantity": pair})


_UCUM = "http://unitsofmeasure.org"


def _measured(sample: Sample) -> Iterator[tuple[str, str, str]]:
    """Yield the commonest measurements: code, unit and a value in the middle."""
    values: dict[tuple[str, str], list[float]] = {}
    for one in _all(sample, "Observation"):
        if quantity := one.get("valueQuantity"):
            key = (one["code"]["coding"][0]["code"], quantity["code"])
            values.setdefault(key, []).append(float(quantity["value"]))
    common = sorted(values.items(), key=lambda item: -len(item[1]))
    for (code, unit), found in [item for item in common if len(set(item[1])) > 2][:4]:
        yield code, unit, str(sorted(found)[len(found) // 2])


def _all(sample: Sample, kind: str) -> list[dict[str, Any]]:
    return [one for record in sample.records for one in record if one["resourceType"] == kind]


def _path(kind: str, **parameters: str) -> str:
    return f"{kind}?{urlencode(parameters)}"
