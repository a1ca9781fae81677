"""The FHIR API as an OpenAPI 3 document, made from the registries that the gateway works by.

It describes addresses, parameters and media types. What a resource looks like is FHIR's to say:
bodies are described as JSON objects alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from ehr_fhir import definitions
from ehr_fhir.patch.patch import JSON_PATCH
from ehr_fhir.search_parameters import parameters_of
from ehr_gateway.http.body import FHIR_JSON

__all__ = ["build_openapi"]

_ID = {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_BODY = {"type": "object"}
_SHARED: dict[str, dict[str, Any]] = {
    "id": {"name": "id", "in": "path", "required": True, "schema": _ID},
    "version": {"name": "version", "in": "path", "required": True,
                "schema": {"type": "integer", "minimum": 1}},
    "format": {"name": "_format", "in": "query", "schema": {"type": "string", "enum": ["json"]}},
    "pretty": {"name": "_pretty", "in": "query", "schema": {"type": "boolean"}},
    "count": {"name": "_count", "in": "query", "schema": _COUNT},
    "cursor": {"name": "_cursor", "in": "query", "schema": _TEXT},
    "since": {"name": "_since", "in": "query", "schema": _TEXT},
    "at": {"name": "_at", "in": "query", "schema": _TEXT},
    "sort": {"name": "_sort", "in": "query", "schema": _TEXT},
    "include": {"name": "_include", "in": "query", "schema": _TEXT},
    "revinclude": {"name": "_revinclude", "in": "query", "schema": _TEXT},
    "summary": {"name": "_summary", "in": "query", "schema": _TEXT},
    "elements": {"name": "_elements", "in": "query", "schema": _TEXT},
    "total": {"name": "_total", "in": "query",
              "schema": {"type": "string", "enum": ["none", "estimate", "accurate"]}},
    "prefer": {"name": "Prefer", "in": "header", "schema": _TEXT},
    "if-match": {"name": "If-Match", "in": "header", "schema": _TEXT},
    "if-none-match": {"name": "If-None-Match", "in": "header", "schema": _TEXT},
    "if-modified-since": {"name": "If-Modified-Since", "in": "header", "schema": _TEXT},
    "if-none-exist": {"name": "If-None-Exist", "in": "header", "schema": _TEXT},
}  # fmt: skip
_GENERAL = ("format", "pretty")
_SEARCH = ("count", "cursor", "sort", "include", "revinclude", "summary", "elements", "total")
_HISTORY = ("count", "cursor", "since", "at")


@cache
def build_openapi(base: str) -> bytes:
    """Return the serialized document of the service at a base address."""
    paths: dict[str, Any] = {
        "/metadata": {"get": _operation("What this server can do", is_public=True)},
        "/": {"post": _operation("Carry out a batch or a transaction", "prefer", body=FHIR_JSON)},
        "/_history": {"get": _operation("Versions of every type", *_HISTORY)},
    }
    for resource_type in sorted(definitions.resource_types() - {"AuditEvent"}):
        paths |= _paths_of_type(resource_type)
    document = {
        "openapi": "3.0.3",
        "info": {"title": "eHR Commons: FHIR R4", "version": "4.0.1"},
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "parameters": _SHARED,
            "responses": {
                "Done": {"description": "Done", "content": {FHIR_JSON: {"schema": _BODY}}},
                "Refused": {
                    "description": "An OperationOutcome says what is wrong, and where",
                    "content": {FHIR_JSON: {"schema": _BODY}},
                },
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return orjson.dumps(document)


def _paths_of_type(name: str) -> dict[str, Any]:
    parameters = _search_parameters(name)
    search = _operation(f"Search {name}", "prefer", *_SEARCH, more=parameters)
    instance = f"/{name}/{{id}}"
    return {
        f"/{name}": {
            "get": search,
            "post": _operation(f"Create a {name}", "prefer", "if-none-exist", body=FHIR_JSON),
            "put": _operation(f"Update by criteria: {name}", "prefer", "if-match",
                              more=parameters, body=FHIR_JSON),
            "patch": _operation(f"Patch by criteria: {name}", "prefer", "if-match",
                                more=parameters, body=JSON_PATCH),
            "delete": _operation(f"Delete by criteria: {name}", "prefer", "if-match",
                                 more=parameters),
        },
        f"/{name}/_search": {"post": _operation(f"Search {name} by a form", "prefer", form=True)},
        f"/{name}/_history": {"get": _operation(f"Versions of {name}", *_HISTORY)},
        instance: {
            "get": _operation(f"Read a {name}", "if-none-match", "if-modified-since", "id"),
            "put": _operation(f"Update a {name}", "prefer", "if-match", "if-none-match", "id",
                              body=FHIR_JSON),
            "patch": _operation(f"Patch a {name}", "prefer", "if-match", "id", body=JSON_PATCH),
            "delete": _operation(f"Delete a {name}", "prefer", "if-match", "id"),
        },
        f"{instance}/_history": {"get": _operation(f"Versions of a {name}", "id", *_HISTORY)},
        f"{instance}/_history/{{version}}": {
            "get": _operation(f"Read a version of a {name}", "id", "version")
        },
    }  # fmt: skip


def _search_parameters(resource_type: str) -> list[dict[str, Any]]:
    return [
        {"name": code, "in": "query", "schema": _TEXT}
        for code, parameter in sorted(parameters_of(resource_type).items())
        if parameter.is_searchable
    ]


def _operation(
    summary: str,
    *shared: str,
    more: list[dict[str, Any]] | None = None,
    body: str | None = None,
    form: bool = False,
    is_public: bool = False,
) -> dict[str, Any]:
    references = [{"$ref": f"#/components/parameters/{name}"} for name in (*shared, *_GENERAL)]
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": [*references, *(more or ())],
        "responses": {
            "default": {"$ref": "#/components/responses/Refused"},
            "200": {"$ref": "#/components/responses/Done"},
        },
    }
    if is_public:
        operation["security"] = []
    if body is not None:
        schema = {"type": "array"} if body == JSON_PATCH else _BODY
        operation["requestBody"] = {"required": True, "content": {body: {"schema": schema}}}
    if form:
        fields = {"application/x-www-form-urlencoded": {"schema": _BODY}}
        operation["requestBody"] = {"content": fields}
    return operation
