"""The numbers by which the index tables know R4's search parameters."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_fhir import definitions
from ehr_fhir.index.rows import duplicate_parameters, indexed_parameters
from ehr_gateway.database import Connection

__all__ = ["UNINDEXED_PARAMETER", "read_parameter_ids", "register_parameters"]

# The number of index rows for references in elements that no search parameter covers. Searches do
# not know it; parameters are numbered from 1.
UNINDEXED_PARAMETER = 0


def register_parameters(connection: Connection) -> None:
    """Number the search parameters that have no number yet; a number once given stays."""
    known = read_parameter_ids(connection)
    indexed_pairs = (
        (kind, parameter.code)
        for kind in sorted(definitions.resource_types())
        for parameter in indexed_parameters(kind)
    )
    # Numbers never change: new parameters get the next ones.
    missing = [
        (len(known) + 1 + n, *pair)
        for n, pair in enumerate(p for p in indexed_pairs if p not in known)
    ]
    connection.executemany("INSERT INTO search_parameter VALUES (?, ?, ?)", missing)


def read_parameter_ids(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Return (resource type, code) -> the parameter's number in the index tables."""
    rows = connection.execute("SELECT * FROM search_parameter").fetchall()
    numbers = {(row["type"], row["code"]): row["param"] for row in rows}
    for kind in definitions.resource_types():
        for code, twin in duplicate_parameters(kind).items():
            if (kind, twin) in numbers:
                numbers[kind, code] = numbers[kind, twin]
    return numbers
