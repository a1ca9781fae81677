"""One issuer everywhere: metadata, tokens, introspection, answers, whatever the public address."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.lib.gateway import BASE, PASSWORD, House, must
from tests.lib.smart import App, at_once, back


@pytest.fixture(params=[BASE, "https://records.example", "https://example.org/ehr"])
def public(request: pytest.FixtureRequest) -> str:
    """Name the address under which browsers reach the platform."""
    return str(request.param)


@pytest.fixture
def database() -> str:
    """Name one database: no name of a token is stored in it."""
    return "sqlite"


def read_claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def test_every_place_that_names_the_issuer_names_the_same(
    tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    house = House(tmp_path / "data", address=public)
    house.invite()
    house.furnish()
    issuer, fhir = f"{public}/oauth", f"{public}/fhir"
    with house.client:
        app = App(house, scope="openid fhirUser launch/patient offline_access patient/*.rs")
        app.register()
        answer = app.answered(app.asks("p.pat-1", aud=fhir))
        tokens = must(app.exchange(answer["code"])).json()
        server = App(house, "server", "ehr/introspect", secret=PASSWORD)
        server.register(auth_method="client_secret_basic", organization="hospital-a")
        introspected = [
            server.post("introspect", {"token": tokens[name]}).json()
            for name in ("access_token", "refresh_token")
        ]
        documents = [
            house.client.get(path).json()
            for path in (
                "/fhir/.well-known/smart-configuration",
                "/oauth/.well-known/openid-configuration",
            )
        ]
        launched = must(
            house.login("p.pat-1").request("POST", "/oauth/launch", json={"patient": "pat-1"})
        )
        metadata = house.client.get("/fhir/metadata").json()
        refused = back(app.asks("p.pat-1", aud=fhir, scope="openid", code_challenge=""))

    access = read_claims(tokens["access_token"])
    assert {access["iss"], read_claims(tokens["id_token"])["iss"], answer["iss"], refused["iss"],
            *(document["issuer"] for document in documents),
            *(part["iss"] for part in introspected)} == {issuer}  # fmt: skip
    assert access["aud"] == introspected[0]["aud"] == fhir
    assert launched.json()["iss"] == metadata["implementation"]["url"] == fhir
    assert all(part["active"] for part in introspected)
    for document in documents:
        addresses = {name: value for name, value in document.items() if str(value)[:4] == "http"
                     and name != "user_access_brand_bundle"}  # fmt: skip
        assert all(value.startswith(issuer) for value in addresses.values()), addresses
    uris = metadata["rest"][0]["security"]["extension"][0]["extension"]
    assert all(uri["valueUri"].startswith(issuer) for uri in uris)


def test_a_token_of_one_address_is_none_of_another(tmp_path: Path) -> None:
    houses = [House(tmp_path / "data", address=BASE)]
    houses[0].invite()
    token = houses[0].token("doctor.a")
    houses.append(House(tmp_path / "data", address="https://records.example"))

    statuses = []
    for house in houses:
        with house.client:
            answer = house.client.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"})
            statuses.append(answer.status_code)

    assert statuses == [200, 401]
