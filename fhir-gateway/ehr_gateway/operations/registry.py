"""The one registry of operations, made from the files of this folder. A test asks each of them.

The routes, the CapabilityStatement and the docs pages are made from it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module

from fastapi import Request
from fastapi.responses import Response

import ehr_gateway.operations
from ehr_gateway.http.authentication import RequestContext, authenticate, require_scope
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.negotiation import parse_preferences
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.http.threads import run_in_thread
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Level, Operation

__all__ = [
    "OPERATIONS",
    "OperationRoute",
    "RegisteredOperation",
    "answer_read",
    "operation_names",
    "operation_routes",
    "system_capabilities",
    "type_capabilities",
]

# What makes operations of the other files of the folder.
_MACHINERY = frozenset({"call", "declaration", "registry"})
Answer = Callable[[OperationCall], Response]
Receive = Callable[[OperationCall], Awaitable[OperationCall]]


@dataclass(frozen=True)
class RegisteredOperation:
    """A declaration and the function that answers its calls."""

    declaration: Operation
    answer: Answer
    # Reads what a POST sends, where that is not one resource: the file's `receive`.
    receive: Receive | None = None

    @property
    def name(self) -> str:
        """Return the name without its sign."""
        return self.declaration.name


@dataclass(frozen=True)
class OperationRoute:
    """One address of an operation."""

    operation: RegisteredOperation
    level: Level
    resource_type: str
    methods: tuple[str, ...]
    path: str
    endpoint: Callable[[Request, dict[str, str]], Awaitable[Response]]


def _load_operations() -> tuple[RegisteredOperation, ...]:
    """Import every file of the folder; one that declares no operation is an error at start."""
    modules = [
        import_module(f"{ehr_gateway.operations.__name__}.{module.name}")
        for module in pkgutil.iter_modules(ehr_gateway.operations.__path__)
        if not module.name.startswith("_") and module.name not in _MACHINERY
    ]
    found = [
        RegisteredOperation(module.OPERATION, module.answer, getattr(module, "receive", None))
        for module in modules
    ]
    return tuple(sorted(found, key=lambda operation: operation.name))


OPERATIONS = _load_operations()


def type_capabilities(resource_type: str, base: str) -> list[dict[str, str]]:
    """Return the operations of a type as the CapabilityStatement of a base address lists them.

    >>> [one["name"] for one in type_capabilities("SearchParameter", "https://e/fhir")][:3]
    ['reindex', 'correct-facts', 'corrections']
    """
    # The audit log is no record, though it has the address of one.
    names = (resource_type,) if resource_type == "AuditEvent" else (resource_type, ANY_TYPE)
    return [
        _capability(operation.declaration, resource_type, base)
        for name in names
        for operation in OPERATIONS
        if name in operation.declaration.resource_types + operation.declaration.instance_types
    ]


def system_capabilities(base: str) -> list[dict[str, str]]:
    """Return the operations of the whole system."""
    return [
        _capability(operation.declaration, "", base)
        for operation in OPERATIONS
        if "system" in operation.declaration.levels
    ]


def operation_names(level: Level, resource_type: str = "") -> list[str]:
    """Return the names of the operations that are called at a level, of a type where it has one.

    >>> operation_names("instance", "SearchParameter")[-3:]
    ['reindex', 'validate', 'withdraw']
    """
    # The audit log is no record, though it has the address of one.
    types = {resource_type} if resource_type in ("", "AuditEvent") else {resource_type, ANY_TYPE}
    return [
        operation.name
        for operation in OPERATIONS
        if level in operation.declaration.levels
        and (level == "system" or types & set(operation.declaration.types_at(level)))
    ]


def operation_routes(
    operations: Iterable[RegisteredOperation] = OPERATIONS,
) -> Iterator[OperationRoute]:
    """Yield each address of each operation."""
    for operation in operations:
        for level, resource_type, path in operation.declaration.paths():
            endpoint = partial(_answer_request, operation, level, resource_type)
            yield OperationRoute(
                operation, level, resource_type, operation.declaration.methods, path, endpoint
            )


def answer_read(
    route: OperationRoute, context: RequestContext, path_params: dict[str, str]
) -> Response:
    """Answer an operation that changes nothing, for a request that is authenticated and placed."""
    call = _begin_call(route.operation, route.level, route.resource_type, context, path_params)
    return route.operation.answer(call)


def _capability(operation: Operation, resource_type: str, base: str) -> dict[str, str]:
    identity = operation.definition_id(resource_type)
    return {"name": operation.name, "definition": f"{base}/OperationDefinition/{identity}"}


async def _answer_request(
    operation: RegisteredOperation,
    level: Level,
    resource_type: str,
    request: Request,
    path_params: dict[str, str],
) -> Response:
    """Authenticate, begin the audit entry, check scope and parameters; then let it answer."""
    context = await authenticate(request)
    call = _begin_call(operation, level, resource_type, context, path_params)
    if operation.receive is not None:
        call = await operation.receive(call)
    elif request.method == "POST":
        call = replace(call, body=await read_fhir_body(request))
    return await run_in_thread(request, operation.answer, call)


def _begin_call(
    operation: RegisteredOperation,
    level: Level,
    resource_type: str,
    context: RequestContext,
    path_params: dict[str, str],
) -> OperationCall:
    """Begin the audit entry of a call; check its scope and the parameters of its address."""
    declaration, request = operation.declaration, context.request
    query = declaration.audit_query or f"${declaration.name}"
    audit_context = context.begin_audit(declaration.audit_code, query)
    type_called = path_params.get("resource_type", resource_type)
    logical_id = path_params.get("patient") or path_params.get("logical_id", "")
    if type_called and logical_id:
        context.access.inquiry.name_target(type_called, logical_id)
    if declaration.required_scope is not None:
        require_scope(context, declaration.required_scope)
    # What cannot be served is refused before anything is done.
    preferences = parse_preferences(request)
    types = declaration.parameters_at(level, type_called)
    return OperationCall(
        context=context,
        audit_context=audit_context,
        preferences=preferences,
        parameter_types=types,
        resource_type=type_called,
        logical_id=logical_id,
        query=[]
        if request.method == "POST"
        else check_parameters(request, lenient=preferences.lenient, allowed=types),
        body=b"",
    )
