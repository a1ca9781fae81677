"""Views over the lake without a JVM: read by delta-rs, run on DuckDB, written by delta-rs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
from deltalake import QueryBuilder, write_deltalake

from ehr_etl.atomic_files import replace_file
from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import GOLD_BUCKET, GOLD_CARRIED, Lake, gold_table_name
from ehr_etl.sql_on_fhir import ViewDefinition, parse_view
from ehr_etl.sql_on_fhir.duckdb_run import run_view
from ehr_etl.tables.bucketed import create_table
from ehr_fhir.errors import Conflict, NotFound


def write_view_table(lake: Lake, view: ViewDefinition) -> int:
    """Write a view over deid to its gold table in one commit; return its number of rows.

    The table has the columns by which the lake takes out whoever leaves. The caller holds the
    writer's lock: whoever leaves deid in between would come back with the rows.
    """
    require_own_name(view)
    rows = run_view(view, lambda: open_records(lake, view.resources), carried=GOLD_CARRIED)
    name = gold_table_name(view.name)
    if not lake.has_table(name):
        create_table(lake, name, rows.schema, GOLD_BUCKET)
    overwrite_table(lake, name, rows)
    return int(rows.num_rows)


def require_own_name(view: ViewDefinition) -> None:
    """Raise Conflict where a view has the name of one of the lake's own tables."""
    if view.name.lower() in list_view_names():
        raise Conflict(f"{view.name} is a table of the lake's own: give your view another name.")


def overwrite_table(lake: Lake, name: str, rows: pa.Table) -> None:
    """Write rows as the whole of a table, with their schema, in one commit."""
    if not lake.tables_url:
        lake.table_path(name).parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        lake.table_url(name),
        rows,
        mode="overwrite",
        schema_mode="overwrite",
        storage_options=dict(lake.storage_options),
    )


def save_definition(lake: Lake, content: Mapping[str, object]) -> ViewDefinition:
    """Keep the definition of a user's view beside its table-to-be, and return it."""
    view = parse_view(content)
    lake.views_folder.mkdir(parents=True, exist_ok=True)
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    replace_file(lake.views_folder / f"{view.name}.json", text)
    return view


def run_identified_view(lake: Lake, view: ViewDefinition) -> pa.Table:
    """Return the table of a view over silver, for operations inside the trusted zone (scoring)."""
    return run_view(view, lambda: open_records(lake, view.resources, "silver"))


def run_research_view(lake: Lake, view: ViewDefinition) -> pa.Table:
    """Return the table of a view over deid, without writing it."""
    return run_view(view, lambda: open_records(lake, view.resources))


def open_records(
    lake: Lake, types: Sequence[str], source: str = "deid"
) -> Any:  # Any: an Arrow stream
    """Return the records of some types as a stream: de-identified, or of silver as they are."""
    if not lake.has_table(source):
        raise NotFound("The lake is empty: run `ehr lake run` first.")
    # By delta-rs's own reader: pyarrow's data sets import pandas, half a second of every command.
    reader = QueryBuilder().register("records", lake.open_table(source))
    columns = "type, resource"
    where = " AND NOT deleted"
    if source == "deid":
        columns, where = ", ".join(("type", "resource", *GOLD_CARRIED)), ""
    # The types are R4's names, which the view's definition was checked for.
    listed = ", ".join(f"'{name}'" for name in types)
    return reader.execute(f"SELECT {columns} FROM records WHERE type IN ({listed}){where}")  # noqa: S608
