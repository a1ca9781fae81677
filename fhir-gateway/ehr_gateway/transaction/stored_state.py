"""What is stored of a resource before a write: its current version, content and facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from ehr_fhir.errors import NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns, read_stored_facts
from ehr_gateway.transaction.write_permission import WritePermission
from ehr_privacy.consent import Predicate

__all__ = [
    "PreviousState",
    "find_current",
    "is_stored",
    "read_previous_state",
    "require_facts",
]

_NO_CONDITION = Predicate("TRUE", {})


@dataclass(frozen=True)
class PreviousState:
    """What the version before says, and its facts."""

    resource: dict[str, Any]
    facts: StoredFacts


def find_current(
    connection: Connection,
    access: Access,
    permission: WritePermission,
    kind: str,
    identity: str,
) -> Version | None:
    """Return the current version with its facts, deleted or not, if the requester may see it."""
    # A hidden version is None, as an absent one: no answer may tell them apart.
    is_unconditional = permission.is_platform_service or permission.corrects_person(kind)
    visible = _NO_CONDITION if is_unconditional else access.read_predicate
    row = connection.execute(
        f"SELECT r.*, {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
        f" WHERE r.type = :type AND r.id = :id AND r.current = 1 AND ({visible.sql})",
        {"type": kind, "id": identity, **visible.params},
    ).fetchone()
    return replace(Version.from_row(row), facts=StoredFacts.from_row(row)) if row else None


def is_stored(connection: Connection, kind: str, identity: str) -> bool:
    """Say whether there is a resource of this id, deleted or not, hidden or not."""
    row = connection.execute(
        "SELECT 1 FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
    )
    return row.fetchone() is not None


def read_previous_state(connection: Connection, current: Version) -> PreviousState | None:
    """Return what a resource said until now; of a deleted one, what it said before that."""
    body = current.body
    if current.deleted:
        row = connection.execute(
            "SELECT body FROM resource WHERE type = ? AND id = ? AND deleted = 0"
            " ORDER BY version DESC LIMIT 1",
            (current.type, current.id),
        ).fetchone()
        if row is None:
            return None
        body = row["body"]
    # A plain parser will do: the body was parsed strictly when it was stored, and none of the
    # facts depends on the exact digits of a number. A Patient is compared whole with the next.
    resource = parse(body) if current.type == "Patient" else orjson.loads(body)
    return PreviousState(resource, require_facts(connection, current))


def require_facts(connection: Connection, current: Version) -> StoredFacts:
    """Return the facts in force of a current version; NotFound if it is gone."""
    facts = current.facts or read_stored_facts(connection, current.type, current.id)
    if facts is None:
        raise NotFound(f"There is no {current.type} with this id.")
    return facts
