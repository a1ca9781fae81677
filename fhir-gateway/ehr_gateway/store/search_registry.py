"""The registry of search parameters that an installation adds as SearchParameter resources.

An active SearchParameter is indexed from the moment it is written, and served (usable in searches)
once all older resources are indexed too (`reindex.py`). Every change of the registry gives it a new
generation; each process compares the generation inside the transaction that needs the registry, and
reloads its cached copy when they differ. Generations are random: a counter would repeat a number
after a change that was rolled back, for another state.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError, TooCostly, Unprocessable
from ehr_fhir.index.converters import is_convertible
from ehr_fhir.index.rows import IndexRow, extract_rows_for
from ehr_fhir.json_text import parse
from ehr_fhir.search_parameters import (
    INDEXED_TYPES,
    AddedParameters,
    SearchParameter,
    compile_expression,
    official_parameters,
)
from ehr_gateway.database import Connection
from ehr_gateway.store.update_instant import Latest

__all__ = ["SearchRegistry", "apply_search_parameter", "load_registry", "renew_generation"]

_GENERATION_SETTING = "search-registry"
# The parameters of R4 are numbered from 1.
_FIRST_ADDED_PARAM = 1_000_000
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
# Chosen: no expression that reads a resource takes as many where there is nothing to read.
_MAX_STEPS_ON_NOTHING = 2000
_TYPES = INDEXED_TYPES - {"special"}


@dataclass(frozen=True)
class SearchRegistry:
    """The search parameters as one transaction sees them."""

    generation: bytes
    # (resource type, code) -> number; R4's parameters and the added ones.
    ids: Mapping[tuple[str, str], int]
    # The added parameters that writes index, and those of them that searches may use, by type.
    indexed: Mapping[str, tuple[SearchParameter, ...]]
    served: AddedParameters
    # The newest version. Its position is about the number of versions, for search plans.
    latest: Latest

    def with_only(self, resource_type: str, code: str) -> SearchRegistry:
        """Return a registry that indexes by one parameter alone."""
        parameters = self.indexed.get(resource_type, ())
        parameters = tuple(parameter for parameter in parameters if parameter.code == code)
        return replace(self, indexed={resource_type: parameters})

    def extract_rows(self, resource_type: str, body: bytes) -> list[IndexRow]:
        """Return the index rows of a resource for the added parameters of its type."""
        parameters = self.indexed.get(resource_type)
        return extract_rows_for(parse(body), parameters) if parameters else []


def load_registry(
    connection: Connection, cached: SearchRegistry | None, ids: Mapping[tuple[str, str], int]
) -> SearchRegistry:
    """Return the registry of a transaction: the cached one, or a new one if it has changed.

    `ids` are the numbers of R4's own parameters.
    """
    generation, latest = _load_state(connection)
    if cached is not None and cached.generation == generation:
        return cached if cached.latest == latest else replace(cached, latest=latest)
    if not generation:
        return SearchRegistry(generation, ids, {}, {}, latest)
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE state <> 'removing' ORDER BY param"
    ).fetchall()
    indexed: dict[str, tuple[SearchParameter, ...]] = {}
    served: dict[str, dict[str, SearchParameter]] = {}
    all_ids = dict(ids)
    for row in rows:
        kind, code = row["type"], row["code"]
        parameter = _parameter(kind, code, json.loads(row["definition"]))
        all_ids[kind, code] = row["param"]
        indexed[kind] = (*indexed.get(kind, ()), parameter)
        if row["state"] == "ready":
            served.setdefault(kind, {})[code] = parameter
    return SearchRegistry(generation, all_ids, indexed, served, latest)


def apply_search_parameter(
    connection: Connection, identity: str, body: bytes, *, deleted: bool
) -> None:
    """Add, replace or remove the parameters of a SearchParameter that was written or deleted."""
    resource = {} if deleted else parse(body)
    definitions_by_type = (
        _definitions_by_type(resource) if resource.get("status") == "active" else {}
    )
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE source = ? AND state <> 'removing'", (identity,)
    ).fetchall()
    for row in rows:
        if definitions_by_type.get(row["type"]) == (row["code"], row["definition"]):
            del definitions_by_type[row["type"]]  # unchanged: keep it and its index
        else:
            connection.execute(
                "UPDATE added_parameter SET state = 'removing' WHERE param = ?", (row["param"],)
            )
    for kind, (code, definition) in definitions_by_type.items():
        _add_parameter(connection, identity, kind, code, definition)
    renew_generation(connection)


def renew_generation(connection: Connection) -> None:
    """Give the registry a new generation, so that every process reloads it."""
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_GENERATION_SETTING, secrets.token_bytes(16)),
    )


def _load_state(connection: Connection) -> tuple[bytes, Latest]:
    """Return the registry's generation (empty at first) and the newest version.

    In one statement: every search and write asks for them.
    """
    row = connection.execute(
        "SELECT (SELECT value FROM setting WHERE name = ?) AS value,"
        " (SELECT MAX(position) FROM resource) AS position,"
        " (SELECT n.last_updated FROM resource n"
        " WHERE n.position = (SELECT MAX(position) FROM resource)) AS last_updated",
        (_GENERATION_SETTING,),
    ).fetchone()
    latest = Latest(row["position"] or 0, row["last_updated"] or 0)
    return bytes(row["value"] or b""), latest


def _add_parameter(
    connection: Connection, identity: str, kind: str, code: str, definition: str
) -> None:
    same_code = connection.execute(
        "SELECT 1 FROM added_parameter WHERE type = ? AND code = ? AND state <> 'removing'",
        (kind, code),
    ).fetchone()
    if same_code or code in official_parameters(kind):
        raise _refusal("code", f"{kind} has a search parameter `{code}` already.")
    last = connection.execute("SELECT MAX(param) FROM added_parameter").fetchone()[0]
    total = connection.execute(
        "SELECT COUNT(*) FROM resource WHERE type = ? AND current = 1 AND deleted = 0", (kind,)
    ).fetchone()[0]
    connection.execute(
        "INSERT INTO added_parameter"
        " (param, source, type, code, definition, state, position, done, total)"
        " VALUES (?, ?, ?, ?, ?, 'indexing', 0, 0, ?)",
        ((last or _FIRST_ADDED_PARAM) + 1, identity, kind, code, definition, total),
    )


def _definitions_by_type(resource: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return resource type -> (code, definition as JSON); refuse what cannot be indexed."""
    code, search_type, expression = (
        resource.get(name, "") for name in ("code", "type", "expression")
    )
    if not _CODE.fullmatch(code):
        raise _refusal("code", "The code of a search parameter is a word of letters and digits.")
    if search_type not in _TYPES:
        raise _refusal("type", f"Parameters can be added of the types {', '.join(sorted(_TYPES))}.")
    definition = {
        "type": search_type,
        "expression": expression,
        "target": resource.get("target", []),
    }
    text = json.dumps(definition, sort_keys=True)
    for base in resource["base"]:
        if base not in definitions.resource_types() or base == "AuditEvent":
            raise _refusal("base", f"Parameters cannot be added to `{str(base)[:64]}`.")
        _check_parameter(_parameter(base, code, definition))
    return dict.fromkeys(resource["base"], (code, text))


