"""Apps in the house: approved by a steward, offered to roles, launched on a record, taken back."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorization_codes import Grant
from ehr_gateway.oauth.refresh_tokens import start_family
from tests.lib.gateway import House, Session, must
from tests.lib.smart import CALLBACK, JWT_BEARER, App, back
from tests.spec.access.steps import send

VITALS = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
SCOPE = f"launch openid fhirUser patient/Patient.r patient/Observation.rs?category={VITALS}"


def parameters(answer: Any) -> list[dict[str, Any]]:
    """Return the parts of each app that an operation tells of, by name; repeated ones as lists."""
    apps = []
    for one in must(answer).json().get("parameter", ()):
        app: dict[str, Any] = {"asks": [], "may": [], "role": []}
        for part in one["part"]:
            content = next(value for name, value in part.items() if name.startswith("value"))
            if isinstance(app.get(part["name"]), list):
                app[part["name"]].append(content)
            else:
                app[part["name"]] = content
        apps.append(app)
    return apps


def decide(session: Session, client: str, decision: str, *roles: str) -> Any:
    """Decide about an app."""
    return session.post(
        "$decide-app",
        {
            "resourceType": "Parameters",
            "parameter": [
                {"name": "client", "valueString": client},
                {"name": "decision", "valueCode": decision},
                {"name": "reason", "valueString": "Looked at by the committee of apps."},
                *({"name": "role", "valueCode": role} for role in roles),
            ],
        },
    )


@pytest.fixture
def chart(furnished: House) -> App:
    """Return an app for charts that waits, of a house that shares its first record."""
    furnished.share()
    return App(furnished, client="chart", scope=SCOPE).register(
        approval=clients.WAITING, launch_uri="https://app.example/launch"
    )


def launched(app: App, who: str, **fields: Any) -> Any:
    body = {"patient": "pat-1", "client_id": app.client, **fields}
    return app.house.login(who).request("POST", "/oauth/launch", json=body)


def tokens_of(app: App, who: str, **fields: Any) -> dict[str, Any]:
    """Launch the app on the first record, and allow it."""
    handle = must(launched(app, who, **fields)).json()["launch"]
    return app.tokens(who, launch=handle)


def test_a_steward_approves_an_app_and_only_then_it_is_offered_and_logged_in_to(
    chart: App,
) -> None:
    doctor, steward = chart.house.login("doctor.b"), chart.house.login("steward")
    assert parameters(doctor.get("$apps")) == []
    assert "not approved" in chart.asks("doctor.b").text
    assert launched(chart, "doctor.b").status_code == 404
    waiting = {one["client"]: one["approval"] for one in parameters(steward.get("$apps"))}
    assert waiting == {"chart": "waiting", "growth-chart": "waiting"}
    assert decide(doctor, "chart", "approve", "clinician").status_code == 403

    must(decide(steward, "chart", "approve", "clinician"))

    (offered,) = parameters(doctor.get("$apps?language=zh-HK"))
    assert offered["launch-uri"] == "https://app.example/launch"
    assert offered["asks"][0] == "知道你是誰"
    assert "by" not in offered
    (decided,) = [one for one in parameters(steward.get("$apps")) if one["client"] == "chart"]
    assert (decided["role"], decided["by"]) == (["clinician"], "steward")
    assert chart.session(tokens_of(chart, "doctor.b")).get("Patient/pat-1").status_code == 200
    assert parameters(chart.house.login("p.pat-1").get("$apps")) == []
    assert back(chart.asks("p.pat-1", scope="openid"))["error"] == "access_denied"


def test_a_refusal_ends_what_the_app_had_at_the_next_request(chart: App) -> None:
    steward = chart.house.login("steward")
    must(decide(steward, "chart", "approve", "clinician"))
    tokens = tokens_of(chart, "doctor.b")
    page = chart.asks("doctor.b", launch=launched(chart, "doctor.b").json()["launch"])

    must(decide(steward, "chart", "refuse"))

    assert chart.session(tokens).get("Patient/pat-1").status_code == 401
    assert "launch" not in launched(chart, "doctor.b").json()
    sealed = page.text.split('name="request" value="')[1].split('"')[0]
    form = {"request": sealed, "decision": "allow"}
    assert chart.house.client.post("/oauth/approve", data=form).status_code == 400


def test_no_permission_begins_while_the_app_is_refused_or_closed_to_the_role(chart: App) -> None:
    steward, store = chart.house.login("steward"), chart.house.gateway.store
    grant = Grant("chart", "doctor.b", CALLBACK, "", "launch", "family-1")
    must(decide(steward, "chart", "approve", "clinician"))
    assert start_family(store, grant, chart.house.clock()) is not None

    for roles in ((), ("patient",)):
        must(decide(steward, "chart", "approve" if roles else "refuse", *roles))

        assert start_family(store, replace(grant, family="family-2"), chart.house.clock()) is None


def test_an_app_whose_role_is_taken_away_keeps_no_token_of_it(chart: App) -> None:
    steward = chart.house.login("steward")
    must(decide(steward, "chart", "approve", "clinician", "patient"))
    tokens = tokens_of(chart, "doctor.b")

    must(decide(steward, "chart", "approve", "patient"))

    assert chart.session(tokens).get("Patient/pat-1").status_code == 401
    assert launched(chart, "doctor.b").status_code == 404


def test_an_app_that_was_open_to_all_is_closed_to_whom_a_steward_does_not_offer_it(
    furnished: House,
) -> None:
    app = App(furnished).register()
    tokens = app.tokens("p.pat-1")

    must(decide(furnished.login("steward"), "app", "approve", "clinician"))

    assert app.session(tokens).get("Patient/pat-1").status_code == 401
    assert app.refresh(tokens["refresh_token"]).status_code == 400


@pytest.mark.parametrize("way", ["refused", "suspended"])
def test_a_program_that_was_refused_or_suspended_asks_of_no_token(
    furnished: House, way: str
) -> None:
    token = App(furnished).register().tokens("p.pat-1")["access_token"]
    server = App(furnished, "server", "ehr/introspect", secret="a secret of a server").register(
        auth_method="client_secret_basic"
    )
    bearer = must(server.token({"grant_type": "client_credentials"})).json()["access_token"]
    headers = {"Authorization": f"Bearer {bearer}"}

    def ask() -> list[Any]:
        by_token = furnished.client.post(
            "/oauth/introspect", data={"token": token}, headers=headers
        )
        return [server.post("introspect", {"token": token}), by_token]

    assert [one.json()["active"] for one in ask()] == [True, True]
    steward = furnished.login("steward")
    if way == "refused":
        must(decide(steward, "server", "refuse"))
    else:
        named = {"kind": "client", "subject": "server", "reason": "Asked of every token at night."}
        must(send(steward, "$suspend", **named))

    assert [one.status_code for one in ask()] == [403, 401]


@pytest.mark.parametrize("client", ["a\0b", "a\ud800"])
def test_a_client_id_that_no_database_takes_is_of_nobody(furnished: House, client: str) -> None:
    def encode(part: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    assertion = f"{encode({'alg': 'ES384', 'kid': 'k'})}.{encode({'iss': client})}.AA"
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": assertion,
    }

    assert furnished.client.post("/oauth/token", data=form).status_code == 401


def test_a_decision_is_told_of_the_app_that_it_was_about(furnished: House) -> None:
    App(furnished, client="chart").register()
    steward = furnished.login("steward")
    must(decide(steward, "chart", "approve", "patient"))

    App(furnished, client="chart", scope="openid user/*.cruds").register()

    (app,) = [one for one in parameters(steward.get("$apps")) if one["client"] == "chart"]
    assert app["scope"] == "openid user/*.cruds"
    assert {"by", "reason", "decided"}.isdisjoint(app)


def test_an_app_sees_what_the_scopes_name_and_consent_opens_and_nothing_else(chart: App) -> None:
    house = chart.house
    must(decide(house.login("steward"), "chart", "approve", "clinician"))

    tokens = tokens_of(chart, "doctor.b", need_patient_banner=True)

    assert (tokens["patient"], tokens["need_patient_banner"]) == ("pat-1", True)
    app = chart.session(tokens)
    assert app.get("Patient/pat-1").status_code == 200
    # A result of the laboratory is no vital sign.
    assert app.get("Observation/lab-1").status_code == 404
    assert app.get("Encounter/enc-1").status_code == 403
    assert app.get("Observation?patient=pat-1").status_code == 200

    house.share(status="inactive")

    assert app.get("Patient/pat-1").status_code == 404
    assert launched(chart, "doctor.b").status_code == 404


def test_an_emergency_of_the_person_opens_nothing_to_an_app(furnished: House) -> None:
    App(furnished, client="chart", scope="launch patient/*.rs").register()
    doctor = furnished.login("doctor.b")
    assert doctor.get("Patient/pat-1").status_code == 404
    reason = {"name": "reason", "valueString": "Unconscious, brought in by ambulance."}
    body = {"resourceType": "Parameters", "parameter": [reason]}
    must(doctor.post("Patient/pat-1/$declare-emergency", body))
    assert doctor.get("Observation/lab-1").status_code == 200

    launch = {"patient": "pat-1", "client_id": "chart"}
    refused = doctor.request("POST", "/oauth/launch", json=launch)

    assert refused.status_code == 404


def test_an_app_of_before_an_emergency_sees_no_more_by_it(chart: App) -> None:
    house = chart.house
    must(decide(house.login("steward"), "chart", "approve", "clinician"))
    app = chart.session(tokens_of(chart, "doctor.b"))
    assert app.get("Patient/pat-1").status_code == 200
    house.share(status="inactive")
    assert app.get("Patient/pat-1").status_code == 404
    reason = {"name": "reason", "valueString": "Unconscious, brought in by ambulance."}
    body = {"resourceType": "Parameters", "parameter": [reason]}

    doctor = house.login("doctor.b")
    must(doctor.post("Patient/pat-1/$declare-emergency", body))

    assert doctor.get("Patient/pat-1").status_code == 200
    assert app.get("Patient/pat-1").status_code == 404


def test_what_else_was_open_comes_along_if_it_is_of_the_record_and_visible(chart: App) -> None:
    must(decide(chart.house.login("steward"), "chart", "approve", "clinician"))
    context = [{"reference": "Observation/lab-1"}]

    assert tokens_of(chart, "doctor.b", fhirContext=context)["fhirContext"] == context
    for wrong, status in (
        ([{"reference": "Observation/nobody"}], 404),
        ([{"reference": "Patient/pat-2"}], 400),
        ("Observation/lab-1", 400),
    ):
        assert launched(chart, "doctor.b", fhirContext=wrong).status_code == status


def test_a_person_sees_what_they_allowed_and_takes_it_back(furnished: House) -> None:
    app = App(furnished).register()
    tokens = app.tokens("p.pat-1")
    patient = furnished.login("p.pat-1")
    (allowed,) = parameters(patient.get("$connected-apps"))
    assert allowed["name"] == "An app"
    assert "Read: everything in the record that you may see" in allowed["may"]
    taken = {"resourceType": "Parameters",
             "parameter": [{"name": "app", "valueString": allowed["id"]}]}  # fmt: skip
    assert furnished.login("p.pat-2").post("$disconnect-app", taken).status_code == 404

    must(patient.post("$disconnect-app", taken))

    assert app.session(tokens).get("Patient/pat-1").status_code == 401
    assert app.refresh(tokens["refresh_token"]).json() == {"error": "invalid_grant"}
    assert parameters(patient.get("$connected-apps")) == []


def test_an_app_that_registered_itself_waits_and_one_with_an_invitation_does_not(
    furnished: House,
) -> None:
    object.__setattr__(furnished.gateway.settings, "registration", "open")
    metadata = {
        "client_name": "Self made",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "initiate_login_uri": "https://app.example/launch",
    }

    answer = must(furnished.client.post("/oauth/register", json=metadata)).json()

    assert answer["initiate_login_uri"] == "https://app.example/launch"
    listed = parameters(furnished.login("steward").get("$apps"))
    assert [one["approval"] for one in listed if one["client"] == answer["client_id"]] == [
        "waiting"
    ]
    app = App(furnished, client=answer["client_id"])
    assert "not approved" in app.asks("p.pat-1").text
    wrong = {**metadata, "initiate_login_uri": "http://app.example/launch"}
    assert furnished.client.post("/oauth/register", json=wrong).status_code == 400
