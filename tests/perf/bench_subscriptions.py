"""What a write costs with 1, 100 and 10,000 subscriptions: `make bench-subscriptions`.

Each subscription is of one patient's results; each write is a result of one of these patients, so
that it concerns one subscription. Timed are the write itself, and what the worker does for it
afterwards: to match it and to store the event. Delivery, which depends on the endpoint, is not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ehr_gateway.database import Connection
from ehr_gateway.subscriptions.content import parse_subscription
from ehr_gateway.subscriptions.endpoints import EndpointPolicy
from ehr_gateway.subscriptions.feed import FeedMatcher
from ehr_gateway.subscriptions.rows import Authority, insert_subscription
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, must, observation
from tests.lib.subscriptions import subscription

COUNTS = (1, 100, 10_000)
WRITES, ROUNDS = 200, 5


def main() -> None:
    """Measure each number of subscriptions in a store of its own; print the ratios."""
    # What a process does for the first time is not timed.
    measure(COUNTS[0])
    results = {count: measure(count) for count in COUNTS}
    base_write, base_match = results[COUNTS[0]]
    _say(f"Load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, SQLite, processor time.")
    _say("| subscriptions | write, ms | ratio | match, ms per write | ratio |")
    _say("| --- | --- | --- | --- | --- |")
    for count, (write, match) in results.items():
        _say(
            f"| {count:,} | {write:.2f} | {write / base_write:.2f}"
            f" | {match:.2f} | {match / base_match:.2f} |"
        )


def measure(count: int) -> tuple[float, float]:
    """Return milliseconds of processor time for a write, and for matching it: the best round."""
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder) / "data")
        house.invite()
        house.furnish()
        worker = house.app.state.subscriptions
        with house.gateway.store.write_transaction() as connection:
            for number in range(count):
                _insert(connection, worker.services, number)
        matcher = FeedMatcher(house.gateway, worker.services)
        matcher.match()
        hospital = house.system("hospital-a")
        writes, matches = [], []
        with house.client:
            for turn in range(ROUNDS):
                begin = time.process_time()
                for number in range(WRITES):
                    body: dict[str, Any] = observation(f"o-{turn}-{number}", "laboratory")
                    body.pop("id")
                    must(hospital.post("Observation", body))
                writes.append(time.process_time() - begin)
                begin = time.process_time()
                matcher.match()
                matches.append(time.process_time() - begin)
            _check(house, count)
        house.gateway.store.close()
        return tuple(min(times) * 1000 / WRITES for times in (writes, matches))  # type: ignore[return-value]


def _insert(connection: Connection, services: Any, number: int) -> None:
    """Insert a subscription; the first is of the patient whose results are written."""
    patient = "pat-1" if number == 0 else f"patient-{number}"
    wish = parse_subscription(
        subscription("new-result", "https://example.org/hook", f"Observation?patient={patient}"),
        services.topics,
        EndpointPolicy(),
    )
    subject = Subject("system-a", "System", "system", "system-a", "hospital-a")
    authority = Authority(subject, "system/*.cruds", "", None)
    owner = ["system-a", "system-a", "hospital-a", None]
    insert_subscription(
        connection, services.secrets, f"s-{number}", owner, authority, wish, 1_795_334_400_000
    )


def _check(house: House, count: int) -> None:
    with house.gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT COUNT(*), COUNT(DISTINCT subscription) FROM subscription_event"
        ).fetchone()
    if tuple(row) != (WRITES * ROUNDS, 1):
        sys.exit(f"With {count} subscriptions {tuple(row)} events were made.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
