"""Search parameters that an installation adds: what it indexes, and what it serves.

An active SearchParameter is indexed from the moment it is written, and served once every older
resource is indexed too (`reindex.py`). Each state of the registry has a name, so that many
processes agree: each looks at it inside the transaction that needs it. The name is a random one: a
number would come again after a change that was not kept, for another state.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError, Unprocessable
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

__all__ = ["SearchRegistry", "apply_search_parameter", "load_registry", "renew_generation"]

_GENERATION_SETTING = "search-registry"
# R4's parameters are numbered from 1.
_FIRST_ADDED_PARAM = 1_000_000
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_TYPES = INDEXED_TYPES - {"special"}


@dataclass(frozen=True)
class SearchRegistry:
    """The parameters as one transaction sees them."""

    generation: bytes
    ids: Mapping[tuple[str, str], int]
    indexed: Mapping[str, tuple[SearchParameter, ...]]
    served: AddedParameters
    # The newest version's position: about how large the store is, for the plans of searches.
    last: int = 0

    def only(self, resource_type: str, code: str) -> SearchRegistry:
        """Return a registry that indexes one parameter."""
        found = self.indexed.get(resource_type, ())
        return replace(
            self, indexed={resource_type: tuple(one for one in found if one.code == code)}
        )

    def rows(self, resource_type: str, body: bytes) -> list[IndexRow]:
        """Return the index rows of a resource for the added parameters of its type."""
        wanted = self.indexed.get(resource_type)
        return extract_rows_for(parse(body), wanted) if wanted else []


def load_registry(
    connection: Connection, known: SearchRegistry | None, ids: Mapping[tuple[str, str], int]
) -> SearchRegistry:
    """Return the registry: the one known, unless it has changed."""
    generation, last = _load_generation(connection)
    if known is not None and known.generation == generation:
        return known if known.last == last else replace(known, last=last)
    if not generation:
        return SearchRegistry(generation, ids, {}, {}, last)
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE state <> 'removing' ORDER BY param"
    ).fetchall()
    indexed: dict[str, tuple[SearchParameter, ...]] = {}
    served: dict[str, dict[str, SearchParameter]] = {}
    numbers = dict(ids)
    for row in rows:
        one = _parameter(row["type"], row["code"], json.loads(row["definition"]))
        numbers[one.resource_type, one.code] = row["param"]
        indexed[one.resource_type] = (*indexed.get(one.resource_type, ()), one)
        if row["state"] == "ready":
            served.setdefault(one.resource_type, {})[one.code] = one
    return SearchRegistry(generation, numbers, indexed, served, last)


def apply_search_parameter(
    connection: Connection, identity: str, body: bytes, *, deleted: bool
) -> None:
    """Take a written or deleted SearchParameter into the registry, or out of it."""
    resource = {} if deleted else parse(body)
    wanted = _definitions_by_type(resource) if resource.get("status") == "active" else {}
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE source = ? AND state <> 'removing'", (identity,)
    ).fetchall()
    for row in rows:
        if wanted.get(row["type"]) == (row["code"], row["definition"]):
            del wanted[row["type"]]  # as it was
        else:
            connection.execute(
                "UPDATE added_parameter SET state = 'removing' WHERE param = ?", (row["param"],)
            )
    for kind, (code, definition) in wanted.items():
        _add_parameter(connection, identity, kind, code, definition)
    renew_generation(connection)


def renew_generation(connection: Connection) -> None:
    """Tell every process that the registry has changed."""
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_GENERATION_SETTING, secrets.token_bytes(16)),
    )


def _load_generation(connection: Connection) -> tuple[bytes, int]:
    """Return the name of the registry's state and the newest version, by one statement."""
    row = connection.execute(
        "SELECT (SELECT value FROM setting WHERE name = ?) AS value,"
        " (SELECT MAX(pk) FROM resource) AS last",
        (_GENERATION_SETTING,),
    ).fetchone()
    return bytes(row["value"] or b""), row["last"] or 0


def _add_parameter(
    connection: Connection, identity: str, kind: str, code: str, definition: str
) -> None:
    taken = connection.execute(
        "SELECT 1 FROM added_parameter WHERE type = ? AND code = ? AND state <> 'removing'",
        (kind, code),
    ).fetchone()
    if taken or code in official_parameters(kind):
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
    """Return resource type -> (code, definition); refuse what cannot be indexed."""
    code, kind, expression = (resource.get(name, "") for name in ("code", "type", "expression"))
    if not _CODE.fullmatch(code):
        raise _refusal("code", "The code of a search parameter is a word of letters and digits.")
    if kind not in _TYPES:
        raise _refusal("type", f"Parameters can be added of the types {', '.join(sorted(_TYPES))}.")
    definition = {"type": kind, "expression": expression, "target": resource.get("target", [])}
    text = json.dumps(definition, sort_keys=True)
    for base in resource["base"]:
        if base not in definitions.resource_types() or base == "AuditEvent":
            raise _refusal("base", f"Parameters cannot be added to `{str(base)[:64]}`.")
        _check_parameter(_parameter(base, code, definition))
    return dict.fromkeys(resource["base"], (code, text))


def _check_parameter(one: SearchParameter) -> None:
    if not one.expression:
        raise _refusal("expression", "A search parameter needs an expression.")
    try:
        walks = compile_expression(one.expression, one.resource_type).walks
    except EhrError as error:
        raise _refusal("expression", str(error)) from None
    if walks is not None and not any(is_convertible(one.type, walk.datatype) for walk in walks):
        text = f"The expression leads to nothing of {one.resource_type} that a {one.type} can be."
        raise _refusal("expression", text)


def _parameter(kind: str, code: str, definition: Mapping[str, Any]) -> SearchParameter:
    targets = frozenset(definition["target"])
    return SearchParameter(kind, code, definition["type"], targets, definition["expression"])


def _refusal(element: str, text: str) -> Unprocessable:
    return Unprocessable(text, expression=f"SearchParameter.{element}")
