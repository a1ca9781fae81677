"""The application's own parts: settings, Bundles of bytes, addresses, interactions."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import orjson
import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.app import create_gateway
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.metrics import Metrics
from ehr_gateway.interaction_codes import INTERACTIONS, audit_action, codes_at_level
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Store
from tests.lib.gateway import House, must, organization


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "localhost:8080"},
        {"base_url": "http://localhost:8080/"},
        {"base_url": "ftp://localhost"},
        {"token_seconds": 0},
        {"max_body_bytes": -1},
    ],
)
def test_a_wrong_setting_is_an_error_at_start(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        GatewaySettings(data=tmp_path, **wrong)


def test_a_store_that_was_handed_in_is_left_open(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    settings = GatewaySettings(data=tmp_path)
    store = Store(settings.database)

    with TestClient(create_gateway(settings, store=store)) as client:
        assert client.get("/readyz").status_code == 200

    with store.read_transaction() as connection:
        assert connection.execute("SELECT 1").fetchone()[0] == 1
    store.close()


def test_a_closed_gateway_leaves_the_memory_of_its_process(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    closed = []
    for name in ("first", "second", "third"):
        # The first of a process may stay, with all that was there when it started.
        application = create_gateway(GatewaySettings(data=tmp_path / name))
        with TestClient(application) as client:
            assert client.get("/readyz").status_code == 200
        closed.append(weakref.ref(application.state.gateway))
    del application, client
    gc.collect()

    assert closed[1]() is None


def test_a_second_start_keeps_keys_and_accounts(tmp_path: Path) -> None:
    first = House(tmp_path / "data")
    first.invite()
    token = first.token("doctor.a")
    first.gateway.store.close()

    second = House(tmp_path / "data")

    answer = second.client.get("/fhir/Organization", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_a_bundle_of_bytes_is_json_with_the_bytes_inside() -> None:
    raw = b'{"resourceType":"Basic","value":1.50}'

    body = build_bundle("searchset", [build_entry("http://e/1", raw, mode="match")] * 2, total=2)

    assert body.count(raw) == 2
    assert len(orjson.loads(body)["entry"]) == 2
    assert "entry" not in orjson.loads(build_bundle("searchset", [], total=0))


def test_links_are_written_in_one_way() -> None:
    assert (
        build_page_url("http://e/X", [("a", "b|c d"), ("a", "&")]) == "http://e/X?a=b%7Cc+d&a=%26"
    )


def test_codes_of_interactions_are_unique_and_each_has_an_action() -> None:
    codes = [one.code for one in INTERACTIONS]

    assert (
        len(codes) == len(set(codes)) == len(codes_at_level("type")) + len(codes_at_level("system"))
    )
    assert (audit_action("create"), audit_action("login")) == ("C", "E")


def test_metrics_count_by_route_and_status(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)

    metrics.count({"type": "http", "method": "GET"}, 404)
    metrics.count({"type": "http", "method": "GET"}, 404)

    assert 'method="GET",route="none",status="404"} 2' in metrics.render().decode()


def test_the_base_takes_a_bundle_with_or_without_a_slash(house: House) -> None:
    body = {"resourceType": "Bundle", "type": "batch"}
    platform = house.system("ehr-commons")

    assert platform.post("/fhir", body).status_code == 200
    assert platform.post("/fhir/", body).status_code == 200


def test_no_redirect_follows_a_host_that_a_client_made_up(house: House) -> None:
    answer = house.system("ehr-commons").get("Organization/", headers={"Host": "evil.example"})

    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_addresses_in_answers_are_the_settings_not_the_hosts(house: House) -> None:
    platform = house.system("ehr-commons")
    must(platform.put(organization("org-1")))

    answer = must(platform.get("Organization", headers={"Host": "evil.example"}))

    assert "evil" not in answer.text


def test_no_telemetry_of_the_process_sees_a_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    for path in ("/oauth/login?request=secret", "/fhir/Patient/secret", "/healthz"):
        house.client.get(path)

    assert spans.get_finished_spans() == ()
