"""Operators (FHIRPath N1 §6): arithmetic, comparison, logic and collections; signs of numbers."""

from __future__ import annotations

from decimal import Decimal

from ehr_etl.sql_on_fhir import equality
from ehr_etl.sql_on_fhir.calculation import calculate
from ehr_etl.sql_on_fhir.expressions import (
    FALSE,
    Cast,
    Choose,
    Constant,
    Expression,
    Items,
    let,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.types import (
    BIGINT,
    BOOLEAN,
    DATE_TYPES,
    DECIMAL,
    NUMBERS,
    TEXT_TYPES,
    ListType,
    sql_type,
)
from ehr_etl.sql_on_fhir.values import (
    Value,
    as_list,
    constant_value,
    single_value,
)
from ehr_fhir.errors import Unprocessable

_ARITHMETIC = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


def apply_binary(operator: str, left: Value, right: Value) -> Value:
    """Apply an operator to two operands."""
    if operator in ("and", "or", "xor", "implies"):
        return Value(_logic(operator, _truth(left), _truth(right)), "boolean")
    if operator == "=":
        return Value(equality.equal(left, right), "boolean")
    if operator == "!=":
        return Value(operation("not", equality.equal(left, right)), "boolean")
    if operator in ("<", ">", "<=", ">="):
        return Value(equality.compare(operator, left, right), "boolean")
    if operator == "|":
        return equality.distinct(join_values(left, right))
    if operator == "in":
        return Value(equality.is_member(left, right), "boolean")
    if operator == "contains":
        return Value(equality.is_member(right, left), "boolean")
    texts = left.type in TEXT_TYPES and right.type in TEXT_TYPES
    if operator == "+" and texts:
        return Value(operation("concat", single_value(left), single_value(right)), "string")
    if operator == "&" and texts:
        sides = (operation("coalesce", single_value(side), text("")) for side in (left, right))
        return Value(operation("concat", *sides), "string")
    if operator in _ARITHMETIC:
        return arithmetic(_ARITHMETIC[operator], left, right)
    if operator in ("div", "mod"):
        return _whole_division(operator, left, right)
    raise Unprocessable(
        f"The path uses the operator {operator!r} on {left.type} and {right.type},"
        " which views do not support."
    )


def apply_sign(sign: str, operand: Value) -> Value:
    """Apply the sign `+` or `-` to a number."""
    kind = _number(operand)
    value = single_value(operand)
    if isinstance(value, Constant) and isinstance(value.value, int | Decimal):
        return constant_value(-value.value if sign == "-" else value.value, kind)
    return Value(operation("negate", value) if sign == "-" else value, kind)


def arithmetic(name: str, left: Value, right: Value) -> Value:
    """Calculate; an overflow and a division by 0 are empty (N1 §6.6)."""
    if left.is_empty or right.is_empty:
        return constant_value(None, "decimal")
    whole = {_number(left), _number(right)} == {"integer"} and name != "divide"
    kind = BIGINT if whole else DECIMAL
    result = calculate(
        name, Cast(single_value(left), kind), Cast(single_value(right), kind), whole=whole
    )
    return Value(result, "integer64" if whole else "decimal")


def join_values(left: Value, right: Value) -> Value:
    """Put two collections of one type one after the other."""
    if left.is_empty:
        return right
    if right.is_empty:
        return left
    if not (left.is_primitive and right.is_primitive):
        raise Unprocessable(
            "The path unites values that are not primitives: name an element of each,"
            " such as (a.code | b.code)."
        )
    type_name = common_type(left, right)
    lists = (operation("coalesce", as_list(side), _empty_list(type_name)) for side in (left, right))
    return Value(operation("concat_lists", *lists), type_name, many=True)


def common_type(left: Value, right: Value) -> str:
    """Return the type of a collection that has values of both."""
    if left.type == right.type:
        return left.type
    if {left.type, right.type} <= DATE_TYPES:
        return "dateTime"
    same = (left.type in TEXT_TYPES) == (right.type in TEXT_TYPES)
    if same and left.type in TEXT_TYPES and "time" not in (left.type, right.type):
        return "string"
    if {left.type, right.type} <= NUMBERS - {"decimal"}:
        return "integer64"
    raise Unprocessable(f"The path unites {left.type} with {right.type}.")


def _logic(operator: str, left: Expression, right: Expression) -> Expression:
    if operator == "xor":
        return operation("ne", left, right)
    if operator == "implies":
        return operation("or", operation("not", left), right)
    return operation(operator, left, right)


def _whole_division(operator: str, left: Value, right: Value) -> Value:
    if {_number(left), _number(right)} != {"integer"}:
        raise Unprocessable(f"The path uses {operator} on decimals, which views do not support.")
    sides = (Cast(single_value(side), BIGINT) for side in (left, right))
    if operator == "mod":
        return Value(operation("remainder", *sides), "integer64")
    first, second = sides
    zero = Constant(0, BIGINT)
    cut = let(
        second,
        lambda divisor: Choose(
            operation("ne", divisor, zero), operation("divide_whole", first, divisor)
        ),
    )
    return Value(cut, "integer64")


def _truth(value: Value) -> Expression:
    """Return a boolean operand; any other single value counts as true (FHIRPath §4.5)."""
    if value.is_empty:
        return Constant(None, BOOLEAN)
    if value.type == "boolean":
        return single_value(value)
    present = operation("is_present", single_value(value))
    return operation("null_if", present, FALSE)


def _number(value: Value) -> str:
    if value.type not in NUMBERS:
        raise Unprocessable(f"The path calculates with {value.type}, which is not a number.")
    return "decimal" if value.type == "decimal" else "integer"


def _empty_list(type_name: str) -> Expression:
    return Cast(Items(()), ListType(sql_type(type_name)))
