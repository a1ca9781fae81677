"""Lineage of the lake: a record of each refresh, for the gateway's log.

After tables changed, a record says which versions there are now, by a digest of each; it is kept in
`lineage.json` until the gateway has it on record. Whatever a kill left unsaid is in the next
record, since versions are compared with those that were recorded last; whatever is told twice is
there already. A table's digest is of Delta's log alone (which files, of which size, with how many
rows, written when), so it costs no reading of rows, and does not tell when the bytes of a file
were changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ehr_etl.atomic_files import replace_file
from ehr_etl.change_feed.epoch import load_epoch
from ehr_etl.lake import Lake
from ehr_etl.progress import Progress
from ehr_etl.tables.bronze import FeedCursor
from ehr_etl.upkeep import iterate_tables
from ehr_privacy.audit import LAKE_REFRESH, canonical_json, digest_json, lineage_id

__all__ = [
    "Refreshes",
    "SendRecords",
    "TableVersion",
    "describe_table",
    "digest_table",
    "is_traced",
    "load_refreshes",
    "note_refresh",
    "send_refreshes",
]

# What Delta's log says of a file, beside the least and greatest values.
_LOGGED = ("path", "size_bytes", "num_records", "modification_time")
# Told in one request. Chosen.
_MOST_RECORDS = 50
# Kept for a gateway that is away; then the newest takes in what comes after it. Chosen: some 600 KB
# at 600 bytes each, and the file is written whole with each record.
_MOST_UNSENT = 1000

# Hands records to the gateway; an error of `ehr_fhir.errors` when it does not take them.
SendRecords = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class TableVersion:
    """A table at one version, and the record of the refresh that told of it last."""

    name: str
    version: int
    # None where that version's log is gone.
    digest: str | None
    refresh: str | None


@dataclass(frozen=True)
class Refreshes:
    """What was recorded last of every table, and the records that the gateway may not have."""

    # Table -> version.
    versions: Mapping[str, int] = field(default_factory=dict)
    # Up to which line of the feed.
    sequence: int = 0
    # Id of the newest record.
    newest: str | None = None
    unsent: tuple[dict[str, Any], ...] = ()


def is_traced(table: str) -> bool:
    """Say whether a table is one that releases are made from, or that such tables are made of."""
    return table in ("silver", "deid") or table.startswith(("gold/", "omop/"))


def digest_table(table: DeltaTable) -> str:
    """Return the digest of a table as Delta's log has it at the version that is open."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = [name for name in _LOGGED if name in actions.column_names]
    files = sorted(list(row.values()) for row in actions.select(columns).to_pylist())
    return digest_json({"version": int(table.version()), "files": files})


def describe_table(lake: Lake, name: str, version: int) -> TableVersion:
    """Return a table at a version that was read, with the newest refresh known now."""
    try:
        table = DeltaTable(
            lake.table_url(name), version=version, storage_options=dict(lake.storage_options)
        )
        digest = digest_table(table)
    except (DeltaError, OSError):
        # The logs of old versions are shortened.
        digest = None
    return TableVersion(name, version, digest, load_refreshes(lake).newest)


def load_refreshes(lake: Lake) -> Refreshes:
    """Return what was recorded of a lake."""
    if not lake.lineage_file.exists():
        return Refreshes()
    content = orjson.loads(lake.lineage_file.read_bytes())
    return Refreshes(**{**content, "unsent": tuple(content["unsent"])})


def note_refresh(
    lake: Lake, progress: Progress, cursor: FeedCursor, written: Collection[str] | None = None
) -> bool:
    """Keep a record of what changed since the last one; return whether anything did.

    `written` names the tables that can have changed; without it all are looked at.
    """
    known = load_refreshes(lake)
    names = iterate_tables(lake) if written is None else filter(lake.has_table, written)
    present = {name: lake.open_table(name) for name in sorted(filter(is_traced, names))}
    gone = {name for name in known.versions if written is None or name in written} - present.keys()
    tables: list[dict[str, object]] = [
        {
            "name": name,
            "since": known.versions.get(name),
            "version": int(table.version()),
            "digest": digest_table(table),
        }
        for name, table in present.items()
        if known.versions.get(name) != table.version()
    ]
    tables += [
        {"name": name, "since": known.versions[name], "version": None, "digest": None}
        for name in sorted(gone)
    ]
    if not tables:
        return False
    epoch = load_epoch(lake)
    record = {
        "kind": LAKE_REFRESH,
        "store": epoch.store if epoch else "",
        "epoch": epoch.epoch if epoch else "",
        "from": known.sequence,
        "to": progress.sequence,
        "position": cursor.position,
        "decision": cursor.decision,
        "rules": digest_json(progress.digests),
        "tables": tables,
        "previous": known.newest,
    }
    versions = {
        name: version
        for name, version in known.versions.items()
        if name not in gone and name not in present
    }
    versions |= {name: int(table.version()) for name, table in present.items()}
    unsent = known.unsent
    if len(unsent) >= _MOST_UNSENT:
        record = _merge_records(unsent[-1], record)
        unsent = unsent[:-1]
    _save(lake, Refreshes(versions, progress.sequence, lineage_id(record), (*unsent, record)))
    return True


def send_refreshes(lake: Lake, send: SendRecords) -> int:
    """Tell the gateway what it may not have on record; return how many records that were.

    A kill before the last line lets them be told again, which adds nothing.
    """
    known = load_refreshes(lake)
    for start in range(0, len(known.unsent), _MOST_RECORDS):
        part = known.unsent[start : start + _MOST_RECORDS]
        send([canonical_json(record).decode() for record in part])
    if known.unsent:
        _save(lake, replace(known, unsent=()))
    return len(known.unsent)


def _merge_records(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return one record of two refreshes: each table from before the first to after the second."""
    tables = {table["name"]: table for table in first["tables"]}
    for table in then["tables"]:
        since = tables.get(table["name"], table)["since"]
        tables[table["name"]] = {**table, "since": since}
    return {
        **then,
        "from": first["from"],
        "previous": first["previous"],
        "tables": [tables[name] for name in sorted(tables)],
    }


def _save(lake: Lake, refreshes: Refreshes) -> None:
    replace_file(lake.lineage_file, orjson.dumps(asdict(refreshes)))
