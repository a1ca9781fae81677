"""Lines of the feed as columns: parsed, checked by the quality rules, and with their buckets.

One function of the lines alone, so a rebuild runs it on many processes at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from ehr_etl.change_feed.entries import FeedLine, parse_line
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.sql_on_fhir.duckdb_run import QueryLimits, fetch, open_duckdb
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import PatientDecision, next_change_ms
from ehr_etl.tables.places import build_patient_places, record_key
from ehr_privacy.consent import record_from_json

__all__ = ["LINE_SCHEMA", "check_versions", "parse_lines"]

_PLACE = pa.struct([("bucket", pa.int32()), ("key", pa.string()), ("place", pa.int32())])
# `own_bucket`: that of the line's key, in which everything about one record or patient meets.
# `place`: the bucket of the record by the facts of this line; `also`: rows of `places` for its
# other patients.
LINE_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("kind", pa.string()),
        ("key", pa.string()),
        ("position", pa.int64()),
        ("type", pa.string()),
        ("id", pa.string()),
        ("version", pa.int32()),
        ("last_updated", pa.string()),
        ("author", pa.string()),
        ("deleted", pa.bool_()),
        ("facts", pa.string()),
        ("rules", pa.string()),
        ("resource", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("own_bucket", pa.int32()),
        ("place", pa.int32()),
        ("also", pa.list_(_PLACE)),
        ("changes_ms", pa.int64()),
    ]
)
_CHECKED_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("type", pa.string()),
        ("id", pa.string()),
        ("version", pa.int32()),
        ("last_updated", pa.string()),
        ("resource", pa.string()),
    ]
)
# One thread: whoever wants more runs more processes.
_LIMITS = QueryLimits(threads=1)


def check_versions(lines: Sequence[FeedLine], rules: QualityRules) -> dict[int, list[str]]:
    """Return, by place in the list, the names of the rules that a version breaks, if any."""
    rows = [
        (number, line.type, line.id, line.version, line.last_updated, line.resource)
        for number, line in enumerate(lines)
        if line.kind == "version" and line.resource is not None
    ]
    if not rows:
        return {}
    by_column = zip(zip(*rows, strict=True), _CHECKED_SCHEMA, strict=True)
    columns = [pa.array(list(values), item.type) for values, item in by_column]
    with open_duckdb(_LIMITS) as connection:
        connection.register("version", pa.Table.from_arrays(columns, schema=_CHECKED_SCHEMA))
        broken = fetch(connection, rules.broken_sql("version"), _LIMITS)
    return {row["number"]: row["reasons"] for row in broken.to_pylist()}


def parse_lines(
    numbered: Sequence[tuple[int, str]],
    layout: Layout,
    rules: QualityRules,
    released: Collection[int],
    now_ms: int,
) -> pa.Table:
    """Return the lines, each with its sequence number, as a table of LINE_SCHEMA."""
    lines = [parse_line(text) for _, text in numbered]
    broken = check_versions(lines, rules)
    columns: dict[str, list[Any]] = {name: [] for name in LINE_SCHEMA.names}
    for number, ((sequence, _), line) in enumerate(zip(numbered, lines, strict=True)):
        reasons = [] if line.position in released else broken.get(number, [])
        if line.kind == "fault":
            reasons = [str(line.fault)]
        derived: Mapping[str, Any] = {
            "sequence": sequence,
            "reasons": reasons,
            **_find_buckets(line, layout),
            "changes_ms": (
                next_change_ms(PatientDecision(line.rules).rows, now_ms)
                if line.kind == "rules"
                else None
            ),
        }
        for name, values in columns.items():
            values.append(derived[name] if name in derived else getattr(line, name))
    return pa.Table.from_arrays(
        [pa.array(columns[item.name], item.type) for item in LINE_SCHEMA], schema=LINE_SCHEMA
    )


def _find_buckets(line: FeedLine, layout: Layout) -> Mapping[str, Any]:
    if line.kind == "fault":
        return {"own_bucket": layout.place(line.key), "place": None, "also": None}
    if line.kind == "rules":
        return {"own_bucket": layout.place(f"Patient/{line.id}"), "place": None, "also": None}
    own = layout.place(record_key(line.type, line.id))
    if line.facts is None:
        return {"own_bucket": own, "place": own, "also": None}
    record = record_from_json(orjson.loads(line.facts), str(line.type), str(line.id), line.author)
    place = layout.record_place(record.patients, str(line.type), str(line.id))
    also = build_patient_places(layout, record.patients, place)
    return {"own_bucket": own, "place": place, "also": also or None}
