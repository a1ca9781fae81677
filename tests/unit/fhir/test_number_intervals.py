"""Numbers of a search as intervals."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.search.number_intervals import number_interval


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("100", "99.5", "100.5"), ("100.00", "99.995", "100.005"), ("1e2", "50", "150")],
)
def test_a_number_is_as_wide_as_its_precision(text: str, low: str, high: str) -> None:
    assert number_interval(text)[1:] == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        number_interval(text)
