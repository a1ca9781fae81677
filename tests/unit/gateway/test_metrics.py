"""Counts of requests: summed over processes, kept when one ends, bounded in their series."""

from __future__ import annotations

from pathlib import Path

from ehr_gateway.http.metrics import Metrics, clear_counts

GET = {"type": "http", "method": "GET"}
SERIES = 'ehr_http_requests_total{method="GET",route="none",status="200"}'


def counts(metrics: Metrics) -> dict[str, float]:
    lines = metrics.render().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


def test_each_tells_the_sum_of_all(tmp_path: Path) -> None:
    one, other = Metrics(tmp_path), Metrics(tmp_path)
    one.count(GET, 200)
    for _ in range(2):
        other.count(GET, 200)

    assert counts(one) == counts(other) == {SERIES: 3}


def test_a_successor_goes_on_with_the_counts_of_one_that_ended(tmp_path: Path) -> None:
    first = Metrics(tmp_path)
    first.count(GET, 200)
    first.close()

    second = Metrics(tmp_path)
    second.count(GET, 200)

    assert counts(second) == {SERIES: 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_another_has_is_not_cleared(tmp_path: Path) -> None:
    ended, living = Metrics(tmp_path), Metrics(tmp_path)
    ended.count(GET, 200)
    living.count(GET, 404)
    ended.close()

    clear_counts(tmp_path)

    assert list(counts(living).values()) == [1]


def test_methods_that_clients_make_up_are_one_series(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for number in range(5):
        metrics.count({"type": "http", "method": f"MADEUP{number}"}, 405)

    assert counts(metrics) == {
        'ehr_http_requests_total{method="other",route="none",status="405"}': 5
    }


def test_nothing_counted_is_nothing_told(tmp_path: Path) -> None:
    assert Metrics(tmp_path / "none").render() == b""
