"""The numbers by which the index tables know R4's search parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ehr_fhir import definitions
from ehr_fhir.index.rows import duplicate_parameters, indexed_parameters
from ehr_gateway.database import Connection

__all__ = ["UNINDEXED_PARAMETER", "read_parameter_ids", "register_parameters"]

# The number of index rows for references in elements that no search parameter covers. Searches do
# not know it; parameters are numbered from 1.
UNINDEXED_PARAMETER = 0


def register_parameters(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Number the search parameters that have no number yet, and return the numbers of all.

    A number once given stays.
    """
    numbers = _read_numbers(connection)
    # Numbers never change: new parameters get the next ones.
    first = max(numbers.values(), default=0) + 1
    unknown_pairs = (pair for pair in _indexed_pairs() if pair not in numbers)
    missing = [(number, *pair) for number, pair in enumerate(unknown_pairs, first)]
    if missing:
        connection.executemany("INSERT INTO search_parameter VALUES (?, ?, ?)", missing)
        numbers |= {(kind, code): number for number, kind, code in missing}
    return _add_duplicates(numbers)


def read_parameter_ids(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Return (resource type, code) -> the parameter's number in the index tables."""
    return _add_duplicates(_read_numbers(connection))


def _add_duplicates(numbers: dict[tuple[str, str], int]) -> Mapping[tuple[str, str], int]:
    for kind, code, twin in _duplicates():
        if (kind, twin) in numbers:
            numbers[kind, code] = numbers[kind, twin]
    return numbers


def _read_numbers(connection: Connection) -> dict[tuple[str, str], int]:
    rows = connection.execute("SELECT type, code, param FROM search_parameter")
    return {(kind, code): number for kind, code, number in rows}


# Both depend on the definitions alone, and are asked for whenever a store is opened.


@cache
def _indexed_pairs() -> tuple[tuple[str, str], ...]:
    return tuple(
        (kind, parameter.code)
        for kind in sorted(definitions.resource_types())
        for parameter in indexed_parameters(kind)
    )


@cache
def _duplicates() -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (kind, code, twin)
        for kind in definitions.resource_types()
        for code, twin in duplicate_parameters(kind).items()
    )
