"""Order of dates and times, which compare as spans (`temporal_spans`).

What an unknown part could change has no result (FHIRPath N1 §6.2): `2015` against a day of 2015 is
empty. A value without a zone may stand in any zone when it meets one that has a zone.
"""

from __future__ import annotations

from ehr_etl.sql_on_fhir.expressions import (
    Choose,
    Constant,
    Expression,
    FieldOf,
    let,
    null,
    number,
    operation,
)
from ehr_etl.sql_on_fhir.temporal_spans import EASTERNMOST, WESTERNMOST, build_span
from ehr_etl.sql_on_fhir.types import HUGE, INTEGER
from ehr_etl.sql_on_fhir.values import Value
from ehr_fhir.errors import Unprocessable


def order(left: Value, right: Value) -> Expression:
    """Return -1, 0 or 1 for the order of two dates or times; NULL if precision hides it."""
    if (left.type == "time") != (right.type == "time"):
        raise Unprocessable(f"The path compares {left.type} with {right.type}.")
    return let(
        build_span(left),
        lambda first: let(build_span(right), lambda second: _order_spans(first, second)),
    )


def _order_spans(left: Expression, right: Expression) -> Expression:
    def field(span: Expression, name: str) -> Expression:
        return FieldOf(span, name)

    def widen_by_zone(span: Expression, other: Expression, name: str, width: int) -> Expression:
        unlike = operation("and", operation("not", field(span, "zoned")), field(other, "zoned"))
        moved = operation("add", field(span, name), Constant(width, HUGE))
        return Choose(unlike, moved, field(span, name))

    same_zones = operation("eq", field(left, "zoned"), field(right, "zoned"))
    same_parts = operation("eq", field(left, "parts"), field(right, "parts"))
    known_start = operation("is_present", field(left, "start"))
    start_order = _compare(field(left, "start"), field(right, "start"))
    before = operation(
        "lt",
        widen_by_zone(left, right, "end", WESTERNMOST),
        widen_by_zone(right, left, "start", -EASTERNMOST),
    )
    after = operation(
        "gt",
        widen_by_zone(left, right, "start", -EASTERNMOST),
        widen_by_zone(right, left, "end", WESTERNMOST),
    )
    apart = Choose(before, number(-1), Choose(after, number(1), null(INTEGER)))
    return Choose(
        operation("and", known_start, operation("is_present", field(right, "start"))),
        Choose(operation("and", same_zones, same_parts), start_order, apart),
        null(INTEGER),
    )


def _compare(left: Expression, right: Expression) -> Expression:
    return Choose(
        operation("lt", left, right),
        number(-1),
        Choose(operation("gt", left, right), number(1), number(0)),
    )