def _check_parameter(parameter: SearchParameter) -> None:
    if not parameter.expression:
        raise _refusal("expression", "A search parameter needs an expression.")
    try:
        walks = compile_expression(parameter.expression, parameter.resource_type).walks
    except EhrError as error:
        raise _refusal("expression", str(error)) from None
    _check_cost(parameter)
    if walks is not None and not any(
        is_convertible(parameter.type, walk.datatype) for walk in walks
    ):
        text = f"The expression leads to nothing of {parameter.resource_type} that"
        text += f" a {parameter.type} can be."
        raise _refusal("expression", text)


def _check_cost(parameter: SearchParameter) -> None:
    """Refuse an expression that is costly on a resource with nothing in it."""
    empty = {"resourceType": parameter.resource_type}
    try:
        parameter.compiled_expression.evaluate(
            empty, now=datetime.now(UTC), max_steps=_MAX_STEPS_ON_NOTHING
        )
    except TooCostly as error:
        raise _refusal("expression", str(error)) from None
    except EhrError:
        # It suits no such resource, and finds nothing in it.
        return


def _parameter(kind: str, code: str, definition: Mapping[str, Any]) -> SearchParameter:
    targets = frozenset(definition["target"])
    return SearchParameter(kind, code, definition["type"], targets, definition["expression"])


def _refusal(element: str, text: str) -> Unprocessable:
    return Unprocessable(text, expression=f"SearchParameter.{element}")
