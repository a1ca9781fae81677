"""From a FHIR datatype to the columns of an index table, one function for each pair that R4 uses.

Columns by kind: token (system, code), string (normal, exact), date (low, high), number (low, high),
quantity (low, high, system, code, unit), reference (type, id), uri (value,), position (x, y, z). No
text is longer than an index bears. A quantity in UCUM has a second row, in the unit's base units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from ehr_fhir.dates import BEGINNING, END, date_interval, period_interval, timing_interval
from ehr_fhir.errors import Invalid
from ehr_fhir.geo_positions import unit_vector
from ehr_fhir.references import local_target, referenced_type, strip_version
from ehr_fhir.string_folding import MAX_INDEXED_CHARACTERS, normalize_string, shorten_for_index
from ehr_fhir.token_keys import folded_key, token_key
from ehr_fhir.units import CANONICAL_SYSTEM, MAX_UNIT_CHARACTERS, CanonicalUnit, canonical_unit

__all__ = ["Converter", "Value", "find_converter", "is_convertible"]

Value = tuple[Any, ...]
# Any: the datatype of the path decides the shape, and validation has already checked it.
Converter = Callable[[Any], Iterable[tuple[str, Value]]]

_CURRENCIES = "urn:iso:std:iso:4217"
_ADDRESS = ("text", "line", "city", "district", "state", "postalCode", "country")
_NAME = ("text", "family", "given", "prefix", "suffix")


def find_converter(parameter_type: str, datatype: str, target_type: str | None) -> Converter:
    """Return the function that turns one value of a datatype into index values."""
    if parameter_type == "reference":
        return _reference_to(target_type)
    return _CONVERTERS[parameter_type].get(datatype, _nothing)


def is_convertible(parameter_type: str, datatype: str) -> bool:
    """Say whether a parameter of a type can have values of a datatype."""
    if parameter_type == "reference":
        return datatype in ("Reference", "Resource", "canonical", "uri")
    return datatype in _CONVERTERS[parameter_type]


def _nothing(_: Any) -> Iterator[tuple[str, Value]]:
    # For example the attachment side of Consent.source[x], which a reference parameter passes by.
    return iter(())


def _token(system: str, code: str) -> tuple[str, Value]:
    return "token", (shorten_for_index(system), token_key(system, code))


def _coding(coding: Mapping[str, Any]) -> list[tuple[str, Value]]:
    found = []
    if code := coding.get("code"):
        found.append(_token(coding.get("system", ""), code))
    if display := coding.get("display"):
        found.append(_term(display))  # for `:text`
    return found


def _concept(concept: Mapping[str, Any]) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    for coding in concept.get("coding", ()):
        found += _coding(coding)
    if text := concept.get("text"):
        found.append(_term(text))
    return found


def _identifier(identifier: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    value = str(identifier.get("value", ""))
    if value:
        yield _token(identifier.get("system", ""), value)
    if (kind := identifier.get("type")) is None:
        return
    if text := kind.get("text"):
        yield _term(text)
    for coding in kind.get("coding", ()):
        if value and (code := coding.get("code")):
            # For `:of-type`; a code has no bar, so no system looks like it.
            of_type = shorten_for_index(f"{coding.get('system', '')}|{code}")
            yield "token", (of_type, folded_key(value))


def _contact(contact: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if value := contact.get("value"):
        yield "token", ("", folded_key(value))


def _plain(value: Any) -> Iterator[tuple[str, Value]]:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    yield "token", ("", shorten_for_index(text))


def _plain_text(value: Any) -> Iterator[tuple[str, Value]]:
    yield "token", ("", folded_key(str(value)))


def _text(text: str) -> tuple[tuple[str, Value]]:
    return (_term(text),)


def _term(text: str) -> tuple[str, Value]:
    return _remembered(text) if len(text) <= MAX_INDEXED_CHARACTERS else _folded(text)


def _folded(text: str) -> tuple[str, Value]:
    return "string", (normalize_string(text), shorten_for_index(text))


# The names of codes and places come again and again, a person's in several parameters.
_remembered = lru_cache(4096)(_folded)


def _parts(names: tuple[str, ...]) -> Converter:
    def convert(value: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
        for name in names:
            part = value.get(name)
            for text in part if isinstance(part, list) else (part,):
                if text:
                    yield _term(text)

    return convert


def _date(text: str) -> tuple[tuple[str, Value]]:
    return (("date", date_interval(text)),)


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
    # A comparator says on which side the true value lies.
    comparator = quantity.get("comparator", "")
    low = None if comparator.startswith("<") else value
    high = None if comparator.startswith(">") else value
    yield from _between(low, high, quantity)


def _money(money: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    if (value := money.get("value")) is not None:
        unit = {"system": _CURRENCIES, "code": money.get("currency", "")}
        yield from _between(value, value, {**unit, "unit": unit["code"]})


def _range(value: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    low, high = value.get("low", {}), value.get("high", {})
    yield from _between(low.get("value"), high.get("value"), low or high, high or low)


def _sampled(sampled: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    limits = sampled.get("lowerLimit"), sampled.get("upperLimit")
    yield from _between(*limits, sampled.get("origin", {}))


def _between(
    low: Any, high: Any, unit: Mapping[str, Any], unit_high: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Value]]:
    """Yield a quantity as it is written and, if it is in UCUM, in base units."""
    names = [str(unit.get(name, "")) for name in ("system", "code", "unit")]
    written = tuple(shorten_for_index(name, MAX_UNIT_CHARACTERS) for name in names)
    yield "quantity", (_open(low, BEGINNING), _open(high, END), *written)
    if (base := canonical_unit(names[0], names[1])) is None:
        return
    upper: CanonicalUnit | None = base
    if unit_high is not None and unit_high is not unit:
        upper = canonical_unit(str(unit_high.get("system")), str(unit_high.get("code")))
    if upper is not None and upper.unit == base.unit:
        limits = _open(low, BEGINNING, base), _open(high, END, upper)
        yield "quantity", (*limits, CANONICAL_SYSTEM, base.unit, "")


def _open(value: Any, end: int, base: CanonicalUnit | None = None) -> float:
    if value is None:
        return float(end)
    return float(value) if base is None else base.to_base_units(value)


def _limits(value: Mapping[str, Any]) -> tuple[float, float]:
    low, high = value.get("low", {}).get("value"), value.get("high", {}).get("value")
    return _open(low, BEGINNING), _open(high, END)


def _position(position: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    try:
        place = unit_vector(float(position["latitude"]), float(position["longitude"]))
    except Invalid:
        return  # beyond the poles
    yield "position", place


def _uri(value: str) -> Iterator[tuple[str, Value]]:
    for url in _versions(value):
        yield "uri", (url,)


def _versions(url: str) -> Iterator[str]:
    """Yield a canonical address as it is written and without its version."""
    yield shorten_for_index(url)
    plain, bar, _ = url.partition("|")
    if bar and plain:
        yield shorten_for_index(plain)


@cache
def _reference_to(wanted: str | None) -> Converter:
    def convert(value: Any) -> Iterable[tuple[str, Value]]:
        if isinstance(value, str):
            return _address(value)
        if "resourceType" in value:
            identity = value.get("id")
            return [("reference", (value["resourceType"], identity))] if identity else ()
        return _reference(value, wanted)

    return convert


def _address(value: str) -> Iterator[tuple[str, Value]]:
    # A canonical or a uri; some name a resource here as a reference does.
    if found := local_target(value):
        yield "reference", (found.type, found.id)
    elif not value.startswith("#"):
        for url in _versions(value):
            yield "reference", ("", url)


def _reference(value: Mapping[str, Any], wanted: str | None) -> list[tuple[str, Value]]:
    reference = value.get("reference", "")
    here = local_target(reference)
    named = here.type if here else referenced_type(reference)
    if reference.startswith("#"):
        # Whose type the resource that contains it knows.
        return [("reference", (f"#{wanted or ''}", shorten_for_index(reference)))]
    if wanted and wanted != (named or value.get("type")):
        return []
    found: list[tuple[str, Value]] = []
    if here:
        found.append(("reference", (here.type, here.id)))
    elif reference:
        found.append(("reference", ("", shorten_for_index(strip_version(reference)))))
    if (identifier := value.get("identifier")) and (number := identifier.get("value")):
        found.append(_token(identifier.get("system", ""), number))
    return found


_CONVERTERS: Mapping[str, Mapping[str, Converter]] = {
    "token": {
        "CodeableConcept": _concept,
        "Coding": _coding,
        "ContactPoint": _contact,
        "Identifier": _identifier,
        "boolean": _plain,
        "code": _plain,
        "id": _plain,
        "string": _plain_text,
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
    "special": {"Location.position": _position},
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
