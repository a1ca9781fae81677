"""Referential integrity on write: resolve conditional references, refuse dangling ones.

What the requester cannot see counts as absent, so that a refusal reveals nothing. The one exception
is a Patient: an organisation that deposits must be able to name patients whose records it cannot
see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ehr_fhir.errors import Invalid, Issue, PreconditionFailed, Unprocessable
from ehr_fhir.references import (
    list_references,
    local_target,
    replace_references,
    split_conditional_reference,
)
from ehr_fhir.search.query import parse_search
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_fhir.search_parameters import use_added_parameters
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.page import find_matching_ids
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import PreparedResource

if TYPE_CHECKING:
    from ehr_gateway.transaction.transaction import Transaction

__all__ = [
    "UnmatchedReference",
    "find_dangling_references",
    "find_ids",
    "find_ids_on",
    "reference_fault",
    "resolve_conditional_references",
]

_MAX_ISSUES = 20
# Chosen: far below the limits of both databases on parameters of a statement.
_TARGETS_PER_STATEMENT = 100
# Parameters that read other types (chains and the like), whose result any other write may change.
_READS_OTHER_TYPES = re.compile(r".*\.|_has|_filter|_list|.*:(?:not-)?in$")


class UnmatchedReference(Unprocessable):
    """A conditional reference matches nothing, or nothing yet."""


def resolve_conditional_references(
    transaction: Transaction, resource: dict[str, Any], path: str = ""
) -> None:
    """Replace conditional references, such as `Practitioner?identifier=s|v`, in the resource."""
    resolved: dict[str, str] = {}
    for expression, reference in list_references(resource, path):
        if reference not in resolved and (split := split_conditional_reference(reference)):
            kind, criteria = split
            ids = transaction.criteria_ids[kind].get(criteria)
            if ids is None:
                ids = find_ids(transaction, kind, criteria)
                # Kept until the transaction writes a resource of this type.
                if not any(
                    _READS_OTHER_TYPES.match(name) for name, _ in parse_query_pairs(criteria)
                ):
                    transaction.criteria_ids[kind][criteria] = ids
            if len(ids) != 1:
                count = "nothing" if not ids else "more than one resource"
                text = f"{expression} is a search that finds {count}."
                error = Unprocessable if ids else UnmatchedReference
                raise error(text, expression=expression, issue_code="not-found")
            resolved[reference] = f"{kind}/{ids[0]}"
    if resolved:
        replace_references(resource, resolved)


def find_ids(transaction: Transaction, kind: str, criteria: str) -> list[str]:
    """Return up to two ids of resources that match the criteria and the requester can find."""
    return find_ids_on(
        transaction.store, transaction.connection, transaction.access, kind, criteria
    )


def find_ids_on(
    store: Store, connection: Connection, access: Access, kind: str, criteria: str
) -> list[str]:
    """Return up to two matching ids on an open connection."""
    try:
        pairs = parse_query_pairs(criteria)
    except ValueError as error:
        raise Invalid("The criteria are not valid percent-encoded UTF-8.") from error
    with use_added_parameters(store.registry(connection).served):
        has_filters = bool(parse_search(kind, pairs).filters)
    if not has_filters:
        raise PreconditionFailed("The criteria narrow nothing: they would match everything.")
    return find_matching_ids(store, connection, access, kind, pairs, limit=2)


def reference_fault(reference: str, contained: frozenset[str]) -> str | None:
    """Return what is wrong with a reference in itself, whatever the store holds; else None.

    >>> reference_fault("#a", frozenset({"a"}))
    >>> reference_fault("Patient", frozenset())
    'is not a reference of the form Type/id'
    """
    if reference.startswith("#"):
        # `#` alone is the resource that contains this one.
        return (
            None
            if reference[1:] in contained or reference == "#"
            else "names no contained resource"
        )
    if local_target(reference) or reference.startswith(("http://", "https://", "urn:oid:")):
        return None
    if reference.startswith("urn:uuid:"):
        return None if reference in contained else "names an entry that is not in the Bundle"
    return "is not a reference of the form Type/id"


def find_dangling_references(
    connection: Connection, access: Access, prepared: Sequence[PreparedResource]
) -> list[Issue]:
    """Return an issue for each reference whose target the requester cannot refer to."""
    issues = []
    # Target -> the first path that refers to it.
    paths: dict[tuple[str, str], str] = {}
    for resource in prepared:
        for expression, reference in resource.references:
            if fault := reference_fault(reference, resource.contained):
                issues.append(Issue(f"{expression} {fault}.", expression, "not-found"))
            elif target := local_target(reference):
                paths.setdefault((target.type, target.id), expression)
    existing = set(_existing_targets(connection, access, paths))
    for identity, expression in paths.items():
        if identity not in existing:
            text = f"{expression} refers to a {identity[0]} that does not exist."
            issues.append(Issue(text, expression, "not-found"))
    return issues[:_MAX_ISSUES]


def _existing_targets(
    connection: Connection, access: Access, targets: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    # Two statements rather than one with OR: SQLite's parser limits the levels of nesting, and the
    # consent condition is near the limit.
    patients: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for target in targets:
        (patients if target[0] == "Patient" else others).append(target)
    yield from _select_targets(connection, "TRUE", {}, patients)
    visible = access.read_predicate
    yield from _select_targets(connection, visible.sql, visible.params, others)


def _select_targets(
    connection: Connection,
    condition: str,
    condition_params: Mapping[str, object],
    targets: Sequence[tuple[str, str]],
) -> Iterator[tuple[str, str]]:
    remaining = iter(targets)
    while batch := list(islice(remaining, _TARGETS_PER_STATEMENT)):
        params: dict[str, object] = dict(condition_params)
        placeholders = []
        for number, (kind, identity) in enumerate(batch):
            params[f"t{number}"], params[f"i{number}"] = kind, identity
            placeholders.append(f"(:t{number}, :i{number})")
        rows = connection.execute(
            "SELECT r.type, r.id FROM resource r WHERE r.current = 1 AND r.deleted = 0"  # noqa: S608
            f" AND (r.type, r.id) IN (VALUES {', '.join(placeholders)})"
            f" AND {condition}",
            params,
        )
        yield from ((row["type"], row["id"]) for row in rows)
