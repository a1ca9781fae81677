"""Lines of the feed as columns: parsed, checked by the quality rules, and with their buckets.

One function of the lines alone, so a rebuild runs it on many processes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ehr_etl.change_feed.entries import FeedLine, parse_line
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.lake import VERSION_FIELDS
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import PatientDecision, list_patients, next_change_ms
from ehr_etl.tables.places import build_patient_places, record_key
from ehr_etl.tables.silver import check_line, is_late_line, list_elements

__all__ = ["LINE_SCHEMA", "parse_lines"]

_PLACE = pa.struct([("bucket", pa.int32()), ("key", pa.string()), ("place", pa.int32())])
# `own_bucket`: that of the line's key, in which everything about one record or patient meets.
# `place`: the bucket of the record by the facts of this line; `also`: rows of `places` for its
# other patients.
LINE_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("kind", pa.string()),
        ("key", pa.string()),
        *VERSION_FIELDS,
        ("deleted", pa.bool_()),
        ("facts", pa.string()),
        ("rules", pa.string()),
        ("resource", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("elements", pa.list_(pa.string())),
        # Whether a fault holds the version, and no steward released it.
        ("holds", pa.bool_()),
        # Whether it came long after what it tells of.
        ("late", pa.bool_()),
        ("own_bucket", pa.int32()),
        ("place", pa.int32()),
        ("also", pa.list_(_PLACE)),
        ("changes_ms", pa.int64()),
    ]
)


def parse_lines(
    numbered: Sequence[tuple[int, str]],
    layout: Layout,
    rules: QualityRules,
    decided: Mapping[tuple[str, int], str],
    now_ms: int,
) -> pa.Table:
    """Return the lines, each with its sequence number, as a table of LINE_SCHEMA.

    `decided` is what stewards said of a version of a record.
    """
    columns: dict[str, list[Any]] = {name: [] for name in LINE_SCHEMA.names}
    for sequence, text in numbered:
        line = parse_line(text)
        faults = check_line(line, rules)
        is_released = (
            line.kind == "version"
            and decided.get((record_key(line.type, line.id), line.version or 0)) == "release"
        )
        derived: Mapping[str, Any] = {
            "sequence": sequence,
            "reasons": [fault.rule for fault in faults],
            "elements": list_elements(faults),
            "holds": not is_released and any(rules.is_error(fault.rule) for fault in faults),
            "late": is_late_line(line),
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
    patients = list_patients({"facts": line.facts})
    place = layout.record_place(patients, str(line.type), str(line.id))
    also = build_patient_places(layout, patients, place)
    return {"own_bucket": own, "place": place, "also": also or None}
