"""Literals of FHIRPath as constants; a quantity is a struct of its value and unit."""

from __future__ import annotations

from decimal import Decimal

from ehr_etl.sql_on_fhir.expressions import (
    Constant,
    Struct,
    text,
)
from ehr_etl.sql_on_fhir.types import (
    DECIMAL,
)
from ehr_etl.sql_on_fhir.values import (
    Value,
    constant_value,
)
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.quantity import Quantity, calendar_unit
from ehr_fhir.fhirpath.syntax import (
    Literal,
)
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time

# Calendar durations that are UCUM's; a year and a month are not (N1 §6.1).
_UCUM_OF_DURATION = {
    "week": "wk",
    "day": "d",
    "hour": "h",
    "minute": "min",
    "second": "s",
    "millisecond": "ms",
}


def compile_literal(node: Literal) -> Value:
    """Return a literal as a constant, or a quantity as a struct."""
    match node.values:
        case ():
            return constant_value(None, "string")
        case (bool() as value,):
            return constant_value(value, "boolean")
        case (int() as value,):
            return constant_value(value, "integer")
        case (Decimal() as value,):
            return constant_value(value, "decimal")
        case (str() as value,):
            return constant_value(value, "string")
        case (Time(),):
            return constant_value(node.source, "time")
        case (Date(),):
            return constant_value(node.source, "date")
        case (DateTime(),):
            return constant_value(node.source, "dateTime")
        case (Quantity() as quantity,):
            return _quantity(quantity)
    raise Unprocessable("The path has a literal that views do not support.")


def _quantity(quantity: Quantity) -> Value:
    unit = quantity.unit
    if quantity.calendar:
        unit = calendar_unit(unit) or unit
        if unit not in _UCUM_OF_DURATION:
            raise Unprocessable(
                f"The path has a duration in {unit}s, which have no fixed length:"
                " views do not support them."
            )
        unit = _UCUM_OF_DURATION[unit]
    fields = (
        ("value", Constant(quantity.value, DECIMAL)),
        ("code", text(unit)),
        ("unit", text(unit)),
    )
    return Value(Struct(fields), "Quantity")
