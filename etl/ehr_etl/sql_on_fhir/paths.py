"""FHIRPath trees to expressions: elements, variables, indexes and operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from ehr_etl.sql_on_fhir import equality
from ehr_etl.sql_on_fhir.definition import Constant as ViewConstant
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    Expression,
    Fail,
    FieldOf,
    Filter,
    Items,
    ParseJson,
    Reference,
    Struct,
    let,
    new_variable,
    number,
    operation,
    text,
    transform,
)
from ehr_etl.sql_on_fhir.types import (
    BIGINT,
    BOOLEAN,
    DECIMAL,
    NUMBERS,
    PRIMITIVES,
    TEXT_TYPES,
    ListType,
    sql_type,
)
from ehr_etl.sql_on_fhir.values import (
    Value,
    as_list,
    constant_value,
    exists,
    filter_values,
    single_value,
    size,
)
from ehr_etl.view_faults import NOT_A_SINGLE_VALUE
from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath import TypeSpecifier
from ehr_fhir.fhirpath.datatypes import base_types
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.syntax import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    Special,
    TypeTest,
    Unary,
    Variable,
)
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time

_ARITHMETIC = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
# Calendar durations that are UCUM's; a year and a month are not (N1 §6.1).
_UCUM_OF_DURATION = {
    "week": "wk",
    "day": "d",
    "hour": "h",
    "minute": "min",
    "second": "s",
    "millisecond": "ms",
}
_SYSTEM_TYPES = {
    "Boolean": "boolean",
    "String": "string",
    "Integer": "integer",
    "Decimal": "decimal",
    "Date": "date",
    "DateTime": "dateTime",
    "Time": "time",
}


@dataclass(frozen=True)
class Scope:
    """What a path may refer to."""

    this: Value
    root: Value
    constants: Mapping[str, ViewConstant]
    row_index: Expression
    index: Expression | None = None
    shallow: bool = False

    def with_focus(self, focus: Value, row_index: Expression | None = None) -> Scope:
        """Return the scope with another focus."""
        return replace(self, this=focus, row_index=row_index or self.row_index)

    def with_item(self, item: Value, index: Expression) -> Scope:
        """Return the scope within a function that goes through items: `$this` and `$index`."""
        return replace(self, this=item, index=index)


def compile_path(node: Node, scope: Scope) -> Value:
    """Compile a path in a scope."""
    match node:
        case Literal():
            return _literal(node)
        case Special(name="$this"):
            return scope.this
        case Special(name="$index") if scope.index is not None:
            return Value(scope.index, "integer")
        case Variable(name=name):
            return _variable(name, scope)
        case Member(base=None, name=name):
            if name in base_types(scope.this.type) and name == scope.root.type:
                return scope.this
            return navigate(scope.this, name)
        case Member(base=Node() as base, name=name):
            return navigate(compile_path(base, scope), name)
        case Index(base=base, index=index):
            return _indexed(compile_path(base, scope), compile_path(index, scope))
        case Unary(operator=sign, operand=operand):
            return _signed(sign, compile_path(operand, scope))
        case Binary(operator=operator, left=left, right=right):
            return _binary(operator, compile_path(left, scope), compile_path(right, scope))
        case TypeTest(operator="is", operand=operand, type=type_specifier):
            return is_type_of(compile_path(operand, scope), type_specifier)
        case TypeTest(operand=operand, type=type_specifier):
            return cast_single(compile_path(operand, scope), type_specifier)
        case Call():
            # Functions compile their arguments, so the two modules need each other.
            from ehr_etl.sql_on_fhir.functions import compile_call

            return compile_call(node, scope)
    raise Unprocessable("The path uses FHIRPath that views do not support.")


def navigate(base: Value, name: str) -> Value:
    """Step from a value to one of its elements."""
    known = definitions.json_elements(base.type)
    # A contained resource may be of any type, so its elements depend on which.
    element = known.get(name) if base.type != "Resource" else None
    if base.tree is None or base.choice is not None or element is None:
        if base.choice is None and any(e.is_choice and e.name == name for e in known.values()):
            return replace(base, choice=name)
        raise Unprocessable(_no_element(base, name, known))
    if element.is_choice and name == element.key:
        # `valueQuantity` is a key of JSON; FHIRPath's element is `value`.
        raise Unprocessable(
            f"The path asks for {name!r}: write {element.name}.ofType({element.type})."
        )
    return _step(base, element)


def choice_elements(value: Value) -> list[Value]:
    """Return the typed elements of a `value[x]`."""
    return [_step(replace(value, choice=None), element) for element in _choices(value)]


def of_type(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Keep what is of a type: `ofType`, and `as` of one value."""
    name = type_specifier.name
    if value.type == "Resource" and value.choice is None:
        return _resource_of_type(value, name)
    if value.choice is not None:
        choices = _choices(value)
        exact = [element for element in choices if element.type == name]
        # A specialised complex type counts: an `Age` is a `Quantity`.
        special = [
            element
            for element in choices
            if element.type not in PRIMITIVES and name in base_types(element.type)
        ]
        for element in exact or special[:1]:
            return _step(replace(value, choice=None), element)
        # R4 has no such choice: the path is empty for every resource.
        return constant_value(None, name)
    if value.type == name or name in base_types(value.type) or _is_system_type(value, name):
        return value
    if value.is_primitive:
        return constant_value(None, name)
    raise Unprocessable(f"The path asks {value.type} to be of type {name}.")


