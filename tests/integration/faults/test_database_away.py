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

from tests.integration.faults.server import END_SECONDS, PATIENCE_S, Served, serving
from tests.lib.postgresql import Cluster, running_cluster

READ = "/fhir/Organization/ehr-commons"
# Until it is known that a server is silent, which takes three seconds, each request waits; who
# comes then is told within a tenth of a second. A machine that does other things may hold up most
# of several, and not the quickest for as long as this.
AT_ONCE_S = 1.0


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


def wait_for(served: Served, path: str, status: int) -> httpx.Response:
    """Ask until the answer has a status."""
    until = time.monotonic() + PATIENCE_S
    while (response := served.get(path)).status_code != status:
        assert time.monotonic() < until, response.text
        time.sleep(0.05)
    return response


def check_refused_at_once(served: Served, path: str) -> None:
    """Ask five times: each time it is refused, and the quickest at once."""
    asked = [served.timed_get(path) for _ in range(5)]
    assert {response.status_code for response, _ in asked} == {503}
    assert min(took for _, took in asked) < AT_ONCE_S


def check_outage(served: Served, cluster: Cluster, seconds: float) -> None:
    assert served.get(READ).status_code == 200
    before = served.logged()
    begun = time.monotonic()
    cluster.stop()
    try:
        assert served.get(READ).headers["retry-after"]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            check_refused_at_once(served, READ)
            time.sleep(0.1)
        check_refused_at_once(served, "/readyz")
        assert served.get("/healthz").status_code == 200
        assert served.create().status_code == 503
    finally:
        cluster.start()
    start = time.monotonic()
    wait_for(served, READ, 200)
    # Two, on a machine that does nothing else.
    assert time.monotonic() - start < 20
    assert served.create().status_code == 201
    assert served.get("/readyz").status_code == 200
    said = served.logged()[len(before) :]
    # At once, and again every minute.
    minutes = (time.monotonic() - begun) // 60
    assert 2 <= said.count("The database does not answer") <= 2 * (1 + minutes), said


def test_a_stopped_server_is_missed_at_once_and_welcomed_back_soon(
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
        assert served.get(READ, timeout=20).status_code == 503
        check_refused_at_once(served, READ)
        check_refused_at_once(served, "/readyz")
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    wait_for(served, READ, 200)


def test_a_server_that_takes_no_writes_is_not_ready_and_says_so(
    served: Served, cluster: Cluster
) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as operator:
        operator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        operator.execute("SELECT pg_reload_conf()")
        try:
            ready = wait_for(served, "/readyz", 503)
            assert served.get(READ).status_code == 200
            refused = served.create()
        finally:
            operator.execute("SET default_transaction_read_only = off")
            operator.execute("ALTER SYSTEM RESET default_transaction_read_only")
            operator.execute("SELECT pg_reload_conf()")

    assert refused.status_code == 503, refused.text
    assert "takes no writes" in refused.text
    assert "takes no writes" in ready.text
    wait_for(served, "/readyz", 200)
    assert served.create().status_code == 201


def test_nothing_that_was_acknowledged_is_lost_by_an_outage(
    served: Served, cluster: Cluster
) -> None:
    made = [served.create().json()["id"] for _ in range(3)]
    cluster.stop()
    assert served.create().status_code == 503
    cluster.start()
    wait_for(served, READ, 200)

    with httpx.Client(headers=served.headers, timeout=PATIENCE_S) as client:
        for identity in made:
            response = client.get(f"{served.base}/fhir/Organization/{identity}")
            assert response.status_code == 200


def test_it_ends_soon_though_the_database_is_away(served: Served, cluster: Cluster) -> None:
    assert served.get(READ).status_code == 200
    cluster.stop()
    try:
        served.get(READ)
        served.process.send_signal(signal.SIGTERM)

        served.process.wait(END_SECONDS)
    finally:
        cluster.start()


def _children_of(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listing.split()]
