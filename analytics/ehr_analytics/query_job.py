"""One query over a project's views, as a job for a process of its own.

DuckDB counts rows that it holds against its limit of memory, but not the texts that a function
makes of them, and it is interrupted between two batches only: `lpad(x, 1000000)` of 2,000 rows used
2 GB under a limit of 64 MB and 88 s under one of 2 s. So the process has a limit by the operating
system, and whoever started it ends it when its time is over.

In: a job as JSON on standard input. Out: a head as one line of JSON, then the table in its format,
or into the file that the job names.
"""

from __future__ import annotations

import errno
import json
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from ehr_analytics.table_formats import encode_table, write_table
from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_etl.lake import GOLD_KEY
from ehr_fhir.errors import EhrError, TooCostly, Unavailable

__all__ = [
    "OWN_VIEW",
    "PSEUDONYM_PATTERN",
    "OwnView",
    "QueryJob",
    "SourceView",
    "Withheld",
    "run_job",
]

# 32 hexadecimal digits, as `ehr_privacy.deid.pseudonyms` makes them; read alike by RE2 and Java.
PSEUDONYM_PATTERN = "(?i)[0-9a-f]{32}"
_NOBODY = ""  # no id: a list in a query needs an item to have a type
# The table of a view of a person's own, whatever its definition calls it.
OWN_VIEW = "_own_view"
_SOURCE = "_source_rows"  # no view's name begins with an underscore
# Chosen: Arrow, Delta and the answer in its format, beside what DuckDB may use.
_MEMORY_BESIDE_MB = 1024
# Chosen: an interrupted query has these to end in order.
_SECONDS_TO_END = 1.0


@dataclass(frozen=True)
class SourceView:
    """A table to load: the columns a query sees, and those whose every value is hashed."""

    name: str
    path: str
    version: int
    columns: tuple[str, ...]
    rekeyed: tuple[str, ...]


@dataclass(frozen=True)
class OwnView:
    """A ViewDefinition, and its most rows."""

    definition: Mapping[str, object]
    most: int | None = None


@dataclass(frozen=True)
class Withheld:
    """Pseudonyms in the lake of patients and of records that no query may read."""

    patients: tuple[str, ...] = ()
    records: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Say whether anything is withheld."""
        return bool(self.patients or self.records)


@dataclass(frozen=True)
class QueryJob:
    """A query, what it reads, the key of the project, and how it is answered."""

    views: tuple[SourceView, ...]
    # Where the records are that say whose a row is.
    deid: str
    withheld: Withheld
    key: str
    sql: str
    parameters: Mapping[str, str | int | float | bool]
    media: str
    limits: QueryLimits
    # The file that the table goes to, and its most megabytes; to standard output without one.
    output: str = ""
    output_mb: int = 0
    # Whether the head names whom the views are about: patients and records by their pseudonyms.
    names_subjects: bool = False
    # A view of a person's own over deid, and what is hashed; the query's tables are none then.
    own_view: OwnView | None = None

    def to_json(self) -> bytes:
        """Return the job as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> QueryJob:
        """Read a job."""
        content = json.loads(text)
        views = tuple(
            SourceView(**{**view, "columns": tuple(view["columns"])}) for view in content["views"]
        )
        withheld = Withheld(**{name: tuple(ids) for name, ids in content["withheld"].items()})
        limits = QueryLimits(**content["limits"])
        own_view = content["own_view"]
        if own_view is not None:
            own_view = OwnView(**own_view)
        read = {"views": views, "withheld": withheld, "limits": limits, "own_view": own_view}
        return cls(**{**content, **read})


def run_job(job: QueryJob) -> tuple[pa.Table, bytes, str]:
    """Return the rows, and the table in its format with the media type."""
    table, _ = _run_query(job)
    return table, *encode_table(table, job.media)


