"""The resources that the criteria of a search name: by id, by reference, by identifier, by name.

For the audit log, which records whom a request asked about, found or not. This reads the criteria
alone; who has an identifier or a name is looked up in the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ehr_fhir.references import local_target, relative_reference
from ehr_fhir.search.filters import (
    AnyOf,
    Chain,
    Clause,
    Composite,
    Filter,
    InCompartment,
    Not,
    ReverseChain,
    served_parameter,
)

__all__ = ["NamedIdentity", "NamedTarget", "find_named"]

# Parameters of Patient that name a person, though several may share the value. A birth date, a sex
# or a practitioner alone names nobody.
_NAMING_PARAMETERS = frozenset(
    {"address", "email", "family", "given", "name", "phone", "phonetic", "telecom"}
)
# Their codes are looked up in a terminology, which this does not ask.
_VALUE_SET_MODIFIERS = frozenset({"above", "below", "in", "not-in"})
# A part of a name, and having one at all, name nobody.
_MODIFIERS_NAMING_NOBODY = frozenset({"contains", "missing"})
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
# An untyped reference is looked up as each type that its parameter leads to, up to so many: what
# leads to any of 145 types names none of them. Chosen.
_MAX_UNTYPED_TARGETS = 8


@dataclass(frozen=True)
class NamedTarget:
    """A resource that criteria name by type and id, whether it is there or not."""

    type: str
    id: str


@dataclass(frozen=True)
class NamedIdentity:
    """Resources of a type that criteria name by an identifier, or patients by a name.

    All filters must hold. A name may fit many people, and then names nobody.
    """

    type: str
    filters: tuple[Filter, ...]
    by_name: bool = False


Named = NamedTarget | NamedIdentity


def find_named(resource_type: str, filters: Sequence[Filter], base: str = "") -> Iterator[Named]:
    """Yield what the filters of a search name; `base` is the server's own address.

    >>> from ehr_fhir.search.query import parse_search
    >>> query = parse_search("Condition", [("patient", "p1"), ("code", "B20")])
    >>> list(find_named("Condition", query.filters))
    [NamedTarget(type='Patient', id='p1')]
    """
    for search_filter in filters:
        yield from _named_by(resource_type, search_filter, base)
    if resource_type == "Patient" and any(map(_is_naming, filters)):
        yield _naming_identity(filters)


def _named_by(kind: str, search_filter: Filter, base: str) -> Iterator[Named]:
    if isinstance(search_filter, InCompartment):
        yield from _named_id("Patient", search_filter.patient)
    elif isinstance(search_filter, Clause):
        yield from _named_by_clause(kind, search_filter, base)
    elif isinstance(search_filter, Not):
        yield from find_named(kind, [search_filter.filter], base)
    elif isinstance(search_filter, AnyOf):
        for group in search_filter.groups:
            yield from find_named(kind, group, base)
    elif isinstance(search_filter, Chain):
        for target, target_filter in search_filter.targets:
            yield from find_named(target, [target_filter], base)
    elif isinstance(search_filter, ReverseChain):
        yield from find_named(search_filter.parameter.resource_type, [search_filter.filter], base)
    elif isinstance(search_filter, Composite):
        for components in search_filter.values:
            yield from find_named(kind, components, base)


def _named_by_clause(kind: str, clause: Clause, base: str) -> Iterator[Named]:
    parameter, modifier = clause.parameter, clause.modifier
    if modifier == "missing":
        return
    if parameter.code == "_id":
        for value in clause.values:
            yield from _named_id(kind, value.code)
    elif parameter.type == "reference" and modifier == "identifier":
        yield from _named_by_logical_reference(clause)
    elif parameter.type == "reference":
        for value in clause.values:
            yield from _named_by_reference(clause, value.system, value.code, value.url, base)
    elif parameter.datatypes == {"Identifier"} and modifier in (None, "not", "of-type"):
        if values := tuple(value for value in clause.values if value.code):
            plain = None if modifier == "not" else modifier
            yield NamedIdentity(kind, (Clause(parameter, plain, values),))


def _named_by_reference(
    clause: Clause, kind: str | None, logical_id: str | None, url: str | None, base: str
) -> Iterator[Named]:
    if url is not None:
        target = local_target(relative_reference(url, base))
        if target is not None:
            yield NamedTarget(target.type, target.id)
    elif kind is not None:
        yield from _named_id(kind, logical_id)
    else:
        targets = clause.parameter.targets or frozenset({"Patient"})
        if len(targets) > _MAX_UNTYPED_TARGETS:
            targets = targets & {"Patient"}
        for target_type in sorted(targets):
            yield from _named_id(target_type, logical_id)


def _named_by_logical_reference(clause: Clause) -> Iterator[Named]:
    """Yield whom `patient:identifier=system|value` names: those who have the identifier."""
    targets = clause.parameter.targets or frozenset({"Patient"})
    values = tuple(value for value in clause.values if value.code)
    if "Patient" in targets and values:
        yield NamedIdentity(
            "Patient", (Clause(served_parameter("Patient", "identifier"), None, values),)
        )


def _named_id(kind: str, logical_id: str | None) -> Iterator[NamedTarget]:
    if logical_id is not None and _ID.fullmatch(logical_id):
        yield NamedTarget(kind, logical_id)


def _is_naming(search_filter: Filter) -> bool:
    return (
        isinstance(search_filter, Clause)
        and search_filter.parameter.code in _NAMING_PARAMETERS
        and search_filter.modifier not in _MODIFIERS_NAMING_NOBODY
    )


def _naming_identity(filters: Iterable[Filter]) -> NamedIdentity:
    """Return the people who fit all plain criteria of a search for patients.

    The other criteria may narrow further, and are asked of the store as a whole in any case.
    """
    plain = tuple(
        search_filter
        for search_filter in filters
        if isinstance(search_filter, Clause) and search_filter.modifier not in _VALUE_SET_MODIFIERS
    )
    return NamedIdentity("Patient", plain, by_name=True)
