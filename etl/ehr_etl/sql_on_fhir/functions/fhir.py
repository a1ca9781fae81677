"""FHIR's and SQL on FHIR's own functions: extensions, keys, and references that are resolved.

A view reads one resource at a time, so `resolve()` finds what is contained in it. Of a reference to
another resource it knows the type and the key, as the reference states them: `resolve() is Patient`
and `resolve().ofType(Patient).id` hold; any other element of another row is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ehr_etl.sql_on_fhir.elements import ELSEWHERE, navigate
from ehr_etl.sql_on_fhir.expressions import (
    Choose,
    Expression,
    FieldOf,
    Filter,
    ParseJson,
    Reference,
    is_true,
    let,
    new_variable,
    number,
    operation,
    text,
    transform,
)
from ehr_etl.sql_on_fhir.functions.signature import Signature, fixed_text
from ehr_etl.sql_on_fhir.paths import Scope
from ehr_etl.sql_on_fhir.quantities import canonical_unit, canonical_value
from ehr_etl.sql_on_fhir.types import QUANTITY_TYPES
from ehr_etl.sql_on_fhir.values import Value, constant_value, filter_values, map_values
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call, Member

_ID = "[A-Za-z0-9.-]{1,64}"
_TYPE = "[A-Z][A-Za-z]+"


def _extension(base: Value, call: Call, scope: Scope) -> Value:
    url = text(fixed_text(call.arguments[0], scope))
    found = navigate(base, "extension")
    return filter_values(
        found, lambda item, _: operation("eq", navigate(item, "url").expression, url)
    )


def _resource_key(base: Value, call: Call, scope: Scope) -> Value:
    return navigate(base if base.resolved else scope.root, "id")


def _reference_key(base: Value, call: Call, scope: Scope) -> Value:
    match call.arguments:
        case ():
            kind = _TYPE
        case (Member(base=None, name=name),):
            kind = name
        case _:
            raise Unprocessable("getReferenceKey() takes the name of a resource type.")
    _require_reference(base, call)
    pattern = text(_reference_pattern(kind))

    def key(reference: Expression) -> Expression:
        found = operation("extract_pattern", reference, pattern, number(2))
        return operation("null_if", found, text(""))

    return map_values(navigate(base, "reference"), key, "id")


def _resolve(base: Value, call: Call, scope: Scope) -> Value:
    _require_reference(base, call)
    contained = navigate(scope.root, "contained")
    assert contained.tree is not None  # noqa: S101 - an element of the root is parsed
    # The key by which a reference names a contained resource; parsed as any resource's.
    probe = contained.tree.add_resource("Resource")
    probe.add_child(JsonElement("id", "id", "id", False, False))

    def find(reference: Expression) -> Expression:
        here = operation("starts_with", reference, text("#"))
        item = new_variable()
        key = operation("concat", text("#"), FieldOf(ParseJson(Reference(item), probe), "id"))
        same = is_true(operation("eq", key, reference))
        matches = operation("get", Filter(contained.expression, item, None, same), number(0))
        return Choose(here, matches, _elsewhere(reference))

    references = navigate(base, "reference")
    if references.many:
        found: Expression = operation("compact", transform(references.expression, find))
    else:
        found = let(references.expression, find)
    return Value(found, "Resource", references.many, contained.tree, resolved=True)


def _canonical(find: Callable[[Value], Expression], type_name: str) -> Signature:
    """Return canonicalValue or canonicalUnit, which are this platform's own."""

    def convert(base: Value, call: Call, scope: Scope) -> Value:
        if base.type not in QUANTITY_TYPES or base.choice is not None:
            raise Unprocessable(f"{call.name}() is called on what is not a Quantity.")
        if base.is_empty:
            return constant_value(None, type_name)
        return Value(find(base), type_name)

    return Signature(convert)


def _require_reference(base: Value, call: Call) -> None:
    if base.type != "Reference" or base.choice is not None:
        raise Unprocessable(f"{call.name}() is called on what is not a Reference.")


def _elsewhere(reference: Expression) -> Expression:
    """Return JSON text of what a reference says of a resource in another row."""
    pattern = text(_reference_pattern(_TYPE))

    def part(group: int) -> Expression:
        return operation("extract_pattern", reference, pattern, number(group))

    pieces = (text('{"resourceType":"'), part(1), text('","id":"'), part(2))
    written: Expression = pieces[0]
    for piece in (*pieces[1:], text(f'","{ELSEWHERE}":true}}')):
        written = operation("concat", written, piece)
    return Choose(operation("matches", reference, pattern), written)


def _reference_pattern(kind: str) -> str:
    return f"^(?:.*/)?({kind})/({_ID})(?:/_history/.+)?$"


FUNCTIONS: Mapping[str, Signature] = {
    "canonicalUnit": _canonical(canonical_unit, "code"),
    "canonicalValue": _canonical(canonical_value, "decimal"),
    "extension": Signature(_extension, 1, 1),
    "getReferenceKey": Signature(_reference_key, 0, 1),
    "getResourceKey": Signature(_resource_key),
    "resolve": Signature(_resolve),
}
