"""Dummy data of the shape of a project's views, made from their schemas alone.

For writing code at home: the same tables, columns and types, and keys that join. No row of the lake
is read, so nothing in it can be true of anybody.
"""

from __future__ import annotations

import hashlib
import io
import random
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from ehr_analytics.gold_views import GoldView, open_gold_views
from ehr_analytics.project import Project
from ehr_analytics.register import Register

__all__ = ["write_dummy_data", "zip_dummy_data"]

# Chosen: visits per person, so that joins of one to many are met at home.
_ROWS_PER_PERSON = 3
_FIRST_DAY = date(2015, 1, 1)


def write_dummy_data(
    register: Register, project: Project, folder: Path, *, people: int = 200, seed: int = 1
) -> list[Path]:
    """Write a Parquet file per view of a project; return the files."""
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for view in open_gold_views(register.data, project.columns_by_view()):
        path = folder / f"{view.name}.parquet"
        pyarrow.parquet.write_table(_make_table(view, people, seed), path)
        written.append(path)
    return written


def zip_dummy_data(
    register: Register, project: Project, *, people: int = 200, seed: int = 1
) -> bytes:
    """Return the files of `write_dummy_data` as one zip file."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(content, "w") as archive:
        for path in write_dummy_data(register, project, Path(scratch), people=people, seed=seed):
            archive.write(path, path.name)
    return content.getvalue()


def _make_table(view: GoldView, people: int, seed: int) -> pa.Table:
    # A seed of text: the same in every process.
    chance = random.Random(f"{seed} {view.name}")  # noqa: S311 - dummy data, no secret
    table = DeltaTable(str(view.path), version=view.version)
    types = {field.name: pa.field(field.to_arrow()).type for field in table.schema().fields}
    is_of_people = "id" in view.columns and not any("patient" in c for c in view.columns)
    rows = people if is_of_people else people * _ROWS_PER_PERSON
    persons = [hashlib.sha256(f"dummy {n}".encode()).hexdigest() for n in range(people)]
    columns = {}
    for name in view.columns:
        if name in view.rekeyed:
            own = persons if is_of_people and name == "id" else None
            columns[name] = pa.array(own or _make_keys(name, persons, rows, chance), pa.string())
        else:
            make = _maker(types[name], name, chance)
            columns[name] = pa.array([make() for _ in range(rows)], types[name])
    return pa.table(columns)


def _make_keys(name: str, persons: Sequence[str], rows: int, chance: random.Random) -> list[str]:
    if name == "id":
        return [hashlib.sha256(f"dummy row {n}".encode()).hexdigest() for n in range(rows)]
    return [chance.choice(persons) for _ in range(rows)]


def _maker(kind: pa.DataType, name: str, chance: random.Random) -> Callable[[], object]:
    """Return what makes one value of a type; one in ten is missing."""

    def day() -> date:
        return _FIRST_DAY + timedelta(days=chance.randrange(3650))

    def value() -> object:
        if pa.types.is_boolean(kind):
            return chance.random() < 0.5
        if pa.types.is_integer(kind):
            return chance.randrange(1930, 2010) if "year" in name else chance.randrange(100)
        if pa.types.is_floating(kind):
            return chance.gauss(50, 15)
        if pa.types.is_decimal(kind):
            return Decimal(chance.randrange(1000)).scaleb(-min(1, kind.scale))
        if pa.types.is_timestamp(kind):
            return datetime.combine(day(), datetime.min.time(), UTC if kind.tz else None)
        if pa.types.is_date(kind):
            return day()
        if pa.types.is_list(kind):
            return [_maker(kind.value_type, name, chance)() for _ in range(chance.randrange(3))]
        if pa.types.is_struct(kind):
            return {field.name: _maker(field.type, field.name, chance)() for field in kind}
        # Text: a schema does not say of what, so dates are made where the name says so.
        if any(word in name for word in ("start", "end", "date", "time", "onset", "issued")):
            return day().isoformat()
        return f"{name}-{chance.randrange(8)}"

    return lambda: None if chance.random() < 0.1 else value()
