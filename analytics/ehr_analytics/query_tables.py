"""Tables of a query in DuckDB: approved columns alone, without rows that are withheld.

Keys are under the project's pseudonyms before a query can read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from ehr_analytics.key_hashing import PSEUDONYM_PATTERN, rekey_column, render_note_tags
from ehr_analytics.project_dates import ProjectDates
from ehr_analytics.query_job import OWN_VIEW, OwnView, QueryJob, SourceView
from ehr_analytics.rare_codes import RareCodes, find_rare_codes
from ehr_etl.lake import GOLD_KEY
from ehr_fhir.errors import Unavailable

__all__ = [
    "count_codes",
    "find_withheld_keys",
    "list_subjects",
    "load_notes",
    "load_own_view",
    "load_view",
]

_NOBODY = ""  # no id: a list in a query needs an item to have a type
_RECORD_COLUMNS = ("id", "type", "patient", "episode", "resource")
_SOURCE = "_source_rows"  # no view's name begins with an underscore
# The patients that a record refers to; one of several patients names none as its own.
_REFERENCED_PATIENTS = f"regexp_extract_all(resource, 'Patient/({PSEUDONYM_PATTERN})', 1)"


def list_subjects(
    connection: duckdb.DuckDBPyConnection, job: QueryJob, withheld: tuple[str, ...]
) -> list[str]:
    """Return the pseudonyms of the records that the views are made of, and of their patients."""
    connection.execute("CREATE TABLE _key(id VARCHAR)")
    for view in job.views:
        connection.register(_SOURCE, _read_with_key(view, (GOLD_KEY,)))
        connection.execute(
            f"INSERT INTO _key SELECT {GOLD_KEY} FROM {_SOURCE}"  # noqa: S608
            f" WHERE {GOLD_KEY} NOT IN (SELECT unnest($withheld))",
            {"withheld": list(withheld or (_NOBODY,))},
        )
        connection.unregister(_SOURCE)
    if job.own_view is not None:
        _add_keys_of_types(connection, job, job.own_view, withheld)
    connection.register(_SOURCE, _read_table(DeltaTable(job.deid), ("id", "patient", "resource")))
    found = connection.execute(
        "SELECT id FROM _key UNION SELECT unnest(CASE WHEN patient IS NULL"  # noqa: S608
        f" THEN {_REFERENCED_PATIENTS} ELSE [patient] END) FROM {_SOURCE}"
        " WHERE id IN (SELECT id FROM _key) ORDER BY 1"
    ).fetchall()
    connection.unregister(_SOURCE)
    return [subject for (subject,) in found if subject]


def _add_keys_of_types(
    connection: duckdb.DuckDBPyConnection,
    job: QueryJob,
    own_view: OwnView,
    withheld: tuple[str, ...],
) -> None:
    """Add the keys of all records that a view of a person's own may have read."""
    from ehr_etl.sql_on_fhir import parse_view

    where = _type_condition(parse_view(own_view.definition).resources)
    connection.register(_SOURCE, _read_table(DeltaTable(job.deid), ("id", "type"), where))
    connection.execute(
        f"INSERT INTO _key SELECT id FROM {_SOURCE}"  # noqa: S608
        " WHERE id NOT IN (SELECT unnest($withheld))",
        {"withheld": list(withheld or (_NOBODY,))},
    )
    connection.unregister(_SOURCE)


def _type_condition(types: Sequence[str]) -> str:
    # The types are R4's names, which the view's definition was checked for.
    names = ", ".join(f"'{name}'" for name in types)
    return f"type IN ({names})"


def find_withheld_keys(connection: duckdb.DuckDBPyConnection, job: QueryJob) -> tuple[str, ...]:
    """Return the keys of all records of deid that are withheld."""
    connection.register(_SOURCE, _read_table(DeltaTable(job.deid), ("id", "patient", "resource")))
    found = connection.execute(
        f"SELECT id FROM {_SOURCE} WHERE patient IN (SELECT unnest($patients))"  # noqa: S608
        " OR id IN (SELECT unnest($records))"
        f" OR (patient IS NULL AND list_has_any({_REFERENCED_PATIENTS}, $patients))",
        {
            "patients": list(job.withheld.patients or (_NOBODY,)),
            "records": list(job.withheld.records or (_NOBODY,)),
        },
    ).fetchall()
    connection.unregister(_SOURCE)
    return (*(key for (key,) in found), *job.withheld.records)


