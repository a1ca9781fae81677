"""The FHIR API as an OpenAPI 3 document, generated from the registries that the gateway serves by.

It describes addresses, parameters and media types. What a resource looks like is FHIR's to say: the
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

__all__ = ["openapi"]

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
def openapi(base: str) -> bytes:
    """Return the document of the service at a base address."""
    paths: dict[str, Any] = {
        "/metadata": {"get": _operation("What this server can do", open_to_all=True)},
        "/": {"post": _operation("Carry out a batch or a transaction", "prefer", body=FHIR_JSON)},
        "/_history": {"get": _operation("Versions of every type", *_HISTORY)},
    }
    for kind in sorted(definitions.resource_types() - {"AuditEvent"}):
        paths |= _of_type(kind)
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


def _of_type(kind: str) -> dict[str, Any]:
    searched = _searched(kind)
    search = _operation(f"Search {kind}", "prefer", *_SEARCH, more=searched)
    one = f"/{kind}/{{id}}"
    return {
        f"/{kind}": {
            "get": search,
            "post": _operation(f"Create a {kind}", "prefer", "if-none-exist", body=FHIR_JSON),
            "put": _operation(f"Update by criteria: {kind}", "prefer", "if-match",
                              more=searched, body=FHIR_JSON),
            "patch": _operation(f"Patch by criteria: {kind}", "prefer", "if-match",
                                more=searched, body=JSON_PATCH),
            "delete": _operation(f"Delete by criteria: {kind}", "prefer", "if-match",
                                 more=searched),
        },
        f"/{kind}/_search": {"post": _operation(f"Search {kind} by a form", "prefer", form=True)},
        f"/{kind}/_history": {"get": _operation(f"Versions of {kind}", *_HISTORY)},
        one: {
            "get": _operation(f"Read a {kind}", "if-none-match", "if-modified-since", "id"),
            "put": _operation(f"Update a {kind}", "prefer", "if-match", "if-none-match", "id",
                              body=FHIR_JSON),
            "patch": _operation(f"Patch a {kind}", "prefer", "if-match", "id", body=JSON_PATCH),
            "delete": _operation(f"Delete a {kind}", "prefer", "if-match", "id"),
        },
        f"{one}/_history": {"get": _operation(f"Versions of a {kind}", "id", *_HISTORY)},
        f"{one}/_history/{{version}}": {
            "get": _operation(f"Read a version of a {kind}", "id", "version")
        },
    }  # fmt: skip


def _searched(kind: str) -> list[dict[str, Any]]:
    return [
        {"name": code, "in": "query", "schema": _TEXT}
        for code, one in sorted(parameters_of(kind).items())
        if one.is_searchable
    ]


def _operation(
    summary: str,
    *shared: str,
    more: list[dict[str, Any]] | None = None,
    body: str | None = None,
    form: bool = False,
    open_to_all: bool = False,
) -> dict[str, Any]:
    references = [{"$ref": f"#/components/parameters/{name}"} for name in (*shared, *_GENERAL)]
    found: dict[str, Any] = {
        "summary": summary,
        "parameters": [*references, *(more or ())],
        "responses": {
            "default": {"$ref": "#/components/responses/Refused"},
            "200": {"$ref": "#/components/responses/Done"},
        },
    }
    if open_to_all:
        found["security"] = []
    if body is not None:
        schema = {"type": "array"} if body == JSON_PATCH else _BODY
        found["requestBody"] = {"required": True, "content": {body: {"schema": schema}}}
    if form:
        fields = {"application/x-www-form-urlencoded": {"schema": _BODY}}
        found["requestBody"] = {"content": fields}
    return found
