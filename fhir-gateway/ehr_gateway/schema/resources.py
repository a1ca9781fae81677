"""The tables of the store, once, as SQLAlchemy Core.

The rule tables come from ehr_privacy's registry.

One row of `resource` is one version; `pk` rises with every commit, so it is the feed's position
too. Index tables hold the current version's rows only, and are clustered by what is searched.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Float, Index, LargeBinary, MetaData, Table, text
from sqlalchemy.types import TypeEngine

from ehr_gateway.database.tables import INTEGER, TEXT
from ehr_privacy.consent import TABLES

__all__ = ["INDEX_COLUMNS", "METADATA"]

METADATA = MetaData()

_CURRENT = text("current = 1")

RESOURCE = Table(
    "resource",
    METADATA,
    Column("pk", INTEGER, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("version", INTEGER, nullable=False),
    Column("current", INTEGER, nullable=False),
    Column("deleted", INTEGER, nullable=False),
    Column("last_updated", INTEGER, nullable=False),
    Column("method", TEXT, nullable=False),
    Column("author", TEXT),
    Column("domain", TEXT),
    Column("episode", TEXT),
    Column("clinical_date", INTEGER),
    Column("directory", INTEGER, nullable=False),
    Column("inner_domains", TEXT),
    Column("author_people", TEXT),
    Column("body", LargeBinary, nullable=False),
    Index("resource_version", "type", "id", "version", unique=True),
    Index(
        "resource_current", "type", "id", unique=True,
        sqlite_where=_CURRENT, postgresql_where=_CURRENT,
    ),
    Index(
        "resource_recent", "type", "last_updated", "id",
        sqlite_where=_CURRENT, postgresql_where=_CURRENT,
    ),
    # For the history of a type. The condition keeps it out of every other query's plan.
    Index(
        "resource_history", "type", "pk",
        sqlite_where=text("version > 0"), postgresql_where=text("version > 0"),
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# The columns of each index table, in the order in which `ehr_fhir.index` gives their values. `slot`
# is the number of the repeating element that a part of a composite stands in, else 0.
INDEX_COLUMNS: dict[str, tuple[str, ...]] = {
    "date": ("low", "high", "slot"),
    "number": ("low", "high", "slot"),
    "position": ("x", "y", "z", "slot"),
    "quantity": ("low", "high", "system", "code", "unit", "slot"),
    "reference": ("target_type", "target_id", "slot"),
    "string": ("normal", "exact", "slot"),
    "token": ("system", "code", "slot"),
    "uri": ("value", "slot"),
}
_INDEX_KEYS = {
    "date": ("param", "low", "high", "pk", "slot"),
    "number": ("param", "low", "high", "pk", "slot"),
    "position": ("param", "x", "y", "z", "pk", "slot"),
    "quantity": ("param", "low", "high", "system", "code", "unit", "pk", "slot"),
    "reference": ("param", "target_id", "target_type", "pk", "slot"),
    "string": ("param", "normal", "exact", "pk", "slot"),
    "token": ("param", "code", "system", "pk", "slot"),
    "uri": ("param", "value", "pk", "slot"),
}


def _column_type(kind: str, column: str) -> TypeEngine[Any]:
    if column in ("param", "pk", "slot"):
        return INTEGER
    if column in ("low", "high", "x", "y", "z"):
        return INTEGER if kind == "date" else Float(53)
    return TEXT


for _kind, _key in _INDEX_KEYS.items():
    Table(
        f"idx_{_kind}",
        METADATA,
        *(Column(name, _column_type(_kind, name), primary_key=True) for name in _key),
        # From a resource to its values, for `_has` and `_sort`; it grows at its end.
        Index(f"idx_{_kind}_resource", "pk", "param"),
        sqlite_with_rowid=False,
    )

for _name, _value in (("record_patient", "patient"), ("record_label", "label")):
    Table(
        _name,
        METADATA,
        Column("pk", INTEGER, primary_key=True, autoincrement=False),
        Column(_value, TEXT, primary_key=True),
        Index(f"{_name}_{_value}", _value, "pk"),
        sqlite_with_rowid=False,
    )

Table(
    "search_parameter",
    METADATA,
    Column("param", INTEGER, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("code", TEXT, nullable=False),
)
# Parameters that the installation has added, and how far the resources of before are indexed.
Table(
    "added_parameter",
    METADATA,
    Column("param", INTEGER, primary_key=True, autoincrement=False),
    Column("source", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("code", TEXT, nullable=False),
    Column("definition", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("position", INTEGER, nullable=False),
    Column("done", INTEGER, nullable=False),
    Column("total", INTEGER, nullable=False),
)
Table(
    "setting",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
# What a load has put in, so that the same file loaded again changes nothing.
Table(
    "load_ledger",
    METADATA,
    Column("type", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

for _name, _columns in TABLES.items():
    _table = Table(
        _name,
        METADATA,
        *(
            Column(column.name, INTEGER if column.type == "INTEGER" else TEXT,
                   nullable=column.nullable)
            for column in _columns
        ),
    )  # fmt: skip
    Index(f"{_name}_consent", _table.c.consent)
    if "other" in _table.c:
        Index(f"{_name}_other", _table.c.other)
    if _name == "consent_restriction":
        Index(f"{_name}_patient", _table.c.patient)
    elif "patient" in _table.c:
        # All that is asked of these tables stands in the index: asked for each record, twice quick.
        _asked = [one for one in _table.c if one.name not in ("patient", "consent")]
        Index(f"{_name}_patient", _table.c.patient, *_asked)
    elif "organization" in _table.c:
        Index(f"{_name}_organization", _table.c.organization)