def count_codes(
    connection: duckdb.DuckDBPyConnection, job: QueryJob, withheld: tuple[str, ...]
) -> RareCodes:
    """Return what is shown of codes that few persons have, those that are withheld left out."""
    if not job.rare_code_persons:
        return RareCodes()
    try:
        deid = DeltaTable(job.deid)
    except TableNotFoundError as error:
        raise Unavailable("The lake is empty: run `ehr lake run` first.") from error
    connection.register(_SOURCE, _read_table(deid, ("id", "patient", "resource")))
    rare_codes = find_rare_codes(
        connection,
        _SOURCE,
        withheld,
        job.rare_code_persons,
        Path(job.vocabulary) if job.vocabulary else None,
    )
    connection.unregister(_SOURCE)
    return rare_codes


def load_view(
    connection: duckdb.DuckDBPyConnection,
    job: QueryJob,
    view: SourceView,
    withheld: tuple[str, ...],
    rare_codes: RareCodes,
) -> None:
    """Copy the approved columns of a view into memory: keys and dates as the project has them."""
    columns = (*view.columns, *job.dates.columns)
    rows = _read_with_key(view, (*columns, GOLD_KEY) if withheld else columns)
    texts = {*view.columns} - {*view.rekeyed} - {*view.dated}
    connection.register(_SOURCE, rare_codes.show_rows(rows, texts))
    _create_rekeyed_table(connection, view, job.key, job.dates, withheld)
    connection.unregister(_SOURCE)


def load_notes(
    connection: duckdb.DuckDBPyConnection,
    job: QueryJob,
    view: SourceView,
    withheld: tuple[str, ...],
) -> None:
    """Copy the scrubbed notes of records that are in deid now, with tags of the project.

    Notes are made after deid: whoever has left deid meanwhile is out, whatever the table says.
    """
    connection.register("_deid_rows", _read_table(DeltaTable(job.deid), ("id",)))
    connection.execute("CREATE TABLE _deid_ids AS SELECT id FROM _deid_rows")
    connection.unregister("_deid_rows")
    connection.register(_SOURCE, _read_with_key(view, (*view.columns, GOLD_KEY)))
    expressions = {
        name: render_note_tags(name, job.dates, "patient_id")
        if name == "note"
        else rekey_column(name, "VARCHAR", name in view.rekeyed, None, is_date=False)
        for name in view.columns
    }
    selected = ", ".join(f'{sql} AS "{name}"' for name, sql in expressions.items())
    shown = (
        f"SELECT {selected} FROM {_SOURCE}"  # noqa: S608 - names of ours
        f" WHERE {GOLD_KEY} IN (SELECT id FROM _deid_ids)"
        f" AND {GOLD_KEY} NOT IN (SELECT unnest($withheld))"
        " AND record_id NOT IN (SELECT unnest($withheld))"
        " AND patient_id NOT IN (SELECT unnest($withheld))"
    )
    parameters = {"key": job.key, "withheld": list(withheld or (_NOBODY,))}
    connection.execute(_render_shuffled_table(view.name, shown), parameters)
    connection.execute("DROP TABLE _deid_ids")
    connection.unregister(_SOURCE)


def _create_rekeyed_table(
    connection: duckdb.DuckDBPyConnection,
    view: SourceView,
    key: str,
    dates: ProjectDates | None,
    withheld: tuple[str, ...] = (),
) -> None:
    """Copy the rows that are registered as the source into the table of a view."""
    described = connection.execute(f"DESCRIBE {_SOURCE}").fetchall()
    selected = ", ".join(
        f'{rekey_column(name, kind, name in view.rekeyed, dates, name in view.dated)} AS "{name}"'
        for name, kind, *_ in described
        if name in view.columns
    )
    shown = f"SELECT {selected} FROM {_SOURCE}"  # noqa: S608 - names by the register's pattern
    # The key is a parameter: a view's text, which a query could read, would hold it.
    parameters: dict[str, object] = {"key": key}
    if withheld:
        shown += f" WHERE {GOLD_KEY} NOT IN (SELECT unnest($withheld))"
        parameters["withheld"] = list(withheld)
    connection.execute(_render_shuffled_table(view.name, shown), parameters)


