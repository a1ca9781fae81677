"""Search as the specification tells it, over a plain list of resources: no SQL, no index.

What a parameter means is read from its FHIRPath expression on the resource itself; how values
compare is written anew here, in the words of R4 §3.1.1.4. Slow, and meant to be read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from ehr_fhir.fhirpath import to_json
from ehr_fhir.search_parameters import compile_expression, parameters_of

__all__ = ["ReferenceSearch"]

Json = Mapping[str, Any]
ZONE = timedelta(hours=8)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = 10**18
GRAMS = {"g": Fraction(1), "mg": Fraction(1, 1000), "kg": Fraction(1000)}
UCUM = "http://unitsofmeasure.org"
PREFIX = re.compile(r"^(eq|ne|gt|lt|ge|le|sa|eb|ap)(?=[-\d])")
# A bar outside of parentheses.
_UNION = re.compile(r" \| (?![^()]*\))")
# The names of a person and of a place are found by each of their parts.
PARTS = ("text", "family", "given", "prefix", "suffix", "line", "city")
CHINESE = str.maketrans("陳陈張张", "陈陈张张")


class ReferenceSearch:
    """The resources, and the instant at which they are searched."""

    def __init__(self, resources: Sequence[Json], now_ms: int) -> None:
        self._resources = resources
        self._now_ms = now_ms
        self._by_reference = {f"{one['resourceType']}/{one['id']}": one for one in resources}

    def ids(self, kind: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return the ids of the matches, in the order that `_sort` asks for."""
        filters = [pair for pair in pairs if pair[0] != "_sort"]
        found = [
            one
            for one in self._resources
            if one["resourceType"] == kind
            and all(self.matches(one, name, text) for name, text in filters)
        ]
        found.sort(key=lambda one: str(one["id"]))
        keys = [key for name, text in pairs if name == "_sort" for key in text.split(",")]
        if keys == ["-_id"]:
            return [str(one["id"]) for one in reversed(found)]
        # Sorted by the last key first: Python's sort keeps the order of equals.
        for key in reversed(keys):
            found = self._sorted(found, key)
        return [str(one["id"]) for one in found]

    def matches(self, resource: Json, name: str, text: str) -> bool:
        """Say whether one parameter holds for a resource."""
        if name.startswith("_has:"):
            _, kind, reference, rest = name.split(":", 3)
            return any(
                self._leads(one, reference, resource) and self.matches(one, rest, text)
                for one in self._resources
                if one["resourceType"] == kind
            )
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if dot:
            return any(
                self._known(one, rest) and self.matches(one, rest, text)
                for one in self._led_to(resource, code)
                if modifier in ("", one["resourceType"])
            )
        if code == "_id":
            return resource["id"] in text.split(",")
        values = self.values(resource, code)
        kind = parameters_of(str(resource["resourceType"]))[code].type
        if modifier == "missing":
            return (not _indexed(kind, values)) == (text == "true")
        found = any(
            self._one(kind, modifier, value, one) for value in values for one in text.split(",")
        )
        return not found if modifier == "not" else found

    def values(self, resource: Json, code: str) -> list[Any]:
        """Return what the parameter's expression finds in a resource."""
        kind = str(resource["resourceType"])
        # Term by term: a union has each value once, and to it `0 mg` of another system is `0 g`.
        return [
            to_json(value)
            for term in _UNION.split(parameters_of(kind)[code].expression)
            for value in compile_expression(term, kind).evaluate(
                resource,
                now=EPOCH,
                resolve=lambda reference: {"resourceType": reference.split("/")[0]},
            )
        ]

    def _known(self, resource: Json, name: str) -> bool:
        code = re.split(r"[.:]", name)[0]
        return code in ("_has", "_id") or code in parameters_of(str(resource["resourceType"]))

    def _led_to(self, resource: Json, code: str) -> list[Json]:
        names = [value.get("reference", "") for value in self.values(resource, code)]
        return [self._by_reference[name] for name in names if name in self._by_reference]

    def _leads(self, resource: Json, code: str, to: Json) -> bool:
        return any(one is to for one in self._led_to(resource, code))

    def _one(self, kind: str, modifier: str, value: Any, text: str) -> bool:
        if kind == "token":
            return _text_begins(value, text) if modifier == "text" else _token(value, text)
        if kind == "string":
            return any(_string(part, modifier, text) for part in _strings(value))
        if kind == "date":
            return (interval := _interval(value)) is not None and self._date(interval, text)
        if kind == "quantity":
            return _quantity(value, text)
        return _reference(value, modifier, text)

    def _date(self, interval: tuple[int, int], text: str) -> bool:
        prefix, rest = _prefixed(text)
        start, end = _limits(rest)
        if prefix == "ap":
            margin = abs(self._now_ms - start) // 10
            start, end = start - margin, end + margin
        low, high = interval
        within = start <= low and high <= end
        return {
            "eq": within,
            "ne": not within,
            "gt": high > end,
            "lt": low < start,
            "ge": high > end or within,
            "le": low < start or within,
            "sa": low >= end,
            "eb": high <= start,
            "ap": low < end and high > start,
        }[prefix]

    def _sorted(self, found: list[Json], key: str) -> list[Json]:
        down, code = key.startswith("-"), key.removeprefix("-")
        placed = [(self._rank(one, code, down=down), one) for one in found]
        there = [pair for pair in placed if pair[0] is not None]
        # Of equals the order stays, going down too.
        there.sort(key=lambda pair: pair[0], reverse=down)
        return [one for _, one in there] + [one for rank, one in placed if rank is None]

    def _rank(self, resource: Json, code: str, *, down: bool) -> Any:
        if code == "_id":
            return resource["id"]
        kind = parameters_of(str(resource["resourceType"]))[code].type
        ranks: list[Any] = []
        for value in self.values(resource, code):
            if kind == "string":
                ranks += [_folded(part) for part in _strings(value)]
            elif kind == "token":
                ranks += [one for _, one in _tokens(value)]
            elif kind == "date":
                ranks += [interval[down]] if (interval := _interval(value)) else []
            elif kind == "quantity":
                ranks.append(_range(value)[down])
        return (max if down else min)(ranks, default=None)


