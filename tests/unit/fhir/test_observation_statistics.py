"""Statistics of measured values: each against another way to work it out, and its edges."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.errors import Unprocessable
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.observation_statistics import STATISTICS, build_component, collect_measurements

UCUM = "http://unitsofmeasure.org"
# By numpy, which works with floats and other algorithms.
REFERENCE: dict[str, Any] = {
    "average": np.mean,
    "maximum": np.max,
    "minimum": np.min,
    "count": len,
    "total-count": len,
    "median": np.median,
    "std-dev": lambda values: np.std(values, ddof=1),
    "sum": np.sum,
    "variance": lambda values: np.var(values, ddof=1),
    "20-percent": lambda values: np.percentile(values, 20),
    "80-percent": lambda values: np.percentile(values, 80),
    "4-lower": lambda values: np.percentile(values, 25),
    "4-upper": lambda values: np.percentile(values, 75),
    "4-dev": lambda values: np.percentile(values, 75) - np.percentile(values, 25),
    "5-1": lambda values: np.quantile(values, 0.2),
    "5-2": lambda values: np.quantile(values, 0.4),
    "5-3": lambda values: np.quantile(values, 0.6),
    "5-4": lambda values: np.quantile(values, 0.8),
    "skew": lambda values: np.mean(((values - np.mean(values)) / np.std(values)) ** 3),
    "kurtosis": lambda values: np.mean(((values - np.mean(values)) / np.std(values)) ** 4),
}


def quantity(value: str, code: str = "mmol/L", **more: Any) -> dict[str, Any]:
    return {"value": Decimal(value), "system": UCUM, "code": code, "unit": code, **more}


def value_of(name: str, *quantities: dict[str, Any] | None) -> Any:
    component = build_component(collect_measurements(quantities), name)
    return component.get("valueQuantity", {}).get("value")


def test_every_statistic_is_held_against_another_way() -> None:
    assert set(REFERENCE) == set(STATISTICS)


@given(
    st.lists(st.decimals(-1000, 1000, places=2), min_size=2, max_size=30, unique=True),
    st.sampled_from(sorted(REFERENCE)),
)
def test_a_statistic_is_what_numpy_says(values: list[Decimal], name: str) -> None:
    ours = value_of(name, *(quantity(str(value)) for value in values))
    theirs = REFERENCE[name](np.array([float(value) for value in values]))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6, abs=1e-6)


def test_units_that_convert_are_one_unit() -> None:
    measured = collect_measurements([quantity("5.0"), quantity("6000", "umol/L")])
    average = build_component(measured, "average")["valueQuantity"]
    assert average == {"value": Decimal("5.5"), "unit": "mmol/L", "system": UCUM, "code": "mmol/L"}


@pytest.mark.parametrize("other", [quantity("90", "mg/dL"), {"value": Decimal(5)}])
def test_units_that_do_not_convert_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable, match="units"):
        collect_measurements([quantity("5.0"), other])


def test_what_has_no_number_counts_in_the_total_alone() -> None:
    sent = [quantity("5"), quantity("6", comparator="<"), None]
    assert (value_of("count", *sent), value_of("total-count", *sent)) == (1, 3)
    assert value_of("maximum", *sent) == 5


@pytest.mark.parametrize("name", sorted(STATISTICS))
def test_nothing_measured_has_counts_and_says_why_nothing_else(name: str) -> None:
    component = build_component(collect_measurements([]), name)
    if name.endswith("count"):
        assert component["valueQuantity"] == {"value": 0}
    else:
        assert component["dataAbsentReason"]["coding"][0]["code"] == "not-applicable"


def test_equal_values_are_neither_skewed_nor_peaked() -> None:
    assert [value_of(name, *[quantity("5")] * 3) for name in ("skew", "kurtosis")] == [0, 0]


@pytest.mark.parametrize("name", sorted(STATISTICS))
@pytest.mark.parametrize(
    "values", [("1e299", "1e299", "3"), ("1e-299", "-1e-299", "2e-299"), (f"1{18 * '0'}",) * 30]
)
def test_numbers_at_the_ends_of_what_json_may_hold_have_statistics(
    name: str, values: tuple[str, ...]
) -> None:
    read = [parse(b'{"value":%b}' % value.encode()) for value in values]

    assert serialize(build_component(collect_measurements(read), name))