def _render_shuffled_table(name: str, rows: str) -> str:
    """Return the SQL of a table in an order of the project's own.

    In the lake's order the rows of two projects would join by their numbers.
    """
    order = "sha256($key || CAST(shown_row AS VARCHAR))"
    return f'CREATE TABLE "{name}" AS FROM ({rows}) AS shown_row ORDER BY {order}'


def load_own_view(
    connection: duckdb.DuckDBPyConnection,
    job: QueryJob,
    own_view: OwnView,
    withheld: tuple[str, ...],
    rare_codes: RareCodes,
) -> None:
    """Run a view of a person's own over deid; its rows are the table `OWN_VIEW`."""
    # Only here: compiling views takes a third of a second to import.
    from ehr_analytics.rekeying import select_rekeyed_columns
    from ehr_etl.sql_on_fhir import compile_parts, parse_view
    from ehr_etl.sql_on_fhir.duckdb_run import run_view_on

    # Within the limits of this process: a short path may compile to very much, since each use of a
    # value repeats what it is made of.
    view = parse_view(own_view.definition)
    rekeyed = select_rekeyed_columns(view.name, compile_parts(view)[0].column_names, view)
    connection.execute(
        "CREATE TABLE _withheld AS SELECT unnest($withheld) AS id",
        {"withheld": list(withheld or (_NOBODY,))},
    )

    def open_records() -> duckdb.DuckDBPyRelation:
        records = _read_table(
            DeltaTable(job.deid), _RECORD_COLUMNS, _type_condition(view.resources)
        )
        connection.register(_SOURCE, _show_records(records, job.dates, rare_codes))
        return connection.sql(
            f"SELECT type, resource FROM {_SOURCE}"  # noqa: S608
            " WHERE id NOT IN (SELECT id FROM _withheld)"
        )

    rows = run_view_on(connection, view, open_records, job.limits, most=own_view.most)
    connection.register(_SOURCE, rows)
    source = SourceView(OWN_VIEW, "", 0, tuple(rows.column_names), tuple(rekeyed))
    # Its dates are in the form already, since its records were.
    _create_rekeyed_table(connection, source, job.key, None)
    connection.unregister(_SOURCE)


def _show_records(records: Any, dates: ProjectDates, rare_codes: RareCodes) -> pa.RecordBatchReader:
    """Return records of deid with their dates in the form of a project, without rare codes."""
    schema = pa.schema([(name, pa.string()) for name in _RECORD_COLUMNS])

    def show() -> Iterator[pa.RecordBatch]:
        for batch in records:
            rows = pa.record_batch(batch).to_pylist()
            for row in rows:
                shown = rare_codes.show_record(row["resource"])
                row["resource"] = dates.show_record(shown, row["patient"], row["episode"])
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, show())


def _read_with_key(view: SourceView, columns: tuple[str, ...]) -> Any:  # Any: an Arrow stream
    table = DeltaTable(view.path, version=view.version)
    missing = set(columns) - set(view.columns) - {field.name for field in table.schema().fields}
    if missing:
        raise Unavailable(f"The view {view.name} is not up to date: run `ehr lake run`.")
    return _read_table(table, columns)


def _read_table(
    table: DeltaTable, columns: tuple[str, ...], where: str = "true"
) -> Any:  # Any: an Arrow stream
    names = ", ".join(f'"{column}"' for column in columns)
    rows: Any = QueryBuilder().register("source", table)  # Any: delta-rs ships no types
    return rows.execute(f"SELECT {names} FROM source WHERE {where}")  # noqa: S608 - names by patterns
