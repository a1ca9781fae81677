"""More requests than can be answered in time: 503 with Retry-After, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lib.gateway import House

WORK = (
    ("GET", "/fhir/Observation?code=http://loinc.org|1-1"),
    ("GET", "/fhir/Patient/pat-1/_history"),
    ("GET", "/fhir/_history"),
    ("POST", "/fhir"),
    ("PATCH", "/fhir/Patient/pat-1"),
    ("GET", "/fhir/AuditEvent"),
    ("GET", "/feed"),
    ("POST", "/oauth/token"),
    ("GET", "/oauth/login"),
)


@contextmanager
def all_threads_busy(house: House) -> Iterator[None]:
    """Make it look as if requests were at work that will take long."""
    threads = house.gateway.threads
    threads._at_work, threads._pace = 8, 10.0
    try:
        yield
    finally:
        threads._at_work = 0


@pytest.mark.parametrize(("method", "path"), WORK)
def test_who_would_be_answered_too_late_is_told_at_once(
    furnished: House, method: str, path: str
) -> None:
    platform = furnished.system("ehr-commons")
    before = [row for row in _audit_ids(furnished)]
    with all_threads_busy(furnished):
        refused = platform.request(method, path)

    assert refused.status_code == 503, refused.text
    assert refused.headers["retry-after"] == "1"
    assert "than can be answered in time" in refused.text
    assert _audit_ids(furnished) == before


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_an_operator_is_always_answered(furnished: House, path: str) -> None:
    with all_threads_busy(furnished):
        assert furnished.client.get(path).status_code == 200


def test_places_are_given_back_whatever_becomes_of_a_request(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    for method, path in WORK:
        platform.request(method, path)

    assert furnished.gateway.threads._at_work == 0


def _audit_ids(house: House) -> list[str]:
    house.gateway.audit_batcher.flush()
    with house.gateway.store.read_transaction() as connection:
        return [row[0] for row in connection.execute("SELECT id FROM audit ORDER BY seq")]
