"""Match one version of a resource against search criteria, in memory, by its index rows.

It serves parameters of type token, reference and uri, plain or with `:not` and `:missing`: what can
be told by equality, so that subscriptions are found by a look-up and not one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.index.rows import IndexRow, extract_rows
from ehr_fhir.search.filters import Clause
from ehr_fhir.search.query import parse_search
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_fhir.token_keys import search_keys

__all__ = ["Key", "Values", "clause_keys", "index_values", "matches", "parse_clauses"]

# A value of a parameter by which it can be looked up: the parameter's code, the system of a token
# or the type of a reference (None for any), the code or the id (None for any).
Key = tuple[str, str | None, str | None]
# The keys that a version has.
Values = frozenset[Key]

_TYPES = frozenset({"reference", "token", "uri"})
_MODIFIERS = frozenset({None, "missing", "not"})


def parse_clauses(resource_type: str, criteria: str) -> tuple[Clause, ...]:
    """Parse search criteria, such as `status=final,amended&code:missing=false`.

    Raises Invalid for what is no search, Unprocessable for what cannot be told in memory.
    """
    try:
        pairs = parse_query_pairs(criteria)
    except ValueError:
        raise Invalid("The criteria are not valid percent-encoded UTF-8.") from None
    clauses = []
    for one in parse_search(resource_type, pairs).filters:
        if (
            not isinstance(one, Clause)
            or one.parameter.type not in _TYPES
            or one.parameter.code.startswith("_")
            or one.modifier not in _MODIFIERS
        ):
            raise Unprocessable(
                "Criteria of a subscription take parameters of type token, reference and uri,"
                " plain or with :not and :missing.",
                issue_code="not-supported",
            )
        clauses.append(one)
    return tuple(clauses)


def index_values(resource: Mapping[str, Any]) -> Values:
    """Return the keys that a resource is found by."""
    return frozenset(key for row in extract_rows(resource) for key in _row_keys(row))


def clause_keys(clause: Clause) -> Iterator[Key]:
    """Yield the keys of which a version that meets the clause has one; the clause is plain."""
    code, kind = clause.parameter.code, clause.parameter.type
    for value in clause.values:
        if kind == "reference":
            if value.url is not None:
                yield code, "", value.url
            else:
                yield code, value.system, value.code
        elif kind == "uri":
            yield code, None, value.code
        elif value.code is None:
            yield code, value.system, None
        else:
            datatypes = clause.parameter.datatypes
            # The system of a plain code is fixed by its definition and not in the index.
            system = None if datatypes <= {"code"} else value.system
            for key in search_keys(datatypes, value.system, value.code):
                yield code, system, key


def matches(clauses: Iterable[Clause], values: Values) -> bool:
    """Say whether a version that has these keys meets all clauses."""
    return all(_meets(clause, values) for clause in clauses)


def _meets(clause: Clause, values: Values) -> bool:
    if clause.modifier == "missing":
        is_present = (clause.parameter.code, None, None) in values
        return is_present == (clause.values[0].code == "false")
    found = any(key in values for key in clause_keys(clause))
    return not found if clause.modifier == "not" else found


def _row_keys(row: IndexRow) -> Iterator[Key]:
    """Yield the keys of an index row; those inside contained resources are found by none."""
    if row.contained_type:
        return
    yield row.code, None, None
    if row.kind in ("reference", "token"):
        first, second = row.values[0], row.values[1]
        yield row.code, first, second
        yield row.code, None, second
        yield row.code, first, None
    elif row.kind == "uri":
        yield row.code, None, row.values[0]
