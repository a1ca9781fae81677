"""Search agrees with a plain reading of the rules, for values that Hypothesis makes up.

The reference below looks at the resource itself, never at an index, and says in the specification's
words whether it matches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_gateway.store.store import Store
from tests.lib.store import found, put

ZONE = timedelta(hours=8)
YEARS = st.integers(1999, 2001)
PREFIXES = st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"])


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        opened = Store(Path(folder, "ehr.db"))
        yield opened
        opened.close()


@st.composite
def dates(draw: st.DrawFn) -> str:
    year, month, day = draw(YEARS), draw(st.integers(1, 12)), draw(st.integers(1, 28))
    form = draw(st.integers(0, 4))
    full = f"{year}-{month:02d}-{day:02d}"
    clock = f"T{draw(st.sampled_from(['00:00:00', '23:59:59', '08:30:15']))}"
    zone = draw(st.sampled_from(["Z", "+08:00", "-05:00"]))
    return [f"{year}", full[:7], full, full + clock + zone, full + clock + ".5" + zone][form]


def limits(text: str) -> tuple[datetime, datetime]:
    """The first moment a date may mean, and the first it can no longer mean."""
    if "T" in text:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
        length = timedelta(milliseconds=1) if "." in text else timedelta(seconds=1)
        return moment, moment + length
    parts = [int(part) for part in text.split("-")]
    start = datetime(*[*parts, 1, 1][:3], tzinfo=UTC)  # type: ignore[arg-type,misc]  # three ints
    if len(parts) == 3:
        end = start + timedelta(days=1)
    elif len(parts) == 2:
        end = (start + timedelta(days=32)).replace(day=1)
    else:
        end = start.replace(year=start.year + 1)
    return start - ZONE, end - ZONE


def matches(prefix: str, value: tuple[Any, Any], asked: tuple[Any, Any]) -> bool:
    """R4 §3.1.1.4.3 on two intervals, half open."""
    low, high = value
    start, end = asked
    contained = start <= low and high <= end
    rules: dict[str, Callable[[], bool]] = {
        "": lambda: contained,
        "eq": lambda: contained,
        "ne": lambda: not contained,
        "gt": lambda: high > end,
        "lt": lambda: low < start,
        "ge": lambda: high > end or contained,
        "le": lambda: low < start or contained,
        "sa": lambda: low >= end,
        "eb": lambda: high <= start,
    }
    return rules[prefix]()


@settings(max_examples=60)
@given(recorded=dates(), asked=dates(), prefix=PREFIXES)
def test_dates(store: Store, recorded: str, asked: str, prefix: str) -> None:
    put(
        store,
        {
            "resourceType": "Observation",
            "id": "d",
            "status": "final",
            "code": {"text": "x"},
            "effectiveDateTime": recorded,
        },
    )

    expected = matches(prefix, limits(recorded), limits(asked))

    assert found(store, "Observation", f"_id=d&date={prefix}{asked}") == ["d"] * expected


@st.composite
def numbers(draw: st.DrawFn) -> str:
    digits = draw(st.integers(-200, 200))
    places = draw(st.integers(0, 2))
    sign, text = ("-" if digits < 0 else ""), f"{abs(digits):04d}"
    return f"{sign}{int(text[: 4 - places])}" + (f".{text[4 - places :]}" if places else "")


def number_matches(prefix: str, recorded: str, asked: str) -> bool:
    """R4 §3.1.1.4.6: equality within the digits asked for, all else against the exact value."""
    value, exact = Fraction(recorded), Fraction(asked)
    half = Fraction(1, 2 * 10 ** len(asked.partition(".")[2]))
    equal = exact - half <= value < exact + half
    rules = {
        "": equal,
        "eq": equal,
        "ne": not equal,
        "gt": value > exact,
        "lt": value < exact,
        "ge": value >= exact,
        "le": value <= exact,
        "sa": value > exact,
        "eb": value < exact,
    }
    return rules[prefix]


@settings(max_examples=60)
@given(recorded=numbers(), asked=numbers(), prefix=PREFIXES)
def test_quantities(store: Store, recorded: str, asked: str, prefix: str) -> None:
    put(
        store,
        {
            "resourceType": "Observation",
            "id": "q",
            "status": "final",
            "code": {"text": "x"},
            "valueQuantity": {"value": float(recorded)},
        },
    )

    expected = number_matches(prefix, recorded, asked)

    assert found(store, "Observation", f"_id=q&value-quantity={prefix}{asked}") == ["q"] * expected


CODES = st.sampled_from(["a", "b", "a|b", "a,b", "a\\", "$", "A"])
SYSTEMS = st.sampled_from(["", "s", "s|t", "s,t"])


def escaped(text: str) -> str:
    for letter in "\\,|$":
        text = text.replace(letter, "\\" + letter)
    return text


@settings(max_examples=60)
@given(
    recorded=st.lists(st.tuples(SYSTEMS, CODES), max_size=3),
    asked=st.lists(st.tuples(st.none() | SYSTEMS, CODES), min_size=1, max_size=3),
    negated=st.booleans(),
)
def test_tokens(
    store: Store,
    recorded: list[tuple[str, str]],
    asked: list[tuple[str | None, str]],
    negated: bool,
) -> None:
    identifiers = [
        {"value": code} | ({"system": system} if system else {}) for system, code in recorded
    ]
    patient = {"resourceType": "Patient", "id": "t"}
    put(store, {**patient, "identifier": identifiers} if identifiers else patient)
    values = [
        escaped(code) if system is None else f"{escaped(system)}|{escaped(code)}"
        for system, code in asked
    ]

    expected = any(
        code.casefold() == one.casefold() and system in (None, where)
        for system, code in asked
        for where, one in recorded
    )

    name = "identifier:not" if negated else "identifier"
    assert found(store, "Patient", f"_id=t&{name}={','.join(values)}") == ["t"] * (
        expected != negated
    )


NAMES = st.sampled_from(["Chan", "CHAN", "Chang", "Müller", "muller", "陳大文", "陳", "han", "a"])


@settings(max_examples=60)
@given(recorded=NAMES, asked=NAMES, modifier=st.sampled_from(["", ":exact", ":contains"]))
def test_strings(store: Store, recorded: str, asked: str, modifier: str) -> None:
    put(store, {"resourceType": "Patient", "id": "s", "name": [{"family": recorded}]})
    plain = {"Müller": "muller"}
    value = plain.get(recorded, recorded).lower()
    wanted = plain.get(asked, asked).lower()

    expected = {
        "": value.startswith(wanted),
        ":exact": recorded == asked,
        ":contains": wanted in value,
    }[modifier]

    assert found(store, "Patient", f"_id=s&family{modifier}={asked}") == ["s"] * expected
