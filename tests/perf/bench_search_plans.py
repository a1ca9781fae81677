"""What a search of a patient's records by code costs: `python -m tests.perf.bench_search_plans`.

Both ways to begin, in turns on the same store: the code is asked of the index before a record is
fetched, or of each record fetched. CPU time alone, of this process and of PostgreSQL's, since a
machine may be busy with something else. On SQLite, and on PostgreSQL where it is installed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_gateway.database import Connection
from ehr_gateway.search.page import search_on
from ehr_gateway.search.sql import FilterCompiler, FilterSql
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.store import actor, consent, doctor, put
from tests.perf.gateway.pages import publish
from tests.perf.gateway.postgres import scratch_database

PATIENTS, RECORDS, CODES = 8, 600, 60
ROUNDS, SEARCHES = 15, 40
LOINC = "http://loinc.org"
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure both ways on each database and print a table."""
    lines = [f"{'CPU, ms per search':34}{'fetched first':>15}{'asked first':>13}{'saved':>8}"]
    for database in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as folder, _place(database, folder) as place:
            store = Store(place, Path(folder) / "data")
            _fill(store)
            with store.read_transaction() as connection:
                for query in ("patient=p{}&code=" + f"{LOINC}|c7", "patient=p{}&code=c7"):
                    before, after = _compare(store, connection, query)
                    saved = 1 - after / before
                    name = f"{database}: {query.format('')}"
                    lines.append(f"{name:34}{before:15.2f}{after:13.2f}{saved:8.0%}")
            store.close()
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    title = f"{RECORDS} records of the patient, {RECORDS // CODES} of them with the code"
    publish("bench-search-plans", f"{title}\n{table}")


@contextmanager
def _place(database: str, folder: str) -> Iterator[Any]:
    if database == "sqlite":
        yield Path(folder) / "data"
    else:
        with scratch_database(database) as url:
            yield url


def _fill(store: Store) -> None:
    put(store, {"resourceType": "Organization", "id": "st-gabriel", "name": "St Gabriel"})
    author = doctor("ha-harbour")
    for patient in range(PATIENTS):
        name = f"p{patient}"
        put(store, {"resourceType": "Patient", "id": name})
        put(store, {**consent(name, "joining"), "id": f"joining-{name}"})
        sharing = consent(name, "sharing", type="permit", actor=[actor("st-gabriel")])
        put(store, {**sharing, "id": f"sharing-{name}"})
        with open_transaction(store, author) as writing:
            for number in range(RECORDS):
                body = {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"coding": [{"system": LOINC, "code": f"c{number % CODES}"}]},
                    "subject": {"reference": f"Patient/{name}"},
                    "note": [{"text": "as large as records are " * 40}],
                }
                writing.create(prepare_draft(body, f"o{patient}-{number}", author, "Observation"))
    if store.database.dialect == "postgresql":
        with store.write_transaction() as connection:
            connection.execute("ANALYZE")


def _compare(store: Store, connection: Connection, query: str) -> tuple[float, float]:
    """Return the milliseconds of a search either way, medians of rounds in turns."""
    backend = None
    if connection.dialect == "postgresql":
        backend = int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for asks_first in (False, True):
            with _beginning(asks_first):
                begun = _cpu_ms(backend)
                for number in range(SEARCHES):
                    pairs = [
                        (name, value)
                        for name, _, value in (
                            part.partition("=")
                            for part in query.format(number % PATIENTS).split("&")
                        )
                    ]
                    page = search_on(connection, store, doctor("st-gabriel"), "Observation", pairs)
                    assert len(page.matches) == RECORDS // CODES
                spent[asks_first].append((_cpu_ms(backend) - begun) / SEARCHES)
    return statistics.median(spent[False]), statistics.median(spent[True])


@contextmanager
def _beginning(asks_first: bool) -> Iterator[None]:
    """Let searches ask the indexes before they fetch a record, or after."""
    compile_filter: Callable[..., FilterSql] = FilterCompiler.compile

    def compile_plainly(*args: Any) -> FilterSql:
        return replace(compile_filter(*args), reads_index_only=False)

    if not asks_first:
        FilterCompiler.compile = compile_plainly  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        FilterCompiler.compile = compile_filter  # type: ignore[method-assign]


def _cpu_ms(backend: int | None) -> float:
    """Return the CPU time of this process and of the database's, in milliseconds."""
    spent = time.process_time() * 1000
    if backend is not None:
        fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) * 1000 / _TICKS
    return spent


if __name__ == "__main__":
    main()