def _run_query(job: QueryJob) -> tuple[pa.Table, list[str]]:
    """Return the rows of a query, and whom the views are about where the job asks for them."""
    with open_duckdb(job.limits) as connection:
        withheld = _find_withheld_keys(connection, job) if job.withheld else ()
        for view in job.views:
            _load_view(connection, view, job.key, withheld)
        if job.limits.seconds:
            # Ends the process, in whatever it is just then.
            signal.setitimer(signal.ITIMER_REAL, job.limits.seconds + _SECONDS_TO_END)
        if job.own_view is not None:
            _load_own_view(connection, job, job.own_view, withheld)
        table = fetch(connection, job.sql, job.limits, dict(job.parameters) or None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        subjects = _list_subjects(connection, job, withheld) if job.names_subjects else []
    return table, subjects


def _list_subjects(
    connection: duckdb.DuckDBPyConnection, job: QueryJob, withheld: tuple[str, ...]
) -> list[str]:
    """Return the pseudonyms of the records that the views are made of, and of their patients."""
    connection.execute("CREATE TABLE _key(id VARCHAR)")
    for view in job.views:
        connection.register(_SOURCE, _open_with_key(view, (GOLD_KEY,)))
        connection.execute(
            f"INSERT INTO _key SELECT {GOLD_KEY} FROM {_SOURCE}"  # noqa: S608
            f" WHERE {GOLD_KEY} NOT IN (SELECT unnest($withheld))",
            {"withheld": list(withheld or (_NOBODY,))},
        )
        connection.unregister(_SOURCE)
    connection.register(_SOURCE, _read_table(DeltaTable(job.deid), ("id", "patient", "resource")))
    found = connection.execute(
        "SELECT id FROM _key UNION SELECT unnest(CASE WHEN patient IS NULL"  # noqa: S608
        f" THEN regexp_extract_all(resource, 'Patient/({PSEUDONYM_PATTERN})', 1)"
        f" ELSE [patient] END) FROM {_SOURCE} WHERE id IN (SELECT id FROM _key) ORDER BY 1"
    ).fetchall()
    connection.unregister(_SOURCE)
    return [subject for (subject,) in found if subject]


def _find_withheld_keys(connection: duckdb.DuckDBPyConnection, job: QueryJob) -> tuple[str, ...]:
    """Return the keys of all records of deid that are withheld."""
    connection.register(_SOURCE, _read_table(DeltaTable(job.deid), ("id", "patient", "resource")))
    # A record of several patients names none as its own.
    found = connection.execute(
        f"SELECT id FROM {_SOURCE} WHERE patient IN (SELECT unnest($patients))"  # noqa: S608
        " OR id IN (SELECT unnest($records)) OR (patient IS NULL AND list_has_any("
        f"regexp_extract_all(resource, 'Patient/({PSEUDONYM_PATTERN})', 1), $patients))",
        {
            "patients": list(job.withheld.patients or (_NOBODY,)),
            "records": list(job.withheld.records or (_NOBODY,)),
        },
    ).fetchall()
    connection.unregister(_SOURCE)
    return (*(key for (key,) in found), *job.withheld.records)


def _load_view(
    connection: duckdb.DuckDBPyConnection,
    view: SourceView,
    key: str,
    withheld: tuple[str, ...] = (),
) -> None:
    """Copy the approved columns of a view into memory, keys under the project's pseudonyms."""
    if withheld:
        rows = _open_with_key(view, (*view.columns, GOLD_KEY))
    else:
        rows = _read_table(DeltaTable(view.path, version=view.version), view.columns)
    connection.register(_SOURCE, rows)
    _create_rekeyed_table(connection, view, key, withheld)
    connection.unregister(_SOURCE)


def _create_rekeyed_table(
    connection: duckdb.DuckDBPyConnection,
    view: SourceView,
    key: str,
    withheld: tuple[str, ...] = (),
) -> None:
    """Copy the rows that are registered as the source into the table of a view."""
    described = connection.execute(f"DESCRIBE {_SOURCE}").fetchall()
    selected = ", ".join(
        f'{_rekey_column(name, kind, name in view.rekeyed)} AS "{name}"'
        for name, kind, *_ in described
        if name in view.columns
    )
    # The key is a parameter: a view's text, which a query could read, would hold it.
    sql = f'CREATE TABLE "{view.name}" AS SELECT {selected} FROM {_SOURCE}'  # noqa: S608
    parameters: dict[str, object] = {"key": key} if "$key" in sql else {}
    if withheld:
        sql += f" WHERE {GOLD_KEY} NOT IN (SELECT unnest($withheld))"
        parameters["withheld"] = list(withheld)
    connection.execute(sql, parameters or None)


def _load_own_view(
    connection: duckdb.DuckDBPyConnection,
    job: QueryJob,
    own_view: OwnView,
    withheld: tuple[str, ...],
) -> None:
    """Run a view of a person's own over deid; its rows are the table `OWN_VIEW`."""
    # Only here: compiling views takes a third of a second to import.
    from ehr_analytics.rekeying import select_rekeyed_columns
    from ehr_etl.sql_on_fhir import compile_view, parse_view
    from ehr_etl.sql_on_fhir.duckdb_run import run_view_on

    # Within the limits of this process: a short path may compile to very much, since each use of a
    # value repeats what it is made of.
    view = parse_view(own_view.definition)
    rekeyed = select_rekeyed_columns(view.name, compile_view(view).column_names, view)
    connection.execute(
        "CREATE TABLE _withheld AS SELECT unnest($withheld) AS id",
        {"withheld": list(withheld or (_NOBODY,))},
    )

    def open_records() -> duckdb.DuckDBPyRelation:
        # The type is one of R4's names, which the definition was checked for.
        rows = QueryBuilder().register("source", DeltaTable(job.deid))
        stream: Any = rows.execute(  # Any: delta-rs ships no types
            f"SELECT id, resource, type FROM source WHERE type = '{view.resource}'"  # noqa: S608
        )
        connection.register(_SOURCE, stream)
        return connection.sql(
            f"SELECT type, resource FROM {_SOURCE}"  # noqa: S608
            " WHERE id NOT IN (SELECT id FROM _withheld)"
        )

    rows = run_view_on(connection, view, open_records, job.limits, most=own_view.most)
    connection.register(_SOURCE, rows)
    source = SourceView(OWN_VIEW, "", 0, tuple(rows.column_names), tuple(rekeyed))
    _create_rekeyed_table(connection, source, job.key)
    connection.unregister(_SOURCE)


def _open_with_key(view: SourceView, columns: tuple[str, ...]) -> Any:  # Any: an Arrow stream
    table = DeltaTable(view.path, version=view.version)
    if GOLD_KEY not in {field.name for field in table.schema().fields}:
        raise Unavailable(f"The view {view.name} is not up to date: run `ehr lake run`.")
    return _read_table(table, columns)


def _read_table(table: DeltaTable, columns: tuple[str, ...]) -> Any:  # Any: an Arrow stream
    names = ", ".join(f'"{column}"' for column in columns)
    rows: Any = QueryBuilder().register("source", table)  # Any: delta-rs ships no types
    return rows.execute(f"SELECT {names} FROM source")  # noqa: S608 - names by patterns


def _rekey_column(name: str, kind: str, rekeyed: bool) -> str:
    column = f'"{name}"'
    item_kind = kind.removesuffix("[]")
    is_simple = "(" not in item_kind.removeprefix("DECIMAL(") and "[" not in item_kind
    if not is_simple:
        # A value of many parts is none of a view's: hashed whole, whatever is in it.
        return _hashed(column)
    if not rekeyed and item_kind != "VARCHAR":
        return column
    if kind.endswith("[]"):
        return f"list_transform({column}, lambda item_: {_rekeyed('item_', rekeyed)})"
    return _rekeyed(column, rekeyed)


def _rekeyed(value: str, rekeyed: bool) -> str:
    if rekeyed:
        return _hashed(value)
    pattern = f"regexp_matches({value}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hashed(value)} ELSE {value} END"


def _hashed(value: str) -> str:
    # `||` of nothing is nothing; concat() would give all unknown values one pseudonym.
    return f"sha256($key || CAST({value} AS VARCHAR))"


def _limit_memory(limits: QueryLimits, output_mb: int) -> None:
    used = _read_data_size()
    most = used + (limits.memory_mb + _MEMORY_BESIDE_MB) * 2**20
    # Memory that is written to, not addresses: DuckDB and Arrow reserve far more of these.
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    # No file is written but the job's own, within its size, so that none fills a disk; and no core
    # is dumped, which would hold rows.
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_mb * 2**20, output_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_data_size() -> int:
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    sizes = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    return int(next(sizes, "0")) * 1024


def _write_output(job: QueryJob) -> dict[str, object]:
    table, subjects = _run_query(job)
    try:
        with Path(job.output).open("wb") as sink:
            media_type = write_table(table, job.media, sink)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise TooCostly(f"The file has more than {job.output_mb:,} MB: ask for less.") from None
        raise Unavailable("The file could not be written: the disk may be full.") from None
    return {"rows": table.num_rows, "media_type": media_type, "subjects": subjects}


def main() -> None:
    """Run the job of standard input; tell an error of ours by its class and text alone."""
    job = QueryJob.from_json(sys.stdin.buffer.read())
    _limit_memory(job.limits, job.output_mb)
    content, head = b"", dict[str, object]()
    try:
        if job.output:
            head = _write_output(job)
        else:
            table, content, media_type = run_job(job)
            head = {"rows": table.num_rows, "media_type": media_type}
    except EhrError as error:
        head = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        head = {"error": TooCostly.__name__, "message": ""}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
