"""Referential integrity on write: resolve conditional references, refuse dangling ones.

What the requester cannot see counts as absent, so that a refusal reveals nothing. Two kinds of
target are named without being seen, each where something else was checked:

* the patients whose record it is: the right to deposit is checked, so the record says nothing about
  a patient whose account takes no deposits from the requester;
* what a patient decides about: a Consent names records of its own patient, and of nobody else.

A new version is checked by the references that the version before does not have: what was there
may have been hidden or deleted since, and a record can be corrected all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from ehr_fhir.errors import Invalid, Issue, PreconditionFailed, Unprocessable
from ehr_fhir.references import (
    local_target,
    split_conditional_reference,
    strip_version,
)
from ehr_fhir.resource_links import list_references, replace_references
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_fhir.search_parameters import use_added_parameters
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, Row
from ehr_gateway.search.criteria import parse_criteria
from ehr_gateway.search.page import find_matching_ids
from ehr_gateway.store.inheritance import (
    GIVING_COLUMNS,
    may_give_facts,
    read_outward_facts,
)
from ehr_gateway.store.named_versions import from_current_versions
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import PreparedResource
from ehr_privacy.consent import Record, load_domains
from ehr_privacy.consent.inherited_facts import Key, OutwardFacts

if TYPE_CHECKING:
    from ehr_gateway.transaction.transaction import Transaction

__all__ = [
    "ReferenceCheck",
    "ReferenceFindings",
    "UnmatchedReference",
    "canonical_references",
    "check_references",
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
        has_filters = bool(parse_criteria(access, kind, pairs).filters)
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
        return "names an entry that is not in the Bundle"
    return "is not a reference of the form Type/id"


@dataclass(frozen=True)
class ReferenceCheck:
    """The references of one version to check, and those that it keeps from the version before."""

    prepared: PreparedResource
    kept: frozenset[str] = frozenset()

    def new_references(self) -> Iterator[tuple[str, str]]:
        """Yield (path, reference) of those that the version before does not have."""
        for expression, reference in self.prepared.references:
            if not self.kept or canonical_reference(reference) not in self.kept:
                yield expression, reference


def canonical_reference(reference: str) -> str:
    """Return a reference without a version, so that two spellings of one target are equal.

    >>> canonical_reference("Encounter/e/_history/2")
    'Encounter/e'
    """
    return str(local_target(reference) or strip_version(reference))


def canonical_references(resource: Mapping[str, Any]) -> frozenset[str]:
    """Return every reference of a resource in its canonical form."""
    return frozenset(canonical_reference(named) for _, named in list_references(resource))


@dataclass(frozen=True)
class ReferenceFindings:
    """What is wrong with the references of some versions, and the facts that their targets give."""

    issues: list[Issue]
    outward_facts: Mapping[Key, OutwardFacts]


def check_references(
    connection: Connection,
    access: Access,
    checks: Sequence[ReferenceCheck],
    *,
    is_platform: bool = False,
) -> ReferenceFindings:
    """Look up what some versions refer to: an issue for each target that may not be named.

    The right to deposit to the patients of each record was checked before. `is_platform`: the
    requester keeps the registry and may name every Patient; a steward does so in a Patient alone,
    to link accounts.
    """
    issues = []
    targets = _Targets()
    for check in checks:
        prepared = check.prepared
        targets.giving |= prepared.fact_targets.all
        decides_about = _decided_patient(prepared)
        depositing_for = _patients_of_deposit(access, prepared.record)
        is_link = access.requester.role == "steward" and prepared.record.type == "Patient"
        for expression, reference in check.new_references():
            if fault := reference_fault(reference, prepared.contained):
                issues.append(Issue(f"{expression} {fault}.", expression, "not-found"))
            elif target := local_target(reference):
                named = (target.type, target.id)
                if target.type == "Patient" and (
                    is_platform or is_link or target.id in depositing_for
                ):
                    targets.registered.setdefault(named, expression)
                elif decides_about is not None and _is_decided_about(expression, target.type):
                    of_patient = targets.of_patient.setdefault(decides_about, {})
                    of_patient.setdefault(named, expression)
                else:
                    targets.visible.setdefault(named, expression)
    outward_facts: dict[Key, OutwardFacts] = {}
    for named, expression in _missing_targets(connection, access, targets, outward_facts):
        text = f"{expression} refers to a {named[0]} that does not exist."
        issues.append(Issue(text, expression, "not-found"))
    return ReferenceFindings(issues[:_MAX_ISSUES], outward_facts)


# A target, and the first path that refers to it.
_Paths = dict[Key, str]


@dataclass
class _Targets:
    """The targets to look up, by what has to hold of each."""

    # The patients whose record it is: they have to exist.
    registered: _Paths = field(default_factory=dict)
    # What a Consent decides about, by its patient: a record of that patient.
    of_patient: dict[str, _Paths] = field(default_factory=dict)
    # All others: visible to the requester.
    visible: _Paths = field(default_factory=dict)
    # Those that give facts to what names them, whether they are checked or not.
    giving: set[Key] = field(default_factory=set)


def _patients_of_deposit(access: Access, record: Record) -> frozenset[str]:
    """Return the patients for whom the requester's right to write this record was checked."""
    if record.type == "Patient":
        return frozenset({record.id})
    is_checked = record.type == "Consent" or access.requester.role in ("clinician", "system")
    return record.patients if is_checked else frozenset()


