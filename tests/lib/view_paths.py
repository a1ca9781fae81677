"""Paths that views must read as the FHIRPath engine of the gateway does, and records for them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

_OBSERVATIONS: tuple[str, ...] = (
    """{"resourceType": "Observation", "id": "o1", "status": "final",
     "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}, {"code": "w"}]},
     "subject": {"reference": "Patient/p1"},
     "effectiveDateTime": "2015-01-01T07:30:00+08:00", "issued": "2015-01-01T00:00:00.5Z",
     "valueQuantity": {"value": 72.50, "unit": "kg", "code": "kg",
       "system": "http://unitsofmeasure.org"},
     "component": [{"code": {"text": "A"}, "valueQuantity": {"value": 1.10, "code": "mm"}},
       {"code": {"text": "B"}, "valueQuantity": {"value": 2.2, "code": "mm"}},
       {"code": {"text": "A"}, "valueString": "two"}],
     "note": [{"text": "Hello (World)"}, {"text": "hello (world)"}]}""",
    """{"resourceType": "Observation", "id": "o2", "status": "amended",
     "code": {"text": "caf\\u00e9 \\u4e2d\\u6587"}, "effectiveDateTime": "2015-01",
     "valueString": "  The quick, brown fox  "}""",
    """{"resourceType": "Observation", "id": "o3", "status": "final", "code": {"text": "x"},
     "effectivePeriod": {"start": "2014-12-31T16:00:00Z", "end": "2015"},
     "valueInteger": 7}""",
    """{"resourceType": "Observation", "id": "o4", "status": "final", "code": {"text": "x"},
     "effectiveDateTime": "2014-12-31", "valueBoolean": true, "subject": {"reference": "#p"},
     "contained": [{"resourceType": "Patient", "id": "p", "gender": "male"},
       {"resourceType": "Practitioner", "id": "q"}]}""",
    """{"resourceType": "Observation", "id": "o5", "status": "final", "code": {"text": "x"},
     "effectiveDateTime": "2016-02-29T23:59:59.123456-05:00", "valueTime": "12:30:00"}""",
    """{"resourceType": "Observation", "id": "o6", "status": "final", "code": {"text": "x"},
     "valueQuantity": {"value": -0.000000000001, "code": "kg"}}""",
    """{"resourceType": "Observation", "id": "o7", "status": "final", "code": {"text": "x"},
     "valueQuantity": {"value": 12345678901234.25, "code": "g"}}""",
    """{"resourceType": "Observation", "id": "o8", "status": "final", "code": {"text": "x"},
     "valueQuantity": {"value": 0, "code": "mg", "unit": "mg", "system": "http://units.example"},
     "component": [{"code": {"text": "A"}, "valueQuantity": {"value": 0.5, "code": "g",
       "unit": "grams", "system": "http://unitsofmeasure.org"}},
       {"code": {"text": "B"}, "valueQuantity": {"value": 500, "unit": "mg"}},
       {"code": {"text": "D"}, "valueQuantity": {"value": 7, "unit": "tablet"}}]}""",
    """{"resourceType": "Observation", "id": "o9", "status": "final", "code": {"text": "x"},
     "valueQuantity": {"value": 7000, "unit": "ug", "code": "ug",
       "system": "http://unitsofmeasure.org"}}""",
)

_DATES = ("effective.ofType(dateTime)", "effective.ofType(Period).start", "issued")
_LITERALS = (
    "@2015-01-01T00:00:00Z",
    "@2014-12-31T23:30:00+00:00",
    "@2015-01-01T07:30:00.000+08:00",
    "@2015",
    "@2015-01",
    "@2015-01-01",
    "@2014-12-31",
    "@2016-03-01T04:59:59.123456Z",
    "@2015-01-01T07:30",
)
_TEXT = "value.ofType(string)"
_NUMBER = "value.ofType(Quantity).value"
_PARTS = "component.value.ofType(Quantity).value"
PATHS: tuple[str, ...] = (
    *(
        f"{date} {operator} {literal}"
        for date, operator, literal in itertools.product(_DATES, ("<", ">=", "=", "!="), _LITERALS)
    ),
    "effective.ofType(Period).start <= effective.ofType(Period).end",
    "issued > effective.ofType(dateTime)",
    "value.ofType(time) > @T12:00",
    "value.ofType(time) = @T12:30:00.000",
    "value is Quantity",
    "value is string",
    "value.is(Quantity)",
    "status is code",
    "status is string",
    "(value as string)",
    "value.as(Quantity).unit",
    "(value as Quantity).value > 72.4",
    "code.coding.code | note.text",
    "component.code.text | component.code.text",
    "component.code.text.distinct()",
    "component.code.text.isDistinct()",
    "component.code.text.union('A')",
    "component.code.text.combine('A')",
    "component.code.text.intersect('A' | 'C')",
    "component.code.text.exclude('A')",
    "component.code.text.subsetOf('A' | 'B' | 'C')",
    "component.code.text.supersetOf('A')",
    "'A' in component.code.text",
    "component.code.text contains 'Z'",
    "status in ('final' | 'amended')",
    "iif(status = 'final', 'yes', 'no')",
    "iif(value.ofType(boolean), id)",
    "iif(component.exists(), component.code.text, {})",
    f"{_TEXT}.lower()",
    f"{_TEXT}.upper()",
    f"{_TEXT}.length()",
    f"{_TEXT}.trim()",
    f"{_TEXT}.replace('quick', 'slow')",
    f"{_TEXT}.indexOf('quick')",
    f"{_TEXT}.indexOf('absent')",
    f"{_TEXT}.split(',')",
    f"{_TEXT}.substring(2, 3)",
    f"{_TEXT}.substring(200)",
    f"{_TEXT}.substring(-1)",
    f"{_TEXT}.matches('qu[a-z]+')",
    f"{_TEXT}.matches('^The')",
    f"{_TEXT}.matchesFull('.*fox\\\\s+')",
    f"{_TEXT}.replaceMatches('([a-z])o([a-z])', '$2-$1')",
    "code.text.length()",
    "code.text.substring(5)",
    "note.where(text.lower() = 'hello (world)').count()",
    "note.text.where($this.matches('\\\\(W')).first()",
    "note.select(text.length())",
    "component.select(code.text & '!')",
    "component.where($index = 1).code.text",
    "component.code.text.skip(1)",
    "component.code.text.take(2)",
    "component.code.text.tail()",
    "component.code.text.last()",
    "component[1].code.text",
    "component.code.text.join('/')",
    f"{_PARTS}.sum()",
    f"{_PARTS}.min()",
    f"{_PARTS}.max()",
    f"{_PARTS}.avg()",
    f"{_NUMBER}.round(1)",
    f"{_NUMBER}.round()",
    f"{_NUMBER}.abs()",
    f"{_NUMBER} + 0.1",
    f"{_NUMBER} - 72.4",
    f"{_NUMBER} * 0.45359237",
    f"{_NUMBER} / 4",
    f"{_NUMBER} / 0",
    f"{_NUMBER}.toString()",
    f"{_NUMBER} = 72.5",
    "value.ofType(integer) div 2",
    "value.ofType(integer) mod 4",
    "-value.ofType(integer) + 1",
    "value.ofType(Quantity) > 70 'kg'",
    "value.ofType(Quantity) = 72.5 'kg'",
    "component.value.ofType(Quantity).where($this < 2 'mm').value",
    "value.ofType(Quantity) = 0 'g'",
    "value.ofType(Quantity) != 7 'mg'",
    "7 'mg' = value.ofType(Quantity)",
    "7.1 'mg' > value.ofType(Quantity)",
    "value.ofType(Quantity) <= 0.000007 'kg'",
    "value.ofType(Quantity) < 3 'm'",
    "value.ofType(Quantity) = value.ofType(Quantity)",
    "component.where(value.ofType(Quantity) = 500 'mg').code.text",
    "component.where(value.ofType(Quantity) >= %resource.value.ofType(Quantity)).code.text",
    "component[0].value.ofType(Quantity) = component[1].value.ofType(Quantity)",
    "component[0].value.ofType(Quantity) = component[3].value.ofType(Quantity)",
    "component[3].value.ofType(Quantity) = 7 'tablet'",
    "1 'g' > 999 'mg'",
    "2 'wk' = 14 days",
    "contained.ofType(Patient).gender",
    "contained.ofType(Practitioner).id",
    "contained.where($this is Patient).count()",
    "subject.where(resolve() is Patient).reference",
    "subject.resolve().ofType(Patient).gender",
    "component.exists(code.text = 'B')",
    "component.all(code.text = 'A')",
    "value.ofType(boolean).not()",
    "value.ofType(integer).toString()",
    "status.toBoolean()",
    "'12'.toInteger() + 1",
    "'1.5'.toDecimal() * 2",
    "status = 'final' and value.exists() or id = 'o2'",
    "status = 'final' implies value.ofType(boolean)",
    "status = 'final' xor value.ofType(boolean)",
    "{} = status",
    "effective.ofType(dateTime).lowBoundary()",
    "effective.ofType(dateTime).highBoundary()",
    "issued.lowBoundary()",
    "value.ofType(time).highBoundary()",
    f"{_PARTS}.first().lowBoundary()",
    f"{_PARTS}.first().highBoundary()",
    "(1 | 2 | 2).count()",
    "(component.code.text | note.text).count()",
)


def list_records() -> list[tuple[str, str]]:
    """Return the records as a view's source has them: type and JSON text."""
    return [("Observation", text) for text in _OBSERVATIONS]


def iterate_path_views(size: int) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield views with so many of the paths as columns, and these paths."""
    for start in range(0, len(PATHS), size):
        paths = PATHS[start : start + size]
        columns: list[dict[str, Any]] = [{"name": "id", "path": "id"}]
        columns += [
            {"name": f"c{number}", "path": path, "collection": True}
            for number, path in enumerate(paths)
        ]
        yield paths, {"resource": "Observation", "name": "paths", "select": [{"column": columns}]}


def parse_resources() -> list[dict[str, Any]]:
    """Return the records as the engine reads them, decimals with the digits as written."""
    from decimal import Decimal

    return [json.loads(text, parse_float=Decimal) for text in _OBSERVATIONS]
