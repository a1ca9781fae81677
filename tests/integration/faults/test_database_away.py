"""PostgreSQL stops, freezes and comes back: refusals are quick, recovery is, and so is the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.integration.faults.server import Served, ends_within, serving
from tests.lib.postgresql import Cluster, running_cluster

READ = "/fhir/Organization/ehr-commons"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a server that these tests may stop."""
    with running_cluster() as one:
        yield one


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a store of that server; the last test ends it."""
    data = tmp_path_factory.mktemp("away") / "data"
    with cluster.database() as url, serving(data, database=url) as one:
        yield one


def first_good(served: Served, seconds: float = 10) -> float:
    """Ask until a read is answered; return after how long."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if served.get(READ).status_code == 200:
            return time.monotonic() - start
        time.sleep(0.05)
    raise AssertionError("not back")


def check_outage(served: Served, cluster: Cluster, seconds: float) -> None:
    assert served.get(READ).status_code == 200
    before = served.logged()
    cluster.stop()
    try:
        until = time.monotonic() + seconds
        refused = 0
        while time.monotonic() < until or refused < 6:
            response, took = served.timed_get(READ)
            assert response.status_code == 503
            assert response.headers["retry-after"]
            assert took < 1, took
            refused += 1
            time.sleep(0.1)
        for path, status in (("/readyz", 503), ("/healthz", 200)):
            response, took = served.timed_get(path)
            assert (response.status_code, took < 1) == (status, True), (path, took)
        start = time.monotonic()
        assert served.create().status_code == 503
        assert time.monotonic() - start < 1
    finally:
        cluster.start()
    assert first_good(served) < 2
    assert served.create().status_code == 201
    assert served.get("/readyz").status_code == 200
    said = served.logged()[len(before) :]
    assert said.count("The database does not answer") in (2, 2 + seconds // 60), said


def test_a_stopped_server_is_missed_at_once_and_welcomed_back_within_two_seconds(
    served: Served, cluster: Cluster
) -> None:
    check_outage(served, cluster, 3)


@pytest.mark.slow
def test_after_a_long_outage_it_is_back_as_soon(served: Served, cluster: Cluster) -> None:
    check_outage(served, cluster, 50)


def test_a_frozen_server_is_given_up_and_forgiven(served: Served, cluster: Cluster) -> None:
    assert served.get(READ).status_code == 200
    frozen = [cluster.pid, *_children_of(cluster.pid)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        # Those under way wait until the server is known to be silent; all others are told at once.
        response, took = served.timed_get(READ)
        assert (response.status_code, took < 4) == (503, True), took
        response, took = served.timed_get(READ)
        assert (response.status_code, took < 1) == (503, True), took
        response, took = served.timed_get("/readyz")
        assert (response.status_code, took < 1) == (503, True), took
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert first_good(served) < 4


def test_a_server_that_takes_no_writes_is_not_ready_and_says_so(
    served: Served, cluster: Cluster
) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as operator:
        operator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        operator.execute("SELECT pg_reload_conf()")
        try:
            time.sleep(1.2)
            assert served.get(READ).status_code == 200
            refused = served.create()
            ready = served.get("/readyz")
        finally:
            operator.execute("SET default_transaction_read_only = off")
            operator.execute("ALTER SYSTEM RESET default_transaction_read_only")
            operator.execute("SELECT pg_reload_conf()")

    assert refused.status_code == 503, refused.text
    assert "takes no writes" in refused.text
    assert ready.status_code == 503
    assert "takes no writes" in ready.text
    time.sleep(1.2)
    assert served.create().status_code == 201
    assert served.get("/readyz").status_code == 200


def test_nothing_that_was_acknowledged_is_lost_by_an_outage(
    served: Served, cluster: Cluster
) -> None:
    made = [served.create().json()["id"] for _ in range(3)]
    cluster.stop()
    assert served.create().status_code == 503
    cluster.start()
    first_good(served)

    with httpx.Client(headers=served.headers) as client:
        for identity in made:
            response = client.get(f"{served.base}/fhir/Organization/{identity}")
            assert response.status_code == 200


def test_it_ends_within_ten_seconds_though_the_database_is_away(
    served: Served, cluster: Cluster
) -> None:
    assert served.get(READ).status_code == 200
    cluster.stop()
    try:
        served.get(READ)
        served.process.send_signal(signal.SIGTERM)

        assert ends_within(served.process, 15) < 10
    finally:
        cluster.start()


def _children_of(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listing.split()]