def _decided_patient(prepared: PreparedResource) -> str | None:
    """Return the patient whose decision a Consent is, None for any other resource."""
    patients = prepared.record.patients
    is_one_decision = prepared.record.ruled_type == "Consent" and len(patients) == 1
    return next(iter(patients)) if is_one_decision else None


def _is_decided_about(expression: str, target_type: str) -> bool:
    """Say whether a path in a Consent names a record that the decision is about, at any depth."""
    return bool(_DECIDED_ABOUT.search(expression)) and target_type not in load_domains().directory


def _missing_targets(
    connection: Connection,
    access: Access,
    targets: _Targets,
    outward_facts: dict[Key, OutwardFacts],
) -> Iterator[tuple[Key, str]]:
    """Yield the targets that may not be named; collect the facts that others give."""
    # A statement for each condition rather than one with OR: SQLite's parser limits the levels of
    # nesting, and the consent condition is near the limit.
    conditions: list[tuple[str, Mapping[str, object], _Paths]] = [
        ("TRUE", {}, targets.registered),
        *((_OF_PATIENT, {"whose": whose}, paths) for whose, paths in targets.of_patient.items()),
    ]
    for condition, params, paths in conditions:
        rows = _select_targets(connection, "r.type, r.id", condition, params, paths)
        found = {(row["type"], row["id"]) for row in rows if not row["deleted"]}
        yield from ((named, paths[named]) for named in paths if named not in found)
    visible = access.read_predicate
    # Visible or not, a target gives its facts: one statement tells both. Few give any.
    columns = f"{GIVING_COLUMNS}, ({visible.sql}) AS seen"
    found, giving = set(), []
    looked_up = {**targets.visible, **dict.fromkeys(targets.giving, "")}
    for row in _select_targets(connection, columns, "TRUE", visible.params, looked_up):
        named = (row["type"], row["id"])
        if row["seen"] and not row["deleted"]:
            found.add(named)
        if named in targets.giving and may_give_facts(row):
            giving.append(named)
    outward_facts |= read_outward_facts(connection, giving)
    yield from ((named, path) for named, path in targets.visible.items() if named not in found)


_OF_PATIENT = "EXISTS (SELECT 1 FROM record_patient p WHERE p.pk = r.pk AND p.patient = :whose)"
_DECIDED_ABOUT = re.compile(r"\.data(?:\[\d+\])?\.reference\.reference$")


def _select_targets(
    connection: Connection,
    columns: str,
    condition: str,
    condition_params: Mapping[str, object],
    targets: Iterable[Key],
) -> Iterator[Row]:
    """Yield the current versions of targets, deletions too: `columns`, `deleted`."""
    remaining = iter(targets)
    while batch := list(islice(remaining, _TARGETS_PER_STATEMENT)):
        params: dict[str, object] = dict(condition_params)
        placeholders = []
        for number, (kind, identity) in enumerate(batch):
            params[f"t{number}"], params[f"i{number}"] = kind, identity
            placeholders.append(f"(:t{number}, :i{number})")
        yield from connection.execute(
            f"SELECT {columns}, r.deleted {from_current_versions(placeholders)} AND {condition}",
            params,
        )
