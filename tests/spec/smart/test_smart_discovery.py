"""What clients read first says what the server does."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lib.gateway import House
from tests.lib.smart import FHIR, ISSUER, App


@pytest.fixture
def document(house: House) -> dict[str, Any]:
    """Return SMART's discovery document."""
    return dict(house.client.get("/fhir/.well-known/smart-configuration").json())


def test_the_document_has_every_field_that_smart_requires(document: dict[str, Any]) -> None:
    required = {
        "issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "grant_types_supported",
        "capabilities", "code_challenge_methods_supported", "scopes_supported",
        "response_types_supported", "introspection_endpoint", "revocation_endpoint",
        "registration_endpoint", "token_endpoint_auth_methods_supported",
        "token_endpoint_auth_signing_alg_values_supported",
    }  # fmt: skip

    assert required <= set(document)
    assert document["issuer"] == ISSUER
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert document["authorization_response_iss_parameter_supported"] is True


def test_every_address_of_the_document_is_served(house: House, document: dict[str, Any]) -> None:
    addresses = {
        name: urlsplit(value).path
        for name, value in document.items()
        if name.endswith(("_endpoint", "_uri"))
    }

    assert len(addresses) == 7
    for name, path in addresses.items():
        for method in ("GET", "POST"):
            assert house.client.request(method, path).status_code != 404, (name, method)


def test_the_brand_is_that_of_the_settings_and_leads_to_this_server(
    house: House, document: dict[str, Any]
) -> None:
    path = urlsplit(document["user_access_brand_bundle"]).path

    answer = house.client.get(path, headers={"Origin": "https://app.example"})

    bundle = answer.json()
    organization, endpoint = (entry["resource"] for entry in bundle["entry"])
    assert (bundle["type"], endpoint["address"]) == ("collection", FHIR)
    assert organization["identifier"] == [document["user_access_brand_identifier"]]
    assert organization["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]
    assert answer.headers["access-control-allow-origin"] == "*"
    for resource in (organization, endpoint, bundle):
        kind = resource["resourceType"]
        checked = house.login("doctor.b").post(f"/fhir/{kind}/$validate", resource).json()
        assert [one for one in checked["issue"] if one["severity"] == "error"] == []

    house.clock.forward(seconds=3600)
    again = house.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert house.client.get(path).json()["timestamp"] == bundle["timestamp"]
    object.__setattr__(house.gateway.settings, "brand_website", "https://www.hospital.example/x")
    changed = house.client.get(path).json()
    assert changed["entry"][0]["resource"]["identifier"][0]["value"] == "https://hospital.example"
    assert changed["timestamp"] > bundle["timestamp"]


def test_the_capabilities_are_those_that_certification_asks_for(document: dict[str, Any]) -> None:
    standalone = {
        "launch-standalone", "context-standalone-patient", "permission-patient",
    }  # fmt: skip
    from_a_record = {
        "launch-ehr", "context-banner", "context-style", "context-ehr-patient",
        "context-ehr-encounter", "permission-user",
    }  # fmt: skip
    both = {
        "client-public", "client-confidential-symmetric", "client-confidential-asymmetric",
        "sso-openid-connect", "permission-offline", "permission-v1", "permission-v2",
        "authorize-post",
    }  # fmt: skip

    assert standalone | from_a_record | both | {"permission-online"} == set(
        document["capabilities"]
    )


def test_the_token_answer_has_its_fields_and_is_kept_by_nobody(furnished: House) -> None:
    app = App(furnished).register()

    answer = app.exchange(app.code("p.pat-1"))

    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    tokens = answer.json()
    assert {"access_token", "scope", "patient", "id_token", "refresh_token"} <= set(tokens)
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)


def test_openid_connect_reads_the_same(house: House, document: dict[str, Any]) -> None:
    path = urlsplit(document["issuer"]).path

    found = house.client.get(f"{path}/.well-known/openid-configuration").json()

    assert found == document
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert found["subject_types_supported"] == ["public"]


def test_the_capability_statement_names_the_same_addresses(
    house: House, document: dict[str, Any]
) -> None:
    security = house.client.get("/fhir/metadata").json()["rest"][0]["security"]

    coding = security["service"][0]["coding"][0]
    uris = {one["url"]: one["valueUri"] for one in security["extension"][0]["extension"]}
    assert coding["code"] == "SMART-on-FHIR"
    assert security["extension"][0]["url"].endswith("/StructureDefinition/oauth-uris")
    assert uris["authorize"] == document["authorization_endpoint"]
    assert uris["token"] == document["token_endpoint"]
    assert uris["introspect"] == document["introspection_endpoint"]
    assert uris["revoke"] == document["revocation_endpoint"]
    assert uris["register"] == document["registration_endpoint"]


def test_pages_of_other_origins_may_read_what_needs_no_cookie(furnished: House) -> None:
    app = App(furnished).register()
    origin = {"Origin": "https://app.example"}
    preflight = {
        **origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    for path in (
        "/fhir/.well-known/smart-configuration", "/fhir/Observation?_count=1", "/fhir/metadata",
        "/oauth/token", "/oauth/jwks", "/oauth/revoke", "/fhir/Patient/pat-1",
    ):  # fmt: skip
        asked = furnished.client.options(path, headers=preflight)
        assert asked.status_code == 204, path
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()
        answer = furnished.client.get(path, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "*", path
        assert "access-control-allow-credentials" not in answer.headers
    tokens = app.tokens("p.pat-1")
    headers = {**origin, "Authorization": f"Bearer {tokens['access_token']}"}
    read = furnished.client.get(f"{FHIR}/Patient/pat-1", headers=headers)
    assert read.headers["access-control-allow-origin"] == "*"
    assert "etag" in read.headers["access-control-expose-headers"].lower()


def test_no_page_of_another_origin_reads_the_log_in(house: House) -> None:
    origin = {"Origin": "https://evil.example"}

    for path in ("/oauth/authorize", "/oauth/login", "/oauth/approve", "/oauth/launch"):
        answer = house.client.get(path, headers={**origin, "X-Test-Login": "doctor.a"})
        assert "access-control-allow-origin" not in answer.headers, path
