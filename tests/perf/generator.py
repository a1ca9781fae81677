"""A store of any size in a minute or two: `python -m tests.perf.generator FOLDER RESOURCES`.

Loads the bench's 16 patients as `ehr load` does, then copies their rows inside the database, under
ids of their own, without judging them again. Every table with a `pk`, and every rule table, is
copied as it stands, so a new index table or column needs no change here. Dates are moved in the
index alone, so that they do not all fall together.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Table

from ehr_gateway.database import Connection
from ehr_gateway.schema import resources as schema
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from tests.perf.gateway.bundles import sample

__all__ = ["copies_of", "fill"]

# In the place of a copy's eight digits; no JSON holds it.
_MARK = "\x01"
_UUID = re.compile(r"[0-9a-f]{8}(?=(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_NOT_COPIED = {"search_parameter", "setting", "load_ledger"}
_RESOURCE = schema.METADATA.tables["resource"]
_DAY_MS = 86_400_000
# A prime, so that copies are spread over the years.
_DAYS, _STEP = 3000, 1103
# Copies in one transaction: about 100,000 resources.
_AT_ONCE = 10


def fill(store: Store, resources: int) -> int:
    """Fill an empty store with about so many resources; return how many it holds."""
    base = _load(store)
    copies = max(0, round((resources - base) / base))
    with store.write_transaction() as connection:
        row = connection.execute("SELECT MAX(pk), MAX(position) FROM resource").fetchone()
        last = max(row)
        tables = _bases(connection)
    for first in range(1, copies + 1, _AT_ONCE):
        with store.write_transaction() as connection:
            _copy(store, connection, tables, last, range(first, min(first + _AT_ONCE, copies + 1)))
    with store.write_transaction() as connection:
        for table in tables:
            connection.execute(f"DROP TABLE base_{table.name}")
        if store.dialect == "postgresql":
            connection.execute(
                "SELECT setval(pg_get_serial_sequence('resource', 'pk'), MAX(pk)) FROM resource"
            )
            # As its autovacuum would, a minute later.
            connection.execute("ANALYZE")
        count: int = connection.execute("SELECT COUNT(*) FROM resource").fetchone()[0]
    return count


def copies_of(lines: list[bytes], times: int) -> Iterator[list[bytes]]:
    """Yield the lines of resources, then copies of those of patients, under ids of their own."""
    yield lines
    marked = _marker()
    own = [changed for line in lines if (changed := marked(line)) != line]
    for number in range(1, times):
        yield [line.replace(_MARK.encode(), b"%08x" % number) for line in own]


def _load(store: Store) -> int:
    data = sample()
    lines = [orjson.dumps(entry["resource"]) for entry in orjson.loads(data.seed)["entry"]]
    lines += [orjson.dumps(one) for record in data.records for one in record]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "sample.ndjson")
        source.write_bytes(b"\n".join(lines))
        return load(store, [source]).accepted


def _marker() -> Callable[[Any], Any]:
    """Return a function that marks the ids and identifiers which each copy has of its own."""
    own, identifiers = set(), {}
    for record in sample().records:
        own |= {str(one["id"])[-36:] for one in record}
        for identifier in record[0]["identifier"]:
            identifiers[identifier["value"]] = identifier["value"] + _MARK

    def marked(value: Any) -> Any:
        if isinstance(value, bytes):
            return marked(value.decode()).encode()
        if not isinstance(value, str):
            return value
        if value in identifiers:
            return identifiers[value]
        text = _UUID.sub(
            lambda found: (
                _MARK if value[found.start() : found.start() + 36] in own else found.group()
            ),
            value,
        )
        if len(text) > 100:
            for old, new in identifiers.items():
                text = text.replace(old, new)
        return text

    return marked


def _bases(connection: Connection) -> list[Table]:
    """Set the rows that are a patient's aside, marked; return the tables that have such rows."""
    marked, own = _marker(), set[int]()
    found = []
    # First `resource`: its rows tell which are a patient's. The directory is there once.
    for table in sorted(schema.METADATA.tables.values(), key=lambda one: one is not _RESOURCE):
        if table.name in _NOT_COPIED:
            continue
        names = [column.name for column in table.columns]
        rows = connection.execute(f"SELECT {', '.join(names)} FROM {table.name}").fetchall()
        pairs = [(tuple(row), tuple(map(marked, row))) for row in rows]
        if table is _RESOURCE:
            own = {row[0] for row, changed in pairs if row != changed}
        if "pk" in names:
            at = names.index("pk")
            base = [changed for _, changed in pairs if changed[at] in own]
        else:
            base = [changed for row, changed in pairs if row != changed]
        if base:
            connection.execute(
                f"CREATE TABLE base_{table.name} AS"
                f" SELECT {', '.join(names)} FROM {table.name} WHERE 1 = 0"
            )
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO base_{table.name} VALUES ({marks})", base)
            found.append(table)
    return found


def _copy(
    store: Store, connection: Connection, tables: list[Table], last: int, numbers: range
) -> None:
    connection.execute("CREATE TABLE copy (n BIGINT, mark VARCHAR, days BIGINT)")
    connection.executemany(
        "INSERT INTO copy VALUES (?, ?, ?)",
        [(n, f"{n:08x}", n * _STEP % _DAYS - _DAYS // 2) for n in numbers],
    )
    for table in tables:
        names = [column.name for column in table.columns]
        values = [_value(store, table, name, last) for name in names]
        # In the order of the key, so that a page of the table is written once. (Of `resource`, the
        # order of the copies; sorting would carry the bodies along.)
        keys = [str(n + 1) for n, name in enumerate(names) if table.c[name].primary_key]
        order = f" ORDER BY {', '.join(keys)}" if keys and table is not _RESOURCE else ""
        connection.execute(
            f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)}"
            f" FROM copy CROSS JOIN base_{table.name} base{order}"
        )
    connection.execute("DROP TABLE copy")


def _value(store: Store, table: Table, name: str, last: int) -> str:
    kind = str(table.c[name].type)
    # Each is unique; those of a copy follow those of the one before.
    if name in ("pk", "position") or (table.name, name) == ("decision_change", "number"):
        return f"base.{name} + copy.n * {last}"
    if table.name == "idx_date" and name in ("low", "high"):
        return f"base.{name} + copy.days * {_DAY_MS}"
    if name == "body":
        if store.dialect == "postgresql":
            text = "replace(convert_from(base.body, 'UTF8'), chr(1), copy.mark)"
            return f"convert_to({text}, 'UTF8')"
        return "CAST(replace(CAST(base.body AS TEXT), char(1), copy.mark) AS BLOB)"
    if kind in ("VARCHAR", "TEXT"):
        mark = "chr(1)" if store.dialect == "postgresql" else "char(1)"
        return f"replace(base.{name}, {mark}, copy.mark)"
    return f"base.{name}"


def main() -> None:
    """Fill a store and say how long it took."""
    folder, resources = Path(sys.argv[1]), int(sys.argv[2])
    store = Store(folder / "ehr.db")
    start = time.monotonic()
    count = fill(store, resources)
    store.close()
    sys.stdout.write(f"{count:,} resources in {time.monotonic() - start:.1f} s\n")


if __name__ == "__main__":
    main()
