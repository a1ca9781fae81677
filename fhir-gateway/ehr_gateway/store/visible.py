"""Read the current version of one resource under the consent condition of one request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import orjson

from ehr_fhir.errors import Gone, NotFound
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, array_literal
from ehr_gateway.store.disclosure import Disclosure, reader_parameters
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns

__all__ = ["is_current_visible", "read_on", "read_several"]


def read_on(
    connection: Connection,
    access: Access,
    resource_type: str,
    identity: str,
    interaction: Literal["read", "search"] = "read",
    *,
    with_facts: bool = False,
    to_disclose: bool = False,
) -> Version:
    """Read on an open connection; a hidden resource gives the same error as an absent one.

    `with_facts`: with what consent decides the record by. `to_disclose`: with what the audit log
    has to know of it.
    """
    access.require_scope(interaction, resource_type)
    visible, requester = access.predicate(interaction), access.requester
    columns = f"r.*{Disclosure.columns(connection.dialect)}" if to_disclose else "r.*"
    if with_facts:
        columns = f"{columns}, {facts_columns(connection.dialect)}"
    row = connection.execute(
        _statement(columns, visible.sql),
        {
            "type": resource_type,
            "id": identity,
            **reader_parameters(requester.person, requester.organization, access.now_ms),
            **visible.params,
        },
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no {resource_type} with this id.")
    version = Version.from_row(row, has_disclosure=to_disclose)
    if version.deleted:
        raise Gone(f"This {resource_type} was deleted.")
    return replace(version, facts=StoredFacts.from_row(row)) if with_facts else version


def read_several(
    connection: Connection, access: Access, references: Iterable[tuple[str, str]]
) -> list[Version]:
    """Return those of some resources, by type and id, that the requester can read, in that order.

    A hidden one is left out, as is one that is absent, deleted, or of a type without a scope.
    """
    ids_by_type: dict[str, list[str]] = {}
    wanted = list(dict.fromkeys(references))
    for resource_type, identity in wanted:
        ids_by_type.setdefault(resource_type, []).append(identity)
    visible, requester, dialect = access.read_predicate, access.requester, connection.dialect
    is_listed = "IN (SELECT value FROM json_each(:ids))" if dialect == "sqlite" else "= ANY(:ids)"
    found: dict[tuple[str, str], Version] = {}
    for resource_type, ids in ids_by_type.items():
        if not access.covers("read", resource_type):
            continue
        rows = connection.execute(
            f"SELECT r.*{Disclosure.columns(dialect)} FROM resource r"  # noqa: S608
            f" WHERE r.type = :type AND r.id {is_listed} AND r.current = 1 AND r.deleted = 0"
            f" AND ({visible.sql})",
            {
                "type": resource_type,
                "ids": orjson.dumps(ids).decode() if dialect == "sqlite" else array_literal(ids),
                **reader_parameters(requester.person, requester.organization, access.now_ms),
                **visible.params,
            },
        )
        for row in rows:
            version = Version.from_row(row, has_disclosure=True)
            found[version.type, version.id] = version
    return [found[one] for one in wanted if one in found]


# Cached: the consent condition is a long text, and joining it anew would cost each read.
@lru_cache(maxsize=1024)
def _statement(columns: str, condition: str) -> str:
    return (
        f"SELECT {columns} FROM resource r"  # noqa: S608
        f" WHERE r.type = :type AND r.id = :id AND r.current = 1 AND ({condition})"
    )


def is_current_visible(
    connection: Connection, access: Access, resource_type: str, identity: str
) -> bool:
    """Say whether the current version, or its deletion marker, is visible to the requester.

    If it is not, older versions are hidden too: one written before a label or a patient reference
    was corrected would still be open by its own facts.
    """
    visible = access.read_predicate
    row = connection.execute(
        "SELECT 1 FROM resource r WHERE r.type = :type AND r.id = :id AND r.current = 1"  # noqa: S608
        f" AND ({visible.sql})",
        {"type": resource_type, "id": identity, **visible.params},
    ).fetchone()
    return row is not None
