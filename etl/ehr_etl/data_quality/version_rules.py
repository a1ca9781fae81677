"""Tests of one version by itself, by the `kind` of a rule.

Each takes a rule's parameters, the resource and the instant of its receipt, and yields the paths of
the elements at fault and of those that explain them; nothing for a good record, nor for one that
lacks what is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ehr_etl.data_quality.faults import Resource, find_elements, read_interval
from ehr_etl.data_quality.quantities import LOINC, judge_value, unit_of
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import local_target
from ehr_fhir.units import convert

__all__ = ["DAY_MS", "KINDS", "LINKED_KINDS", "YEAR_DAYS", "code_paths", "loinc_codes"]

DAY_MS = 86_400_000
YEAR_DAYS = 365.25
Parameters = Mapping[str, Any]
Test = Callable[[Parameters, Resource, str | None], Iterator[str]]

# Tests between records: `linked_rules` and `shared_references` have them.
LINKED_KINDS = frozenset(
    {
        *("patient_exists", "patient_not_deleted", "references_resolve", "after_birth"),
        *("antenatal", "before_death"),
        *("after_death", "age_at_event", "sex", "pressures", "duplicate", "duplicate_person"),
        *("within_encounter", "overlap", "conflict", "body_mass_index", "shared_references"),
    }
)
# Elements that name the records that this one is a part of, or is made of.
_WHOLES = frozenset(
    {"partOf", "basedOn", "hasMember", "derivedFrom", "replaces", "parent", "supportingInfo"}
)
# Names of what a record is about, shown beside a fault of its values.
_SUBJECTS = ("code", "vaccineCode", "medicationCodeableConcept", "class", "type")


def _check_received(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    at = read_interval(received)
    if at is None or _has_code(resource, rule["unless"]):
        return
    # A day has no clock that could be in another zone: birth dates are compared as they are.
    latest = at[1] + rule["days"] * DAY_MS
    for path in rule["elements"]:
        limit = at[1] if path in ("birthDate", "deceasedDateTime") else latest
        for name, value in find_elements(resource, path):
            found = read_interval(value)
            if found is not None and found[0] >= limit:
                yield name


def _check_order(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    tolerance = rule.get("days", 0) * DAY_MS
    for first, second in rule["pairs"]:
        if first.partition(".")[0] not in resource:
            continue
        ends = {_parent(name): (name, value) for name, value in find_elements(resource, second)}
        for name, value in find_elements(resource, first):
            end = ends.get(_parent(name)) or (
                next(iter(ends.values())) if len(ends) == 1 and "[" not in name else None
            )
            if end is None:
                continue
            before, after = read_interval(value), read_interval(end[1])
            if before is not None and after is not None and before[0] >= after[1] + tolerance:
                yield from (name, end[0])


def _check_length(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path in rule["elements"]:
        for name, period in find_elements(resource, path):
            if not isinstance(period, dict):
                continue
            start, end = read_interval(period.get("start")), read_interval(period.get("end"))
            if start is not None and end is not None and end[0] - start[1] > rule["days"] * DAY_MS:
                yield from (f"{name}.start", f"{name}.end")


def _check_birth(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    birth, at = read_interval(resource.get("birthDate")), read_interval(received)
    death = read_interval(resource.get("deceasedDateTime"))
    if birth is None:
        return
    year = int(str(resource["birthDate"])[:4])
    is_dead = death is not None or resource.get("deceasedBoolean") is True
    end = death or (None if is_dead else at)
    longest = rule["most_years"] * YEAR_DAYS * DAY_MS
    if year < rule["earliest"] or (end is not None and end[0] - birth[1] > longest):
        yield "birthDate"
        if death is not None:
            yield "deceasedDateTime"


def _check_person_number(
    rule: Parameters, resource: Resource, received: str | None
) -> Iterator[str]:
    number = JURISDICTION.person_identifier
    for path, identifier in find_elements(resource, "identifier"):
        if isinstance(identifier, dict) and identifier.get("system") == number.system:
            value = identifier.get("value")
            if isinstance(value, str) and not number.is_valid(number.normalize(value)):
                yield f"{path}.value"


def _check_value_present(
    rule: Parameters, resource: Resource, received: str | None
) -> Iterator[str]:
    if resource.get("status") not in ("final", "amended", "corrected"):
        return
    others = ("component", "hasMember", "dataAbsentReason")
    if not any(key in others or key.startswith("value") for key in resource):
        yield "code"


def _check_limits(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for prefix, part in [("", resource), *_parts(resource, "component")]:
        for key in ("valueQuantity", "valueInteger"):
            if key not in part:
                continue
            value = part[key] if key == "valueQuantity" else {"value": part[key], "code": "1"}
            if not isinstance(value, dict) or value.get("comparator") in ("<", ">", "<=", ">="):
                continue
            if judge_value(loinc_codes(part), value) in rule["judgements"]:
                yield from (f"{prefix}code", f"{prefix}{key}")


def _check_components(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    found: dict[str, tuple[str, float]] = {}
    for prefix, part in _parts(resource, "component"):
        number = _in_mmhg(part)
        for side in ("higher", "lower"):
            if number is not None and not {*loinc_codes(part)}.isdisjoint(rule[side]):
                found[side] = (prefix, number)
    if len(found) == 2 and found["higher"][1] < found["lower"][1]:
        for prefix, _ in found.values():
            yield from (f"{prefix}code", f"{prefix}valueQuantity")


def _check_range(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path in rule["elements"]:
        for name, value in find_elements(resource, path):
            low, high = (value.get(side) for side in ("low", "high"))
            if not isinstance(low, dict) or not isinstance(high, dict):
                continue
            least, most = low.get("value"), high.get("value")
            if not isinstance(least, int | float) or not isinstance(most, int | float):
                continue
            if low.get("unit") == high.get("unit") and least > most:
                yield from (f"{name}.low", f"{name}.high")


def _check_amount(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path in rule["elements"]:
        for name, quantity in find_elements(resource, path):
            value = quantity.get("value") if isinstance(quantity, dict) else quantity
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if value < 0 or _is_over(value, quantity, rule["units"]):
                yield from (key for key in _SUBJECTS if key in resource)
                yield name


def _check_frequency(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path in rule["elements"]:
        for name, repeat in find_elements(resource, path):
            frequency, period = repeat.get("frequency", 1), repeat.get("period")
            if not isinstance(frequency, int | float) or not isinstance(period, int | float):
                continue
            days = convert(float(period), str(repeat.get("periodUnit", "d")), "d")
            if period <= 0 or frequency < 0 or (days and frequency / days > rule["most"]):
                yield name


def _check_placeholder(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path in rule["elements"]:
        for name, value in find_elements(resource, path):
            if isinstance(value, str) and value[:10] in rule["days"]:
                yield name


def _check_test_person(rule: Parameters, resource: Resource, received: str | None) -> Iterator[str]:
    for path, name in find_elements(resource, "name"):
        if isinstance(name, dict):
            texts = [*name.get("given", ()), name.get("family"), name.get("text")]
            words = {word for text in texts if text for word in str(text).casefold().split()}
            if not words.isdisjoint(rule["names"]):
                yield path


def _check_self_reference(
    rule: Parameters, resource: Resource, received: str | None
) -> Iterator[str]:
    own = f"{resource.get('resourceType')}/{resource.get('id')}"
    for key, value in resource.items():
        if key in _WHOLES and isinstance(value, dict | list):
            for path, reference in find_elements(resource, f"{key}.reference"):
                target = local_target(str(reference))
                if target is not None and str(target) == own:
                    yield path


KINDS: Mapping[str, Test] = MappingProxyType(
    {
        "received": _check_received,
        "order": _check_order,
        "length": _check_length,
        "birth": _check_birth,
        "person_number": _check_person_number,
        "value_present": _check_value_present,
        "limits": _check_limits,
        "components": _check_components,
        "range": _check_range,
        "amount": _check_amount,
        "frequency": _check_frequency,
        "placeholder": _check_placeholder,
        "test_person": _check_test_person,
        "self_reference": _check_self_reference,
    }
)


def loinc_codes(part: Mapping[str, Any]) -> Iterator[str]:
    """Yield the LOINC codes of an Observation or a component."""
    for _, coding in find_elements(part, "code.coding"):
        if isinstance(coding, dict) and coding.get("system") == LOINC:
            yield str(coding.get("code"))


def code_paths(resource: Resource) -> Iterator[tuple[str, str, str]]:
    """Yield path, system and code of what a record says it is about."""
    for key in (*_SUBJECTS, "reasonCode", "conclusionCode"):
        for path, coding in find_elements(resource, f"{key}.coding"):
            if isinstance(coding, dict):
                yield (
                    path.partition(".coding")[0],
                    str(coding.get("system")),
                    str(coding.get("code")),
                )


def _is_over(value: float, quantity: Any, units: Mapping[str, float]) -> bool:
    unit = unit_of(quantity) if isinstance(quantity, dict) else None
    # Tablets, drops and puffs are counted.
    unit = "1" if unit is None or (unit.startswith("{") and unit.endswith("}")) else unit
    for name, most in units.items():
        number = convert(float(value), unit, name)
        if number is not None:
            return number > most
    return False


def _in_mmhg(part: Mapping[str, Any]) -> float | None:
    quantity = part.get("valueQuantity")
    if not isinstance(quantity, dict) or not isinstance(quantity.get("value"), int | float):
        return None
    return convert(float(quantity["value"]), unit_of(quantity) or "mm[Hg]", "mm[Hg]")


def _parts(resource: Resource, key: str) -> Iterable[tuple[str, dict[str, Any]]]:
    return [
        (f"{path}.", part) for path, part in find_elements(resource, key) if isinstance(part, dict)
    ]


def _has_code(resource: Resource, codes: Mapping[str, list[str]]) -> bool:
    return any(resource.get(name) in listed for name, listed in codes.items())


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
