"""What somebody tries who has a little: an app's token, a public key, a page left open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from ehr_gateway.oauth import authorize_request, refresh_tokens, revoke_endpoint
from tests.lib.gateway import House, must
from tests.lib.smart import App, back


def test_no_access_token_is_forged_with_what_is_public(furnished: House) -> None:
    whole = furnished.token("doctor.a")
    keys = furnished.gateway.keys
    kid = keys.access_token_key.kid
    claims = jwt.decode(whole, keys.verification_keys, algorithms=["ES256"]).claims
    public = keys.access_token_key.as_dict(private=False)

    def signed(header: dict[str, Any], key: Any) -> str:
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])

    typed = {"typ": "at+jwt", "kid": kid}
    stranger = ECKey.generate_key("P-256")
    forged = {
        "HS256 by the JWK": signed(
            {"alg": "HS256", **typed}, OctKey.import_key(json.dumps(public).encode())
        ),
        "HS256 by the x of the key": signed(
            {"alg": "HS256", **typed}, OctKey.import_key(str(public["x"]).encode())
        ),
        "another key under our name": signed({"alg": "ES256", **typed}, stranger),
        "a key of its own": signed(
            {"alg": "ES256", "typ": "at+jwt", "kid": "x", "jwk": stranger.as_dict(private=False)},
            stranger,
        ),
        "no name of a key": signed({"alg": "ES256", "typ": "at+jwt"}, keys.access_token_key),
        "another type": signed({"alg": "ES256", "typ": "JWT", "kid": kid}, keys.access_token_key),
        "the key of id tokens": signed(
            {"alg": "RS256", "typ": "at+jwt", "kid": keys.id_token_key.kid}, keys.id_token_key
        ),
    }
    for how, token in forged.items():
        headers = {"Authorization": f"Bearer {token}"}
        answer = furnished.client.get("/fhir/Observation/lab-1", headers=headers)
        assert answer.status_code == 401, how


def test_an_app_that_may_read_may_not_act_for_the_person(furnished: House) -> None:
    app = App(furnished, scope="patient/*.rs patient/Consent.cruds ehr/access").register(
        scope="patient/*.rs patient/Consent.cruds"
    )
    session = app.session(app.tokens("p.pat-1"))
    steps = ("$approve-access", "$refuse-access", "Patient/pat-1/$invite-carer", "$end-carer")
    for step in steps:
        body = {"resourceType": "Parameters", "parameter": []}
        answer = session.post(step, body)
        assert answer.status_code == 403, step
        assert "ehr/access" in answer.text
    assert session.get("$notices").status_code == 403
    assert furnished.login("p.pat-1").get("$notices").status_code == 200


def test_an_app_of_a_clinician_declares_no_emergency(furnished: House) -> None:
    furnished.share("hospital-b")
    app = App(furnished, scope="launch patient/*.rs user/*.rs").register()
    doctor = furnished.login("doctor.b")
    word = must(doctor.request("POST", "/oauth/launch", json={"patient": "pat-1"})).json()
    session = app.session(app.tokens("doctor.b", launch=word["launch"]))

    for step in ("Patient/pat-2/$declare-emergency", "Patient/pat-1/$request-access"):
        answer = session.post(step, {"resourceType": "Parameters", "parameter": []})
        assert answer.status_code == 403, step


def test_an_app_that_may_ask_nothing_is_told_to(app: App) -> None:
    assert back(app.asks("p.pat-1", prompt="none"))["error"] == "consent_required"


def test_a_page_that_was_sealed_for_one_thing_opens_no_other(app: App) -> None:
    page = app.asks("p.pat-1").text
    sealed = page.split('name="request" value="')[1].split('"')[0]

    for path in ("/oauth/login", "/oauth/eid"):
        assert app.house.client.get(path, params={"request": sealed}).status_code == 400
    form = {"request": sealed[:-3] + "abc", "decision": "allow"}
    assert app.house.client.post("/oauth/approve", data=form).status_code == 400
    assert app.house.client.post("/oauth/approve", data={"decision": "allow"}).status_code == 400


def test_nobody_approves_in_the_name_of_one_who_logged_out(app: App) -> None:
    page = app.asks("p.pat-1").text
    sealed = page.split('name="request" value="')[1].split('"')[0]
    values = authorize_request.unseal_request(app.house.gateway, sealed, "approval page")
    assert values is not None
    values["session"] = "ended"
    again = authorize_request.seal_request(app.house.gateway, values, "approval page")

    form = {"request": again, "decision": "allow"}
    assert app.house.client.post("/oauth/approve", data=form).status_code == 400


def test_an_app_that_is_deleted_meanwhile_gets_nothing(app: App) -> None:
    page = app.asks("p.pat-1").text
    sealed = page.split('name="request" value="')[1].split('"')[0]
    with app.house.gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM client WHERE id = 'app'")

    answer = app.house.client.post("/oauth/approve", data={"request": sealed, "decision": "allow"})

    assert answer.status_code == 400


def test_an_app_cannot_name_itself_as_the_platforms_own(furnished: House) -> None:
    app = App(furnished, "portal", scope="patient/*.rs")
    answer = app.asks("p.pat-1")
    assert answer.status_code == 400


def test_a_launch_is_on_record_for_the_patient(furnished: House) -> None:
    must(furnished.login("p.pat-1").request("POST", "/oauth/launch", json={"patient": "pat-1"}))

    events = must(furnished.login("p.pat-1").get("AuditEvent")).json()["entry"]

    assert any(one["resource"]["subtype"][0]["code"] == "launch" for one in events)


def test_a_code_that_is_replayed_while_it_is_used_gives_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, start = app.code("p.pat-1"), refresh_tokens.start_family

    def replayed(database: Any, grant: Any, *given: Any, **more: Any) -> Any:
        revoke_endpoint.revoke_family(app.house.gateway, grant.family)
        return start(database, grant, *given, **more)

    monkeypatch.setattr(refresh_tokens, "start_family", replayed)

    assert app.exchange(code).json()["error"] == "invalid_grant"


def test_what_is_signed_while_its_family_ends_does_not_hold(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(furnished, scope="launch/patient patient/*.rs offline_access").register()
    lasting, rotate = app.tokens("p.pat-1")["refresh_token"], refresh_tokens.rotate_refresh_token

    def ended(*given: Any, **more: Any) -> Any:
        found = rotate(*given, **more)
        assert found.grant is not None
        revoke_endpoint.revoke_family(furnished.gateway, found.grant.family)
        furnished.clock.forward(seconds=2)
        return found

    monkeypatch.setattr(refresh_tokens, "rotate_refresh_token", ended)

    session = app.session(must(app.refresh(lasting)).json())
    assert session.get("Observation/lab-1").status_code == 401
