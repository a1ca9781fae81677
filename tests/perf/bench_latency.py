"""How searches slow down as the store grows: `make bench-latency SIZES=10k,100k,1M`.

Each kind of query is asked in one thread, without HTTP, as a hospital that reads by the patients'
sharing consents: parsing, the consent predicate, SQL, the Bundle's bytes. p50 and p99 of up to 200
askings with other values each time. Writes the figures and a plot.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ehr_gateway.access import Access
from ehr_gateway.http.searchset import build_searchset
from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from ehr_privacy.consent import Requester, parse_scopes
from tests.perf.gateway.bundles import READER, sample
from tests.perf.gateway.pages import publish
from tests.perf.gateway.plot import draw
from tests.perf.gateway.postgres import scratch_database
from tests.perf.gateway.queries import queries
from tests.perf.generator import fill

RESULT = Path(__file__).with_name("results") / "latency.json"
PLOT = Path(__file__).parents[2] / "docs" / "images" / "search-latency.svg"
MOST_RUNS, LEAST_RUNS, KIND_SECONDS = 200, 5, 6
Query = tuple[str, str]  # the type, and the parameters as they stand in an address


def main() -> None:
    """Fill a store of each size on each database, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10k,100k,1M")
    parser.add_argument("--databases", default="sqlite", help="sqlite, postgresql, URLs")
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    for database in asked.databases.split(","):
        for size in asked.sizes.split(","):
            with _store(database) as store:
                start = time.monotonic()
                count = fill(store, _number(size))
                _say(f"{store.dialect}: {count:,} resources in {time.monotonic() - start:.0f} s")
                for kind, (p50, p99, runs, matches) in _measured(store):
                    _say(f"  {kind:28}{p50:9.2f} ms{p99:9.2f} ms  {matches:5.1f} matches")
                    found.append(
                        {
                            "database": store.dialect,
                            "resources": count,
                            "kind": kind,
                            "p50_ms": p50,
                            "p99_ms": p99,
                            "runs": runs,
                            "matches": matches,
                        }
                    )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    draw(found, PLOT)
    publish("bench-latency", _table(found))


def _table(found: list[dict[str, Any]]) -> str:
    """Return a line for each kind, with p50 / p99 in ms for each store."""
    stores = list(dict.fromkeys((one["database"], one["resources"]) for one in found))
    titles = "".join(f"{database[:6]} {count:,}".rjust(19) for database, count in stores)
    lines = [f"p50 / p99 ms{'':12}{titles}"]
    for kind in dict.fromkeys(one["kind"] for one in found):
        of_kind = {
            (one["database"], one["resources"]): f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}"
            for one in found
            if one["kind"] == kind
        }
        lines.append(f"{kind:24}" + "".join(f"{of_kind[store]:>19}" for store in stores))
    return "\n".join(lines)


@contextmanager
def _store(database: str) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        if database == "sqlite":
            with closing(Store(Path(folder, "ehr.db"))) as store:
                yield store
        else:
            with (
                scratch_database(database) as url,
                closing(Store(url, Path(folder))) as store,
            ):
                yield store


def _measured(store: Store) -> Iterator[tuple[str, tuple[float, float, int, float]]]:
    for kind, asked in _queries(store).items():
        took, matches = [], []
        end = time.monotonic() + KIND_SECONDS
        for number in range(MOST_RUNS):
            start = time.perf_counter()
            matches.append(_ask(store, *asked[number % len(asked)]))
            took.append((time.perf_counter() - start) * 1000)
            if number + 1 >= LEAST_RUNS and time.monotonic() > end:
                break
        p99 = sorted(took)[min(len(took) - 1, int(len(took) * 0.99))]
        yield kind, (statistics.median(took), p99, len(took), statistics.mean(matches))


def _ask(store: Store, kind: str, parameters: str) -> int:
    # A new one for each, as each request has its own.
    requester = Requester(
        "system", "bench", READER, None, "TREAT", scopes=parse_scopes("system/*.rs")
    )
    access = Access(requester, time.time_ns() // 1_000_000, "bench-request")
    page = search(store, access, kind, parse_qsl(parameters))
    build_searchset("http://127.0.0.1:8080/fhir", kind, page)
    return len(page.matches)


def _queries(store: Store) -> dict[str, list[Query]]:
    """Return the benchmark's kinds, then what the specification has besides."""
    found: dict[str, list[Query]] = defaultdict(list)
    data = sample()
    names = {f"{one['resourceType']}/{one['id']}": "" for record in data.records for one in record}
    for query in queries(data, {name: name for name in names}):
        if query["kind"] != "reference":
            kind, _, parameters = query["path"].partition("?")
            found[query["kind"]].append((kind, parameters))
    codes = sorted(
        {
            one["code"]["coding"][0]["code"]
            for record in data.records
            for one in record
            if one["resourceType"] == "Observation"
        }
    )
    for number, (patient, identifier) in enumerate(_patients(store)):
        code = codes[number % len(codes)]
        who = f"patient={patient}"
        for kind, of, parameters in (
            ("patient and code", "Observation", f"{who}&code={code}"),
            ("reference", "Observation", f"subject=Patient/{patient}"),
            ("by _id", "Patient", f"_id={patient}"),
            ("identifier", "Patient", f"identifier={identifier}"),
            ("patient, _sort by date", "Observation", f"{who}&_sort=-date"),
            ("patient, _include", "Observation", f"{who}&_include=Observation:encounter"),
            ("chain", "Observation", f"patient.identifier={identifier}&code={code}"),
            ("by _has", "Patient", f"_has:Observation:patient:code={code}&identifier={identifier}"),
            ("with _revinclude", "Patient", f"_id={patient}&_revinclude=Condition:patient"),
            ("patient, total", "Observation", f"{who}&_total=accurate"),
            ("newest of all", "Observation", "_sort=-_lastUpdated"),
        ):
            found[kind].append((of, f"{parameters}&_count=20"))
    return found


def _patients(store: Store) -> Iterator[tuple[str, str]]:
    with store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT id, body FROM resource WHERE type = 'Patient' AND current = 1 ORDER BY id"
        ).fetchall()
    # Always the same for a store of one size.
    for row in random.Random(1).sample(rows, min(len(rows), MOST_RUNS)):
        yield row["id"], orjson.loads(bytes(row["body"]))["identifier"][0]["value"]


def _number(size: str) -> int:
    scale = {"k": 1_000, "M": 1_000_000}.get(size[-1])
    return int(size[:-1]) * scale if scale else int(size)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
