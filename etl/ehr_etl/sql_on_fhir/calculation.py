"""Arithmetic that is exact or empty: what would overflow is NULL (FHIRPath N1 §6.6)."""

from __future__ import annotations

from ehr_etl.sql_on_fhir.expressions import Choose, Expression, let, operation

_FITS = {"add": "sum", "subtract": "sum", "multiply": "product"}


def calculate(name: str, left: Expression, right: Expression, *, whole: bool) -> Expression:
    """Return a sum, difference, product or quotient; NULL where it would overflow."""
    suffix = "whole" if whole else "decimal"
    fits = "quotient_fits" if name == "divide" else f"{_FITS[name]}_fits_{suffix}"
    exact = name if name in ("add", "subtract") or whole else f"{name}_decimal"

    def calculate_if_fits(first: Expression, second: Expression) -> Expression:
        return Choose(operation(fits, first, second), operation(exact, first, second))

    return let(left, lambda first: let(right, lambda second: calculate_if_fits(first, second)))
