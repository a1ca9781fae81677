"""Process of one query over a project's tables, within limits of memory and time.

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
from pathlib import Path

import pyarrow as pa

from ehr_analytics.process_memory import read_data_size
from ehr_analytics.project_dates import forget_keys
from ehr_analytics.query_job import QueryJob
from ehr_analytics.query_tables import (
    count_codes,
    find_withheld_keys,
    list_subjects,
    load_notes,
    load_own_view,
    load_view,
)
from ehr_analytics.table_formats import encode_table, write_table
from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_fhir.errors import EhrError, TooCostly, Unavailable

__all__ = ["run_job"]

# Chosen: Arrow, Delta and the answer in its format, beside what DuckDB may use.
_MEMORY_BESIDE_MB = 1024
# Chosen: an interrupted query has these to end in order.
_SECONDS_TO_END = 1.0


def run_job(job: QueryJob) -> tuple[pa.Table, bytes, str]:
    """Return the rows, and the table in its format with the media type."""
    table, _ = _run_query(job)
    return table, *encode_table(table, job.media)


def _run_query(job: QueryJob) -> tuple[pa.Table, list[str]]:
    """Return the rows of a query, and whom the views are about where the job asks for them."""
    with open_duckdb(job.limits) as connection:
        withheld = find_withheld_keys(connection, job) if job.withheld else ()
        rare_codes = count_codes(connection, job, withheld)
        job.dates.set_keys(connection)
        for view in job.views:
            if view.holds_notes:
                load_notes(connection, job, view, withheld)
            else:
                load_view(connection, job, view, withheld, rare_codes)
        forget_keys(connection)
        if job.limits.seconds:
            # Ends the process, in whatever it is just then.
            signal.setitimer(signal.ITIMER_REAL, job.limits.seconds + _SECONDS_TO_END)
        if job.own_view is not None:
            load_own_view(connection, job, job.own_view, withheld, rare_codes)
        table = fetch(connection, job.sql, job.limits, dict(job.parameters) or None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        subjects = list_subjects(connection, job, withheld) if job.names_subjects else []
    return table, subjects


def _limit_memory(limits: QueryLimits, output_mb: int) -> None:
    most = read_data_size() + (limits.memory_mb + _MEMORY_BESIDE_MB) * 2**20
    # Memory that is written to, not addresses: DuckDB and Arrow reserve far more of these.
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    # No file is written but the job's own, within its size, so that none fills a disk; and no core
    # is dumped, which would hold rows.
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_mb * 2**20, output_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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
    except RecursionError:
        head = {"error": TooCostly.__name__, "message": "A path is nested too deeply."}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
