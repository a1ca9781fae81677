"""Resolve conditional entries of a Bundle: criteria become the id of what they match.

In a transaction all criteria are evaluated before anything is written (R4 §3.1.0.11.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.interactions.bundle.entries import Entry
from ehr_gateway.store.store import Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.conditional_match import find_only_match, find_update_target
from ehr_gateway.transaction.transaction import Transaction

__all__ = ["check_distinct_criteria", "find_existing", "resolve_criteria"]


def resolve_criteria(transaction: Transaction, entry: Entry) -> Entry:
    """Return the entry with the id that its criteria match; None for a DELETE that matches nothing.

    A PUT that matches nothing becomes a POST, unless its content has an id.
    """
    if entry.criteria is None:
        return entry
    if entry.method == "PUT" and (draft := entry.draft) is not None:
        identity = find_update_target(
            transaction, entry.type, entry.content, entry.criteria, entry.if_match
        )
        if identity is None:
            return entry._replace(id=draft.id, method="POST", criteria=None)
        return entry._replace(id=identity, criteria=None, draft=draft.with_id(identity))
    identity = find_only_match(transaction, entry.type, entry.criteria)
    if identity is None and entry.method == "PATCH":
        raise NotFound(f"There is no {entry.type} that meets the criteria.")
    return entry._replace(id=identity, criteria=None)


def find_existing(transaction: Transaction, entry: Entry) -> Version | None:
    """Return the version that already meets the criteria of a conditional create, if any."""
    if entry.method != "POST" or entry.if_none_exist is None:
        return None
    identity = find_only_match(transaction, entry.type, entry.if_none_exist)
    if identity is None:
        return None
    # By the right to search, since a search found it.
    return read_on(transaction.connection, transaction.access, entry.type, identity, "search")


def check_distinct_criteria(entries: Sequence[tuple[Entry, Entry]]) -> None:
    """Refuse a transaction that would create two resources by the same criteria.

    `entries` are pairs of an entry as sent and as resolved.
    """
    seen: dict[tuple[str, str], str] = {}
    for before, after in entries:
        criteria = before.criteria if before.criteria is not None else before.if_none_exist
        if after.method != "POST" or criteria is None:
            continue
        first = seen.setdefault((after.type, criteria), after.path)
        if first != after.path:
            text = f"{after.path} has the same criteria as {first}: only one can be made by them."
            raise Invalid(text, expression=after.path)
