"""OperationDefinitions (R4), made from the declarations of the operations.

An operation that serves several standards has one for each, with the standard's as its `base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from ehr_gateway.operations.declaration import ANY_TYPE, Level, Operation, Parameter
from ehr_gateway.operations.registry import OPERATIONS

__all__ = ["DEFINITION_PARAMETERS", "build_operation_definitions"]

# The search parameters that are offered for them, and their types (R4).
DEFINITION_PARAMETERS = {
    "_id": "token",
    "base": "reference",
    "code": "token",
    "instance": "token",
    "kind": "token",
    "name": "string",
    "status": "token",
    "system": "token",
    "title": "string",
    "type": "token",
    "url": "uri",
}
# When they were published; they need not move with each operation that is added.
_DATE = "2026-11-30"
# Types of parameters that R4 does not know: SQL on FHIR's are resources of their own.
_LATER_TYPES = {"ViewDefinition": "Resource"}


@dataclass(frozen=True)
class _Scope:
    """The calls of an operation that one definition is of."""

    levels: tuple[Level, ...]
    types: tuple[str, ...]
    standard: str = ""


@cache
def build_operation_definitions(base: str) -> dict[str, dict[str, Any]]:
    """Return all definitions of the service at a base address, by id, in their order.

    >>> build_operation_definitions("https://e/fhir")["Encounter-everything"]["base"]
    'http://hl7.org/fhir/OperationDefinition/Encounter-everything'
    """
    found = {}
    for registered in OPERATIONS:
        for scope in _scopes(registered.declaration):
            definition = _build_definition(registered.declaration, scope, base)
            found[definition["id"]] = definition
    return dict(sorted(found.items()))


def _scopes(operation: Operation) -> Iterator[_Scope]:
    if len(operation.standards) < 2:
        types = tuple(dict.fromkeys(operation.resource_types + operation.instance_types))
        yield _Scope(operation.levels, types, next(iter(operation.standards.values()), ""))
        return
    for resource_type, standard in operation.standards.items():
        if not resource_type:
            yield _Scope(("system",), (), standard)
            continue
        levels = tuple(
            level
            for level in operation.levels
            if level != "system" and resource_type in operation.types_at(level)
        )
        yield _Scope(levels, (resource_type,), standard)


def _build_definition(operation: Operation, scope: _Scope, base: str) -> dict[str, Any]:
    types = ["Resource" if name == ANY_TYPE else name for name in scope.types]
    identity = operation.definition_id(scope.types[0] if scope.types else "")
    parameters = [
        _build_parameter(parameter, scope)
        for parameter in operation.parameters
        if _is_taken(parameter, scope)
    ]
    if operation.returns:
        parameters.append(
            {"name": "return", "use": "out", "min": 1, "max": "1", "type": operation.returns}
        )
    definition: dict[str, Any] = {
        "resourceType": "OperationDefinition",
        "id": identity,
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(operation.summary)}</div>',
        },
        "url": f"{base}/OperationDefinition/{identity}",
        # R4 wants a name that code could be generated with (opd-0).
        "name": "".join(part[:1].upper() + part[1:] for part in identity.split("-")),
        "title": f"${operation.name}",
        "status": "active",
        "kind": "operation",
        "experimental": False,
        "date": _DATE,
        "publisher": "eHR Commons",
        "description": operation.summary,
        "affectsState": operation.affects_state,
        "code": operation.name,
        "comment": f"Who may call it: {operation.callers}.",
    }
    if scope.standard:
        definition["base"] = scope.standard
    if types:
        definition["resource"] = types
    for level in ("system", "type", "instance"):
        definition[level] = level in scope.levels
    # FHIR's JSON has no empty arrays.
    return definition | ({"parameter": parameters} if parameters else {})


def _is_taken(parameter: Parameter, scope: _Scope) -> bool:
    by_level = not parameter.levels or set(parameter.levels) & set(scope.levels)
    by_type = not parameter.resource_types or set(parameter.resource_types) & set(scope.types)
    return bool(by_level and by_type)


def _build_parameter(parameter: Parameter, scope: _Scope) -> dict[str, Any]:
    is_limited = parameter.levels and not set(scope.levels) <= set(parameter.levels)
    levels = f" (at the level: {', '.join(parameter.levels)})" if is_limited else ""
    return {
        "name": parameter.name,
        "use": "in",
        # What is required at one level alone is not required at the others.
        "min": 0 if is_limited else parameter.least,
        "max": parameter.most,
        "documentation": f"{parameter.documentation}{levels}",
        "type": _LATER_TYPES.get(parameter.type, parameter.type),
    }
