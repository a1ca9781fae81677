"""String manipulation (FHIRPath N1 §5.6); texts are counted in characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ehr_etl.sql_on_fhir.expressions import (
    Choose,
    Constant,
    Expression,
    let,
    number,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.functions.signature import Signature, argument, fixed_text, text_of
from ehr_etl.sql_on_fhir.paths import Scope
from ehr_etl.sql_on_fhir.patterns import check_pattern, check_template
from ehr_etl.sql_on_fhir.types import STRING
from ehr_etl.sql_on_fhir.values import Value, as_list, single_value
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call


def _of_text(name: str, type_name: str = "string") -> Signature:
    """Return a function of the text alone."""

    def apply(base: Value, call: Call, scope: Scope) -> Value:
        return Value(operation(name, text_of(base, call.name)), type_name)

    return Signature(apply)


def _test(name: str) -> Signature:
    """Return a test of the text by another."""

    def test(base: Value, call: Call, scope: Scope) -> Value:
        other = text_of(argument(call, 0, scope), call.name)
        return Value(operation(name, text_of(base, call.name), other), "boolean")

    return Signature(test, 1, 1)


def _trim(base: Value, call: Call, scope: Scope) -> Value:
    edges = text(r"^[\t\n\f\r ]+|[\t\n\f\r ]+$")
    return Value(operation("replace_pattern", text_of(base, call.name), edges, text("")), "string")


def _index_of(base: Value, call: Call, scope: Scope) -> Value:
    other = text_of(argument(call, 0, scope), call.name)
    place = operation("position", text_of(base, call.name), other)
    return Value(operation("subtract", place, number(1)), "integer")


def _substring(base: Value, call: Call, scope: Scope) -> Value:
    start = single_value(argument(call, 0, scope))

    def cut_part(whole: Expression) -> Expression:
        length = operation("length", whole)
        count: Expression = length
        if len(call.arguments) == 2:
            limit = single_value(argument(call, 1, scope))
            none = operation("lt", limit, number(0))
            count = Choose(none, number(0), operation("coalesce", limit, length))
        inside = operation("and", operation("ge", start, number(0)), operation("lt", start, length))
        # SQL counts characters from 1, FHIRPath from 0.
        part = operation("substring", whole, operation("add", start, number(1)), count)
        return Choose(inside, part)

    return Value(let(text_of(base, call.name), cut_part), "string")


def _replace(base: Value, call: Call, scope: Scope) -> Value:
    old = fixed_text(call.arguments[0], scope)
    if not old:
        raise Unprocessable("replace() of an empty text is not supported in views.")
    new = text_of(argument(call, 1, scope), call.name)
    return Value(operation("replace", text_of(base, call.name), text(old), new), "string")


def _match(wrap: Callable[[str], str]) -> Signature:
    """Return a test of the text by a pattern, which is known when the view compiles."""

    def test(base: Value, call: Call, scope: Scope) -> Value:
        pattern = wrap(check_pattern(fixed_text(call.arguments[0], scope)))
        return Value(operation("matches", text_of(base, call.name), text(pattern)), "boolean")

    return Signature(test, 1, 1)


def _replace_matches(base: Value, call: Call, scope: Scope) -> Value:
    pattern = check_pattern(fixed_text(call.arguments[0], scope))
    template = check_template(fixed_text(call.arguments[1], scope))
    if not pattern:
        return base
    replaced = operation("replace_pattern", text_of(base, call.name), text(pattern), text(template))
    return Value(replaced, "string")


def _split(base: Value, call: Call, scope: Scope) -> Value:
    separator = fixed_text(call.arguments[0], scope)
    if not separator:
        raise Unprocessable("split() by an empty text is not supported in views.")
    pieces = operation("split", text_of(base, call.name), text(separator))
    return Value(pieces, "string", many=True)


def _join(base: Value, call: Call, scope: Scope) -> Value:
    separator = fixed_text(call.arguments[0], scope) if call.arguments else ""
    if not base.is_primitive or base.type in ("boolean", "decimal") or base.type == "integer":
        raise Unprocessable(f"The path calls join() on {base.choice or base.type}.")
    if not base.many:
        return Value(operation("coalesce", base.expression, text("")), "string")
    joined = operation("join_texts", as_list(base), text(separator))
    return Value(operation("coalesce", joined, Constant("", STRING)), "string")


FUNCTIONS: Mapping[str, Signature] = {
    "contains": _test("contains"),
    "endsWith": _test("ends_with"),
    "indexOf": Signature(_index_of, 1, 1),
    "join": Signature(_join, 0, 1),
    "length": _of_text("length", "integer"),
    "lower": _of_text("lower"),
    "matches": _match(lambda pattern: pattern),
    "matchesFull": _match(lambda pattern: rf"\A(?:{pattern})\z"),
    "replace": Signature(_replace, 2, 2),
    "replaceMatches": Signature(_replace_matches, 2, 2),
    "split": Signature(_split, 1, 1),
    "startsWith": _test("starts_with"),
    "substring": Signature(_substring, 1, 2),
    "trim": Signature(_trim),
    "upper": _of_text("upper"),
}