def _indexed(kind: str, values: Sequence[Any]) -> list[Any]:
    if kind == "token":
        return [token for value in values for token in _tokens(value)]
    if kind == "string":
        return [part for value in values for part in _strings(value)]
    if kind == "date":
        return [value for value in values if _interval(value)]
    return list(values)


def _prefixed(text: str) -> tuple[str, str]:
    found = PREFIX.match(text)
    return (found[1], text[2:]) if found else ("eq", text)


# Tokens.


def _tokens(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, bool):
        return [("", "true" if value else "false")]
    if isinstance(value, str):
        return [("", value)]
    if "value" in value:
        return [(value.get("system", ""), value["value"])]
    codings = value.get("coding", [value] if "code" in value else [])
    return [(one.get("system", ""), one["code"]) for one in codings if "code" in one]


def _token(value: Any, text: str) -> bool:
    system, bar, code = text.rpartition("|")
    return any((not bar or system == where) and code in ("", one) for where, one in _tokens(value))


def _text_begins(value: Any, text: str) -> bool:
    if not isinstance(value, dict):
        return False
    texts = [one.get("display") for one in value.get("coding", [value])]
    texts += [value.get("text"), value.get("type", {}).get("text")]
    return any(_folded(one).startswith(_folded(text)) for one in texts if one)


# Strings.


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    found = [value.get(name) for name in PARTS]
    return [one for part in found if part for one in (part if isinstance(part, list) else [part])]


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text).translate(CHINESE).casefold()
    letters = "".join(one for one in apart if not unicodedata.combining(one) and one != "'")
    return " ".join(re.sub(r"[^\w\s]", " ", letters).split())


def _string(part: str, modifier: str, text: str) -> bool:
    if modifier == "exact":
        return part == text
    value, asked = _folded(part), _folded(text)
    return asked in value if modifier == "contains" else value.startswith(asked)


# Dates, as half-open ranges of milliseconds.


def _interval(value: Any) -> tuple[int, int] | None:
    if isinstance(value, str):
        return _limits(value)
    start, end = value.get("start"), value.get("end")
    if start is None and end is None:
        return None
    return (
        _limits(start)[0] if start else -FOREVER,
        _limits(end)[1] if end else FOREVER,
    )


def _limits(text: str) -> tuple[int, int]:
    if "T" in text:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        start = (moment - EPOCH) // timedelta(milliseconds=1)
        return start, start + (1 if "." in text else 1000)
    parts = [int(part) for part in text.split("-")]
    year, month, day = (*parts, 1, 1)[:3]
    begin = datetime(year, month, day, tzinfo=UTC)
    if len(parts) == 1:
        end = begin.replace(year=year + 1)
    elif len(parts) == 2:
        end = (begin + timedelta(days=32)).replace(day=1)
    else:
        end = begin + timedelta(days=1)
    first, after = ((one - ZONE - EPOCH) // timedelta(milliseconds=1) for one in (begin, end))
    return first, after


# Quantities.


def _range(quantity: Json) -> tuple[Fraction | int, Fraction | int]:
    value = Fraction(str(quantity["value"]))
    comparator = quantity.get("comparator", " ")
    return (
        -FOREVER if comparator[0] == "<" else value,
        FOREVER if comparator[0] == ">" else value,
    )


def _quantity(quantity: Json, text: str) -> bool:
    number, *unit = text.split("|")
    prefix, digits = _prefixed(number)
    exact = Fraction(digits)
    half = Fraction(1, 2 * 10 ** len(digits.partition(".")[2]))
    low, high = _range(quantity)
    if unit and unit[0] == UCUM and unit[1] in GRAMS:
        if quantity.get("system") != UCUM or quantity.get("code") not in GRAMS:
            return False
        mine, asked = GRAMS[quantity["code"]], GRAMS[unit[1]]
        low = low if abs(low) == FOREVER else low * mine
        high = high if abs(high) == FOREVER else high * mine
        exact, half = exact * asked, half * asked
    elif unit:
        if unit[0] and (quantity.get("system"), quantity.get("code")) != tuple(unit):
            return False
        if unit[1] not in (quantity.get("code"), quantity.get("unit")):
            return False
    equal = exact - half <= low and high < exact + half
    return {
        "eq": equal,
        "ne": not equal,
        "gt": high > exact,
        "lt": low < exact,
        "ge": high >= exact,
        "le": low <= exact,
        "sa": low > exact,
        "eb": high < exact,
    }[prefix]


# References.


def _reference(value: Json, modifier: str, text: str) -> bool:
    kind, _, identity = value.get("reference", "").rpartition("/")
    asked, _, name = text.partition("/_history")[0].rpartition("/")
    return identity == name and kind != "" and kind in (asked or kind,) and modifier in ("", kind)
