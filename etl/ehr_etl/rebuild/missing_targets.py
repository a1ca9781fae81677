"""Shared records in a rebuild: which are there, in which buckets they are named, and which lack.

The names are found by a regular expression over the JSON, since all of silver is read. A name that
stands elsewhere than in a reference is found too: then a bucket is read for nothing once.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.data_quality.shared_references import list_shared_types
from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_etl.lake import BUCKET
from ehr_etl.tables.bucketed import Layout

__all__ = ["NAMES_SCHEMA", "find_shared_names", "list_missing_names"]

# `bucket`: that of the shared record `target`. `home`: a bucket with records that name it; null in
# the row that says that it is there.
NAMES_SCHEMA = pa.schema([(BUCKET, pa.int32()), ("target", pa.string()), ("home", pa.int32())])
_LIMITS = QueryLimits(memory_mb=4096, threads=1)
_NAMES = (
    "SELECT DISTINCT bucket AS home, unnest(regexp_extract_all(resource, $pattern, 1)) AS target"
    " FROM silver WHERE NOT deleted"
    " UNION ALL SELECT DISTINCT NULL, concat(type, '/', id) FROM silver"
    " WHERE NOT deleted AND type IN (SELECT unnest($types))"
)


def find_shared_names(silver: pa.Table, layout: Layout, rules: QualityRules) -> pa.Table:
    """Return the shared records that rows of silver are or name, as NAMES_SCHEMA."""
    types = sorted(list_shared_types(rules))
    if not types:
        return NAMES_SCHEMA.empty_table()
    with open_duckdb(_LIMITS) as connection:
        connection.register("silver", silver)
        pattern = rf'"((?:{"|".join(types)})/[A-Za-z0-9.-]{{1,64}})["/]'
        found = fetch(connection, _NAMES, _LIMITS, {"pattern": pattern, "types": types})
    targets = found.column("target").to_pylist()
    place = {target: layout.place(target) for target in set(targets)}
    buckets = pa.array([place[target] for target in targets], pa.int32())
    return pa.Table.from_arrays(
        [buckets, found.column("target"), found.column("home").cast(pa.int32())],
        schema=NAMES_SCHEMA,
    )


def list_missing_names(names: pa.Table) -> pa.Table:
    """Return the rows, each once, of names of shared records of which none says they are there."""
    is_there = pc.is_null(names.column("home"))
    present = names.filter(is_there).column("target")
    missing = names.filter(pc.invert(pc.is_in(names.column("target"), present.combine_chunks())))
    return missing.group_by(NAMES_SCHEMA.names).aggregate([]).select(NAMES_SCHEMA.names)
