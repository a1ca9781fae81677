"""From a FHIR datatype to the columns of an index table, one function for each pair that R4 uses.

Columns by kind: token (system, code), string (normal, exact), date (low, high), number (low, high),
quantity (low, high, system, code, unit), reference (type, id), uri (value,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.intervals import BEGINNING, END, date_interval, period_interval, timing_interval
from ehr_fhir.paths import Path
from ehr_fhir.references import target, type_named
from ehr_fhir.strings import normal

__all__ = ["Converter", "Value", "converter"]

Value = tuple[Any, ...]
# Any: the datatype of the path decides the shape, and validation has already checked it.
Converter = Callable[[Any], Iterator[tuple[str, Value]]]

_CURRENCIES = "urn:iso:std:iso:4217"
# Longer texts are found by their beginning; an index is no place for a note.
_LONGEST = 256
_ADDRESS = ("text", "line", "city", "district", "state", "postalCode", "country")
_NAME = ("text", "family", "given", "prefix", "suffix")


def converter(parameter_type: str, path: Path) -> Converter:
    """Return the function that turns one value at the end of a path into index values."""
    if parameter_type == "reference":
        return _reference_to(path.target)
    return _CONVERTERS[parameter_type].get(path.datatype, _nothing)


def _nothing(_: Any) -> Iterator[tuple[str, Value]]:
    # For example the attachment side of Consent.source[x], which a reference parameter passes by.
    return iter(())


def _coding(coding: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if code := coding.get("code"):
        yield "token", (coding.get("system", ""), code)


def _concept(concept: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for coding in concept.get("coding", ()):
        yield from _coding(coding)


def _identifier(identifier: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if value := identifier.get("value"):
        yield "token", (identifier.get("system", ""), value)


def _contact(contact: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if value := contact.get("value"):
        yield "token", ("", value)


def _plain(value: Any) -> Iterator[tuple[str, Value]]:
    yield "token", ("", ("true" if value else "false") if isinstance(value, bool) else str(value))


def _text(text: str) -> Iterator[tuple[str, Value]]:
    short = text[:_LONGEST]
    yield "string", (normal(short), short)


def _parts(names: tuple[str, ...]) -> Converter:
    def convert(value: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
        for name in names:
            part = value.get(name)
            for text in part if isinstance(part, list) else (part,):
                if text:
                    yield from _text(text)

    return convert


def _date(text: str) -> Iterator[tuple[str, Value]]:
    yield "date", date_interval(text)


def _free_date(text: str) -> Iterator[tuple[str, Value]]:
    # CarePlan.activity.detail.scheduledString and its like: sometimes a date, mostly words.
    try:
        yield "date", date_interval(text)
    except Invalid:
        return


def _period(period: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if interval := period_interval(period):
        yield "date", interval


def _timing(timing: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if interval := timing_interval(timing):
        yield "date", interval


def _number(value: Any) -> Iterator[tuple[str, Value]]:
    yield "number", (float(value), float(value))


def _number_range(value: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    yield "number", _limits(value)


def _quantity(quantity: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if (value := quantity.get("value")) is None:
        return
    low = high = float(value)
    # A comparator says on which side the true value lies.
    comparator = quantity.get("comparator", "")
    low = float(BEGINNING) if comparator.startswith("<") else low
    high = float(END) if comparator.startswith(">") else high
    yield "quantity", (low, high, *_unit(quantity))


def _money(money: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if (value := money.get("value")) is not None:
        currency = money.get("currency", "")
        yield "quantity", (float(value), float(value), _CURRENCIES, currency, currency)


def _range(value: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    unit = _unit(value.get("low") or value.get("high") or {})
    yield "quantity", (*_limits(value), *unit)


def _sampled(sampled: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    low, high = sampled.get("lowerLimit"), sampled.get("upperLimit")
    limits = (
        float(BEGINNING) if low is None else float(low),
        float(END) if high is None else float(high),
    )
    yield "quantity", (*limits, *_unit(sampled.get("origin", {})))


def _limits(value: Mapping[str, Any]) -> tuple[float, float]:
    low, high = value.get("low", {}).get("value"), value.get("high", {}).get("value")
    return (
        float(BEGINNING) if low is None else float(low),
        float(END) if high is None else float(high),
    )


def _unit(quantity: Mapping[str, Any]) -> tuple[str, str, str]:
    return quantity.get("system", ""), quantity.get("code", ""), quantity.get("unit", "")


def _uri(value: str) -> Iterator[tuple[str, Value]]:
    yield "uri", (value,)


def _reference_to(wanted: str | None) -> Converter:
    def convert(value: Any) -> Iterator[tuple[str, Value]]:
        if isinstance(value, str):
            yield "reference", ("", value)  # a canonical or a uri
        elif "resourceType" in value:
            if identity := value.get("id"):
                yield "reference", (value["resourceType"], identity)
        else:
            yield from _reference(value, wanted)

    return convert


def _reference(value: Mapping[str, Any], wanted: str | None) -> Iterator[tuple[str, Value]]:
    reference = value.get("reference", "")
    if wanted and wanted != (type_named(reference) or value.get("type")):
        return
    if found := target(reference):
        yield "reference", (found.type, found.id)
    elif reference and not reference.startswith("#"):
        yield "reference", ("", reference)
    if identifier := value.get("identifier"):
        yield from _identifier(identifier)


_CONVERTERS: Mapping[str, Mapping[str, Converter]] = {
    "token": {
        "CodeableConcept": _concept,
        "Coding": _coding,
        "ContactPoint": _contact,
        "Identifier": _identifier,
        "boolean": _plain,
        "code": _plain,
        "id": _plain,
        "string": _plain,
        "uri": _plain,
    },
    "string": {
        "Address": _parts(_ADDRESS),
        "HumanName": _parts(_NAME),
        "markdown": _text,
        "string": _text,
    },
    "date": {
        "Period": _period,
        "Timing": _timing,
        "date": _date,
        "dateTime": _date,
        "instant": _date,
        "string": _free_date,
    },
    "number": {"Range": _number_range, "decimal": _number, "integer": _number},
    "quantity": {
        "Age": _quantity,
        "Duration": _quantity,
        "Money": _money,
        "Quantity": _quantity,
        "Range": _range,
        "SampledData": _sampled,
    },
    "uri": {"canonical": _uri, "uri": _uri, "url": _uri},
}
