"""What `$everything`, `$summary` and `$lastn` take: `python -m tests.perf.bench_everything`.

Asked through the whole application in this process, one after another, as a hospital that reads by
the patients' sharing consents: of many people with ordinary records, and of one person with so
many measurements that a record has a hundred pages.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import cycle

from ehr_gateway.access import Access
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.gateway import House, Session, must, observation
from tests.perf.bench_house import now_ms, open_house
from tests.perf.gateway.bundles import READER
from tests.perf.generator import fill

MOST_RUNS, LEAST_RUNS, KIND_SECONDS = 200, 20, 20
AT_ONCE = 500


def main() -> None:
    """Fill a store, ask, print p50 and p99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    asked = parser.parse_args()
    for database in asked.databases.split(","):
        with open_house(database) as house:
            count = fill(house.gateway.store, asked.size)
            _write(f"{database}: {count:,} resources of many people")
            _measure_people(house)
        with open_house(database) as house:
            house.invite()
            house.furnish()
            _add_measurements(house, asked.size)
            _write(f"{database}: {asked.size:,} measurements of one person")
            _measure_pages(house)


def _add_measurements(house: House, count: int) -> None:
    author = house.gateway.verifier.authenticate(
        house.system("hospital-a").headers["Authorization"].removeprefix("Bearer "), now_ms()
    )
    access = Access(author.requester, now_ms(), "filling")
    for start in range(0, count, AT_ONCE):
        with open_transaction(house.gateway.store, access) as writing:
            for number in range(start, start + AT_ONCE):
                body = observation(f"many-{number:06}", "vital-signs")
                writing.create(prepare_draft(body, body["id"], access, "Observation"))


def _measure_people(house: House) -> None:
    reader = house.system(READER)
    found = must(reader.get("Patient?_count=200")).json()
    people = [one["resource"]["id"] for one in found["entry"]]
    for title, address in (
        ("read", "Patient/{}"),
        ("$everything, first page", "Patient/{}/$everything"),
        ("$everything, 1000 a page", "Patient/{}/$everything?_count=1000"),
        ("$summary", "Patient/{}/$summary"),
        ("$lastn", "Observation/$lastn?patient={}"),
    ):
        _say(title, _time(reader, [address.format(person) for person in people]))


def _measure_pages(house: House) -> None:
    patient = house.login("p.pat-1")
    links = list(_page_links(patient))
    for title, link in (
        ("page 1", links[0]),
        (f"page {len(links) // 2}", links[len(links) // 2]),
        (f"page {len(links)}", links[-1]),
        ("$summary", "Patient/pat-1/$summary"),
        ("$lastn", "Observation/$lastn?patient=pat-1"),
    ):
        _say(title, _time(patient, [link]))


def _page_links(session: Session) -> Iterator[str]:
    link: str | None = "Patient/pat-1/$everything?_count=100"
    while link:
        yield link
        links = must(session.get(link)).json()["link"]
        link = next((one["url"] for one in links if one["relation"] == "next"), None)


def _time(session: Session, addresses: list[str]) -> list[float]:
    """Return what each asking of one address after another took, in milliseconds."""
    turn, took = cycle(addresses), list[float]()
    must(session.get(next(turn)))
    end = time.monotonic() + KIND_SECONDS
    while len(took) < LEAST_RUNS or (len(took) < MOST_RUNS and time.monotonic() < end):
        start = time.perf_counter()
        must(session.get(next(turn)))
        took.append((time.perf_counter() - start) * 1000)
    return took


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _say(title: str, took: list[float]) -> None:
    p99 = sorted(took)[min(len(took) - 1, int(len(took) * 0.99))]
    _write(
        f"  {title:26} p50 {statistics.median(took):8.1f} ms  p99 {p99:8.1f} ms  {len(took)} runs"
    )


if __name__ == "__main__":
    main()
