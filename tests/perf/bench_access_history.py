"""How fast who looked is listed after a year: `python -m tests.perf.bench_access_history`.

A year of daily use is generated: the patient opens the portal every day, clinicians of several
hospitals look now and then, some searches return hundreds of records. `--postgresql URL` names a
database to use in place of SQLite.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ehr_gateway.audit_log.recorder import AuditContext, build_event_rows, record_rows
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, must

_DAY, _MINUTE = 86_400_000, 60_000
# Requests before those that count.
_WARM_UP = 5
_OWN = Subject("p.pat-1", "Patient One", "patient", "portal", patient="pat-1")
# What one page of the portal asks: so many searches, each with so many records. Measured on the
# sample: 200 AuditEvents had 3.4 MB.
_REQUESTS_OF_PAGE, _RECORDS_OF_SEARCH = 10, 70


def main() -> None:
    """Print the times of one page of visits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", default=None)
    parser.add_argument("--runs", type=int, default=200)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder) / "data", database_url=chosen.postgresql)
        house.invite()
        house.furnish()
        number = _furnish_year(house)
        _say(f"{number:,} events of one patient; CPU time of the whole process")
        for title, query in (
            ("visits of others", ""),
            ("own visits too", "?own=true"),
            ("one person", "?login=doctor.3"),
            ("one domain", "?domain=radiology"),
        ):
            _say(f"{title:>20}: {_times(house, query, chosen.runs)}")
        house.gateway.store.close()


def _furnish_year(house: House) -> int:
    chance = random.Random(11)
    rows: list[Any] = []
    for day in range(365):
        at_ms = house.clock() - (365 - day) * _DAY
        for page in range(5):
            rows += _page_rows(chance, _OWN, at_ms + page * _MINUTE)
        if chance.random() < 0.2:
            n = chance.randrange(40)
            doctor = Subject(f"doctor.{n}", f"Dr {n}", "clinician", "portal", f"hospital-{n % 7}")
            for page in range(4):
                rows += _page_rows(chance, doctor, at_ms + (200 + page) * _MINUTE)
    with house.gateway.store.write_transaction() as connection:
        record_rows(connection, rows)
    return len(rows)


def _page_rows(chance: random.Random, subject: Subject, at_ms: int) -> list[Any]:
    rows: list[Any] = []
    for number in range(_REQUESTS_OF_PAGE):
        context = AuditContext(
            subject, "TREAT", at_ms + number, f"r-{at_ms}-{number}", "search-type", "Observation?x"
        )
        rows += build_event_rows(
            context,
            "pat-1",
            entities=[
                f"Observation/{chance.getrandbits(128):032x}" for _ in range(_RECORDS_OF_SEARCH)
            ],
            domains=["laboratory", "observation"],
            reason="shared",
        )
    return rows


def _times(house: House, query: str, runs: int) -> str:
    patient = house.login("p.pat-1")
    taken = []
    for _ in range(_WARM_UP):
        must(patient.get(f"Patient/pat-1/$access-history{query}"))
    for _ in range(runs):
        begin = time.process_time()
        must(patient.get(f"Patient/pat-1/$access-history{query}"))
        taken.append((time.process_time() - begin) * 1000)
    p95 = statistics.quantiles(taken, n=20)[-1]
    return f"median {statistics.median(taken):.0f} ms, p95 {p95:.0f} ms"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