def cast_single(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Return one value if it is of a type (`as`, N1 §6.3); several are an error of the row."""
    kept = of_type(value, type_specifier)
    if not kept.many:
        return kept
    if kept.is_primitive:
        return Value(single_value(kept), kept.type)
    return replace(kept, expression=_only_item(kept.expression), many=False)


def is_type_of(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Say whether one value is of a type (`is`, N1 §6.3); empty for none."""
    if value.choice is not None:
        present = [exists(element) for element in choice_elements(value)]
        anything = present[0]
        for other in present[1:]:
            anything = operation("or", anything, other)
        matching = of_type(value, type_specifier)
        answer = Constant(False, BOOLEAN) if matching.is_empty else exists(matching)
        return Value(Choose(anything, answer), "boolean")
    if value.type == "Resource":
        found = exists(_resource_of_type(value, type_specifier.name))
        return Value(Choose(exists(value), found), "boolean")
    name = type_specifier.name
    same = name in base_types(value.type) or _is_system_type(value, name)
    return Value(Choose(exists(value), Constant(same, BOOLEAN)), "boolean")


def compile_condition(node: Node, scope: Scope) -> Expression:
    """Compile a criterion to an expression that is true or false, never NULL."""
    value = compile_path(node, scope)
    if value.type != "boolean":
        raise Unprocessable("A criterion of the view is not a boolean: add .exists() to its path.")
    return operation("coalesce", single_value(value), Constant(False, BOOLEAN))


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
    if {left.type, right.type} <= {"date", "dateTime", "instant"}:
        return "dateTime"
    same = (left.type in TEXT_TYPES) == (right.type in TEXT_TYPES)
    if same and left.type in TEXT_TYPES and "time" not in (left.type, right.type):
        return "string"
    if {left.type, right.type} <= NUMBERS - {"decimal"}:
        return "integer64"
    raise Unprocessable(f"The path unites {left.type} with {right.type}.")


def _step(base: Value, element: JsonElement) -> Value:
    assert base.tree is not None  # noqa: S101 - the caller has checked it
    below = base.tree.add_child(element)
    written = element.type == "decimal"
    source = base
    if base.resolved and element.name != "id":
        # A reference to another row gives its type and key, and nothing else of that row.
        source = filter_values(base, lambda item, index: _is_contained(item))
    if not base.many:
        field = FieldOf(source.expression, element.key)
        return Value(field, element.type, element.repeats, below, written=written)
    steps = operation(
        "compact", transform(source.expression, lambda item: FieldOf(item, element.key))
    )
    items = operation("flatten", steps) if element.repeats else steps
    return Value(items, element.type, True, below, written=written)


def _is_contained(item: Value) -> Expression:
    assert item.tree is not None  # noqa: S101 - what resolve() gives is parsed
    mark = item.tree.add_child(JsonElement(ELSEWHERE, ELSEWHERE, "boolean", False, False))
    assert mark.type == "boolean"  # noqa: S101
    return operation("not", operation("is_present", FieldOf(item.expression, ELSEWHERE)))


# A key in the text that resolve() makes for a resource of another row; no element has its name.
ELSEWHERE = "_elsewhere"


def _resource_of_type(value: Value, name: str) -> Value:
    """Parse contained or resolved resources of one type; their text is JSON."""
    if name not in definitions.resource_types():
        raise Unprocessable(f"The path asks for {name}, which is no resource type of FHIR R4.")
    assert value.tree is not None  # noqa: S101 - resources come from the JSON alone
    tree = value.tree.add_resource(name)
    kind = JsonElement("resourceType", "resourceType", "code", False, False)
    tree.add_child(kind)

    def of_kind(parsed: Expression) -> Expression:
        same = operation("eq", FieldOf(parsed, "resourceType"), text(name))
        return operation("coalesce", same, Constant(False, BOOLEAN))

    variable = new_variable()
    parsed = operation("compact", transform(as_texts(value), lambda item: ParseJson(item, tree)))
    kept = Filter(parsed, variable, None, of_kind(Reference(variable)))
    typed = Value(kept, name, True, tree, resolved=value.resolved)
    if value.many:
        return typed
    return replace(typed, expression=operation("get", kept, number(0)), many=False)


def as_texts(value: Value) -> Expression:
    """Return resources as a list of JSON texts."""
    if value.many:
        return value.expression
    return operation("compact", Items((value.expression,)))


def _only_item(items: Expression) -> Expression:
    return Choose(
        operation("gt", size(items), number(1)),
        Fail(NOT_A_SINGLE_VALUE),
        operation("get", items, number(0)),
    )


def _empty_list(type_name: str) -> Expression:
    return Cast(Items(()), ListType(sql_type(type_name)))


def _choices(value: Value) -> list[JsonElement]:
    known = definitions.json_elements(value.type).values()
    return [element for element in known if element.is_choice and element.name == value.choice]


def _is_system_type(value: Value, name: str) -> bool:
    system = _SYSTEM_TYPES.get(name)
    return value.tree is None and system is not None and system == value.type


def _no_element(base: Value, name: str, known: Mapping[str, JsonElement]) -> str:
    if base.choice is not None:
        return f"The path asks {base.choice} for {name!r}: say of which type by ofType()."
    if base.type == "Resource":
        return f"The path asks a resource for {name!r}: say of which type by ofType()."
    return f"The path asks for {name!r}, which {base.type} does not have."


def _literal(node: Literal) -> Value:
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


def _variable(name: str, scope: Scope) -> Value:
    if name == "rowIndex":
        return Value(scope.row_index, "integer")
    if name in ("resource", "rootResource", "context"):
        return scope.root
    if name not in scope.constants:
        raise Unprocessable(f"The path uses %{name}, which the view does not define.")
    constant = scope.constants[name]
    return constant_value(constant.value, constant.type)


def _indexed(base: Value, index: Value) -> Value:
    place = single_value(index)
    if base.many:
        found = operation("get", base.expression, place)
        at = Choose(operation("ge", place, number(0)), found)
        return replace(base, expression=at, many=False)
    return filter_values(base, lambda item, _: operation("eq", place, number(0)))


def _signed(sign: str, operand: Value) -> Value:
    kind = _number(operand)
    value = single_value(operand)
    if isinstance(value, Constant) and isinstance(value.value, int | Decimal):
        return constant_value(-value.value if sign == "-" else value.value, kind)
    return Value(operation("negate", value) if sign == "-" else value, kind)


def _binary(operator: str, left: Value, right: Value) -> Value:
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


def _logic(operator: str, left: Expression, right: Expression) -> Expression:
    if operator == "xor":
        return operation("ne", left, right)
    if operator == "implies":
        return operation("or", operation("not", left), right)
    return operation(operator, left, right)


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


def calculate(name: str, left: Expression, right: Expression, *, whole: bool) -> Expression:
    """Return a sum, difference, product or quotient; NULL where it would overflow."""
    suffix = "whole" if whole else "decimal"
    fits = "quotient_fits" if name == "divide" else f"{_FITS[name]}_fits_{suffix}"
    exact = name if name in ("add", "subtract") or whole else f"{name}_decimal"

    def guarded(first: Expression, second: Expression) -> Expression:
        return Choose(operation(fits, first, second), operation(exact, first, second))

    return let(left, lambda first: let(right, lambda second: guarded(first, second)))


_FITS = {"add": "sum", "subtract": "sum", "multiply": "product"}


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
    return operation("null_if", present, Constant(False, BOOLEAN))


def _number(value: Value) -> str:
    if value.type not in NUMBERS:
        raise Unprocessable(f"The path calculates with {value.type}, which is not a number.")
    return "decimal" if value.type == "decimal" else "integer"
