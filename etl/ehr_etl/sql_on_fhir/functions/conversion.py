"""Conversion (FHIRPath N1 §5.5), types, and boundaries of what is known in part."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_etl.sql_on_fhir import decimals, temporal_boundaries
from ehr_etl.sql_on_fhir.elements import cast_single, is_type_of, of_type
from ehr_etl.sql_on_fhir.expressions import (
    FALSE,
    Cast,
    Choose,
    Constant,
    Expression,
    let,
    null,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.functions.signature import Signature
from ehr_etl.sql_on_fhir.paths import Scope
from ehr_etl.sql_on_fhir.types import BOOLEAN, NUMBERS, STRING, TEMPORAL_TYPES, sql_type
from ehr_etl.sql_on_fhir.values import Value, constant_value, single_value
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call

_PATTERNS = {
    "integer": r"^[+-]?[0-9]{1,10}$",
    "decimal": r"^[+-]?[0-9]{1,26}(?:[.][0-9]{1,12})?$",
}


def _of_type(base: Value, call: Call, scope: Scope) -> Value:
    assert call.type is not None  # noqa: S101 - the grammar has `ofType` name a type
    return of_type(base, call.type)


def _as(base: Value, call: Call, scope: Scope) -> Value:
    assert call.type is not None  # noqa: S101 - the grammar has `as` name a type
    return cast_single(base, call.type)


def _is(base: Value, call: Call, scope: Scope) -> Value:
    assert call.type is not None  # noqa: S101 - the grammar has `is` name a type
    return is_type_of(base, call.type)


def _to_number(type_name: str) -> Signature:
    """Return toInteger or toDecimal: nothing for a text that is no such number."""

    def convert(base: Value, call: Call, scope: Scope) -> Value:
        _require_primitive(base, call)
        kind = sql_type(type_name)
        if base.type == "boolean":
            return Value(Cast(single_value(base), kind), type_name)
        if base.type in NUMBERS:
            if type_name == "integer" and base.type == "decimal":
                return constant_value(None, "integer")
            return Value(Cast(single_value(base), kind, lenient=True), type_name)

        def read(value: Expression) -> Expression:
            shaped = operation("matches", value, text(_PATTERNS[type_name]))
            return Choose(shaped, Cast(value, kind, lenient=True))

        return Value(let(single_value(base), read), type_name)

    return Signature(convert)


def _to_boolean(base: Value, call: Call, scope: Scope) -> Value:
    _require_primitive(base, call)
    if base.type == "boolean":
        return base
    written = _to_text(base)

    def read(value: Expression) -> Expression:
        def is_of(pattern: str) -> Expression:
            return operation("matches", value, text(pattern))

        yes = is_of(r"^(?i)(?:true|t|yes|y|1|1\.0)$")
        no = is_of(r"^(?i)(?:false|f|no|n|0|0\.0)$")
        return Choose(yes, Constant(True, BOOLEAN), Choose(no, FALSE, null(BOOLEAN)))

    return Value(let(written, read), "boolean")


def _to_string(base: Value, call: Call, scope: Scope) -> Value:
    _require_primitive(base, call)
    return Value(_to_text(base), "string")


def _to_text(base: Value) -> Expression:
    if base.written:
        # The digits as they were written.
        return single_value(Value(base.expression, "string", base.many))
    if base.type == "decimal":
        digits = Cast(single_value(base), STRING)
        return operation("replace_pattern", digits, text("[.]?0*$"), text(""))
    return Cast(single_value(base), STRING)


def _boundary(*, high: bool) -> Signature:
    """Return lowBoundary or highBoundary."""

    def find(base: Value, call: Call, scope: Scope) -> Value:
        if base.is_primitive and base.type in TEMPORAL_TYPES:
            return Value(temporal_boundaries.boundary(base, high=high), base.type)
        if base.is_primitive and base.type in NUMBERS:
            digits = let(_to_text(base), lambda value: decimals.boundary(value, high=high))
            return Value(digits, "decimal")
        raise Unprocessable(f"The path calls {call.name}() on {base.choice or base.type}.")

    return Signature(find)


def _require_primitive(base: Value, call: Call) -> None:
    if not base.is_primitive:
        raise Unprocessable(f"The path calls {call.name}() on {base.choice or base.type}.")


FUNCTIONS: Mapping[str, Signature] = {
    # Their type is part of the call, not an argument.
    "as": Signature(_as),
    "highBoundary": _boundary(high=True),
    "is": Signature(_is),
    "lowBoundary": _boundary(high=False),
    "ofType": Signature(_of_type),
    "toBoolean": Signature(_to_boolean),
    "toDecimal": _to_number("decimal"),
    "toInteger": _to_number("integer"),
    "toString": Signature(_to_string),
}
