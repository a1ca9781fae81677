"""Values of Observations: numbers with their unit and operator, concepts, and what is text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_etl.omop.fhir_values import Coding, first_value, list_codings
from ehr_etl.omop.person_rows import PersonRows
from ehr_etl.omop.vocabulary import Vocabulary
from ehr_fhir.units import UCUM

__all__ = ["has_value", "read_observed_values"]

Row = dict[str, Any]
Json = Any  # JSON of every shape

_COMPARATOR = "http://hl7.org/fhir/quantity-comparator"


def has_value(content: Mapping[str, Json]) -> bool:
    """Say whether an Observation, or a component, has a value."""
    return any(name.startswith("value") for name in content)


def read_observed_values(
    vocabulary: Vocabulary,
    person_rows: PersonRows,
    table: str,
    key: int,
    content: Mapping[str, Json],
) -> Row:
    """Return the values of an Observation, or of a component, and of its reference range."""
    quantity = content.get("valueQuantity")
    values: Row = {
        "range_low": first_value(content, ("referenceRange.low.value",)),
        "range_high": first_value(content, ("referenceRange.high.value",)),
    }
    if isinstance(quantity, Mapping):
        comparator = str(quantity.get("comparator", ""))
        number = quantity.get("value")
        text = None if number is None else f"{comparator}{number}"
        values |= {"value_number": number, "value_source": _text(text, 50)}
        # Only a measurement has a column for it.
        if comparator and table == "measurement":
            operator = vocabulary.choose([Coding(_COMPARATOR, comparator)])
            values["operator"] = operator.concept_id
            person_rows.add_unmapped(table, key, "operator_concept_id", operator)
        if "code" in quantity:
            unit = vocabulary.choose(
                [Coding(str(quantity.get("system", UCUM)), str(quantity["code"]))]
            )
            values |= unit.element_values("unit")
            person_rows.add_unmapped(table, key, "unit_concept_id", unit)
    elif "valueCodeableConcept" in content:
        code = vocabulary.choose(list_codings(content["valueCodeableConcept"]))
        values |= {"value_concept": code.concept_id,
                   "value_source": code.source_value,
                   "value_text": code.source_value}  # fmt: skip
        person_rows.add_unmapped(table, key, "value_as_concept_id", code)
    else:
        value = _plain_value(content)
        if isinstance(value, int | float) and not isinstance(value, bool):
            values["value_number"] = value
        values |= {"value_text": _text(value, 60), "value_source": _text(value, 50)}
    return values


def _plain_value(content: Mapping[str, Json]) -> Json:
    """Return a value of a simple type as it is, and of another one its numbers as text."""
    name = next(iter(sorted(name for name in content if name.startswith("value"))), None)
    if name is None:
        return None
    value = content[name]
    parts = {
        "valueRange": ("low.value", "high.value"),
        "valueRatio": ("numerator.value", "denominator.value"),
        "valuePeriod": ("start", "end"),
    }.get(name)
    if parts is None:
        return value
    return "/".join(str(first_value(value, (part,))) for part in parts)


def _text(value: Json, length: int) -> str | None:
    if value is None:
        return None
    return (str(value).lower() if isinstance(value, bool) else str(value))[:length]
