"""From the app to the log-in, to the person's permission, and back with a token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.oauth import launch
from tests.lib.gateway import House, consent, must, patient
from tests.lib.smart import CALLBACK, FHIR, ISSUER, App, back, verified


def actor(reference: str) -> dict[str, Any]:
    """Return whom a Consent is for."""
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    role = {"coding": [{"system": system, "code": "IRCP"}]}
    return {"role": role, "reference": {"reference": reference}}


def test_a_patient_allows_an_app_which_then_reads_his_record_alone(app: App) -> None:
    page = app.asks("p.pat-1")
    assert "Do you allow An app?" in page.text
    assert "<li>Read: everything in the record that you may see</li>" in page.text

    answer = app.answered(page)
    tokens = must(app.exchange(answer["code"])).json()

    assert (answer["state"], answer["iss"]) == ("abc", ISSUER)
    assert tokens["patient"] == "pat-1"
    assert tokens["scope"].split()[-1] == "patient/*.rs"
    session = app.session(tokens)
    assert session.get("Observation/lab-1").status_code == 200
    assert session.get("Patient/pat-2").status_code == 404


def test_a_person_who_denies_sends_the_app_away_with_nothing(app: App) -> None:
    answer = app.answered(app.asks("p.pat-1"), decision="deny")

    assert answer["error"] == "access_denied"
    assert "code" not in answer


def test_the_page_asks_in_three_languages(app: App) -> None:
    for language, words in (("zh-Hant", "你是否允許"), ("zh-Hans", "你是否允许")):
        page = app.asks("p.pat-1", lang=language)
        assert words in page.text


def test_an_app_gets_no_scope_that_it_is_not_registered_for(app: App) -> None:
    scope = "launch/patient patient/*.cruds patient/Consent.cruds user/*.rs system/*.rs"

    tokens = app.tokens("p.pat-1", scope=scope)

    assert tokens["scope"] == "launch/patient patient/*.rs patient/Consent.rs"


def test_an_app_that_names_no_scope_gets_none(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope="openid")

    assert tokens["scope"] == "openid"
    assert app.session(tokens).get("Patient/pat-1").status_code in (403, 404)


def test_an_id_token_says_who_logged_in_when_and_how(app: App) -> None:
    tokens = app.tokens("p.pat-1", nonce="n-1")

    claims = verified(app.house, tokens["id_token"], "RS256")

    now = app.house.clock() // 1000
    assert claims["iss"] == ISSUER
    assert (claims["aud"], claims["sub"], claims["nonce"]) == ("app", "p.pat-1", "n-1")
    assert (claims["auth_time"], claims["amr"]) == (now, ["pwd", "otp"])
    assert claims["fhirUser"] == f"{FHIR}/Patient/pat-1"


def test_an_id_token_is_no_access_token(app: App) -> None:
    tokens = app.tokens("p.pat-1")

    stolen = app.session({"access_token": tokens["id_token"]})

    assert stolen.get("Patient/pat-1").status_code == 401


@pytest.fixture
def carer(furnished: House) -> House:
    """Let a carer act for the first patient, by that patient's Consent, and for a third one."""
    furnished.system("ehr-commons").store(patient("pat-3", "ZC1234566"))
    furnished.system("ehr-commons").store(
        {"resourceType": "RelatedPerson", "id": "cat", "patient": {"reference": "Patient/pat-1"}}
    )
    for one in ("pat-1", "pat-3"):
        provision = {"type": "permit", "actor": [actor("RelatedPerson/cat")]}
        body = consent(f"carer-{one}", "carer", patient=one, provision=provision)
        furnished.system("ehr-commons").store(body)
    accounts.add_account(furnished.gateway.store, Account("cat", "carer", "Cat", person="cat"))
    return furnished


def test_a_carer_chooses_whose_record_an_app_may_open(carer: House) -> None:
    app = App(carer).register()
    page = app.asks("cat")
    assert 'value="pat-1" checked' in page.text
    assert 'value="pat-3"' in page.text
    assert "pat-2" not in page.text

    tokens = must(app.exchange(app.answered(page, patient="pat-3")["code"])).json()

    assert tokens["patient"] == "pat-3"
    assert app.session(tokens).get("Patient/pat-3").status_code == 200
    assert app.session(tokens).get("Patient/pat-1").status_code == 404


def test_a_carer_cannot_choose_somebody_the_page_did_not_offer(carer: House) -> None:
    app = App(carer).register()
    page = app.asks("cat")
    sealed = page.text.split('name="request" value="')[1].split('"')[0]

    for other in ("pat-2", "", "nobody"):
        form = {"request": sealed, "decision": "allow", "patient": other}
        again = carer.client.post("/oauth/approve", data=form)
        assert again.status_code == 200
        assert "Whose record may it open?" in again.text


def test_a_carer_for_nobody_is_sent_back(furnished: House) -> None:
    accounts.add_account(furnished.gateway.store, Account("dan", "carer", "Dan"))

    assert back(App(furnished).register().asks("dan"))["error"] == "access_denied"


def test_a_clinician_without_an_open_record_is_refused_plainly(app: App) -> None:
    answer = back(app.asks("doctor.a"))

    assert answer["error"] == "access_denied"
    assert "Start the app from a patient's record" in answer["error_description"]


def launched(house: House, who: str = "doctor.a", **body: Any) -> Any:
    session = house.login(who)
    return session.request("POST", "/oauth/launch", json={"patient": "pat-1", **body})


EHR_APP = "openid fhirUser launch patient/Observation.rs patient/Patient.r user/Condition.rs"


@pytest.fixture
def ehr_app(furnished: House) -> App:
    """Return an app of clinicians in a house where pat-1 shares with both hospitals."""
    furnished.share("hospital-a")
    furnished.share("hospital-b")
    return App(furnished, scope=EHR_APP).register()


def test_a_clinician_launches_an_app_on_the_record_that_is_open(ehr_app: App) -> None:
    house = ehr_app.house
    minted = must(launched(house, encounter="enc-1", need_patient_banner=False)).json()
    assert minted["iss"] == FHIR

    tokens = ehr_app.tokens("doctor.a", launch=minted["launch"])

    assert (tokens["patient"], tokens["encounter"]) == ("pat-1", "enc-1")
    assert tokens["need_patient_banner"] is False
    style = tokens["smart_style_url"].removeprefix("http://testserver")
    assert "color_background" in house.client.get(style).json()
    assert tokens["scope"] == EHR_APP
    session = ehr_app.session(tokens)
    assert session.get("Observation/lab-1").status_code == 200
    claims = verified(house, tokens["id_token"], "RS256")
    assert claims["fhirUser"] == f"{FHIR}/Practitioner/doctor.a"


def test_a_launch_is_minted_beside_the_event_loop(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waits on the loop for the writer's turn waits for ever where the loop has it next.
    minted, on_the_loop = launch._create_launch, []

    def watched(*given: Any) -> Any:
        on_the_loop.append(asyncio._get_running_loop() is not None)
        return minted(*given)

    monkeypatch.setattr(launch, "_create_launch", watched)

    must(launched(furnished, "p.pat-1"))

    assert on_the_loop == [False]


def test_patient_scopes_of_a_launch_reach_that_patient_alone(ehr_app: App) -> None:
    house = ehr_app.house
    hospital = house.system("hospital-a")
    other = {**hospital.get("Observation/lab-2").json(), "id": "lab-9"}
    other["subject"] = {"reference": "Patient/pat-2"}
    hospital.store(other)
    word = must(launched(house)).json()["launch"]

    scope = "launch patient/Observation.rs"
    session = ehr_app.session(ehr_app.tokens("doctor.a", launch=word, scope=scope))

    assert house.login("doctor.a").get("Observation/lab-9").status_code == 200
    assert session.get("Observation/lab-9").status_code == 404
    assert "Observation/lab-9" not in session.ids("Observation")


def test_a_launch_is_good_once(ehr_app: App) -> None:
    word = must(launched(ehr_app.house)).json()["launch"]
    ehr_app.tokens("doctor.a", launch=word)

    assert back(ehr_app.asks("doctor.a", launch=word))["error"] == "access_denied"


def test_a_launch_is_good_for_five_minutes(ehr_app: App) -> None:
    word = must(launched(ehr_app.house)).json()["launch"]
    ehr_app.house.clock.forward(seconds=300)

    assert back(ehr_app.asks("doctor.a", launch=word))["error"] == "access_denied"


def test_a_launch_of_another_person_opens_nothing_and_stays_his(ehr_app: App) -> None:
    word = must(launched(ehr_app.house)).json()["launch"]

    assert back(ehr_app.asks("doctor.b", launch=word))["error"] == "access_denied"
    assert ehr_app.tokens("doctor.a", launch=word)["patient"] == "pat-1"


def test_a_launch_for_one_app_is_of_no_use_to_another(ehr_app: App) -> None:
    word = must(launched(ehr_app.house, client_id="app")).json()["launch"]
    other = App(ehr_app.house, "other", EHR_APP).register()

    assert back(other.asks("doctor.a", launch=word))["error"] == "access_denied"


def test_a_launch_needs_its_word_and_its_audience(ehr_app: App) -> None:
    assert back(ehr_app.asks("doctor.a"))["error"] == "invalid_request"
    word = must(launched(ehr_app.house)).json()["launch"]
    assert back(ehr_app.asks("doctor.a", launch=word, aud=""))["error"] == "invalid_request"
    elsewhere = ehr_app.asks("doctor.a", launch=word, aud="https://elsewhere.example/fhir")
    assert back(elsewhere)["error"] == "invalid_request"


def test_nobody_launches_on_a_record_he_may_not_see(furnished: House) -> None:
    hidden = launched(furnished, "doctor.b")
    absent = launched(furnished, "doctor.b", patient="nobody")

    assert (hidden.status_code, hidden.json()) == (absent.status_code, absent.json())
    assert hidden.status_code == 404


def test_a_launch_with_another_patients_encounter_is_refused(ehr_app: App) -> None:
    provision = {"type": "permit", "actor": [actor("Organization/hospital-a")]}
    body = consent("s2", "sharing", patient="pat-2", provision=provision)
    ehr_app.house.system("ehr-commons").store(body)

    assert launched(ehr_app.house, patient="pat-2").status_code == 201
    assert launched(ehr_app.house, patient="pat-2", encounter="enc-1").status_code == 404


def test_an_organisations_system_launches_for_its_own_staff_alone(ehr_app: App) -> None:
    system = ehr_app.house.system("hospital-a")
    body = {"patient": "pat-1", "user": "doctor.a"}

    minted = must(system.request("POST", "/oauth/launch", json=body)).json()
    foreign = system.request("POST", "/oauth/launch", json={**body, "user": "doctor.b"})

    assert ehr_app.tokens("doctor.a", launch=minted["launch"])["patient"] == "pat-1"
    assert foreign.status_code == 403
    assert launched(ehr_app.house, "doctor.b", user="doctor.a").status_code == 403


def test_an_app_reads_what_the_clinician_may_and_no_more(ehr_app: App) -> None:
    house = ehr_app.house
    word = must(house.login("doctor.b").request("POST", "/oauth/launch", json={"patient": "pat-1"}))
    session = ehr_app.session(ehr_app.tokens("doctor.b", launch=word.json()["launch"]))
    assert session.get("Condition/con-1").status_code == 200

    house.share("hospital-b", status="inactive")

    assert session.get("Condition/con-1").status_code == 404


def test_the_answer_goes_to_the_registered_address_letter_by_letter(app: App) -> None:
    for address in (
        f"{CALLBACK}/more", f"{CALLBACK}?x=1", f"{CALLBACK}#x", f"{CALLBACK}/../other",
        "https://app.example", "https://app.example.evil/callback", "http://app.example/callback",
        "https://APP.example/callback", "//app.example/callback", "",
    ):  # fmt: skip
        answer = app.asks("p.pat-1", redirect_uri=address)
        assert answer.status_code == 400, address
        assert "location" not in answer.headers


def test_a_form_may_ask_as_well_as_an_address(app: App) -> None:
    from ehr_gateway.oauth.authorization_codes import compute_challenge

    form = {
        "response_type": "code", "client_id": "app", "redirect_uri": CALLBACK, "scope": "openid",
        "aud": f"{FHIR}/", "code_challenge": compute_challenge(app.verifier),
        "code_challenge_method": "S256",
    }  # fmt: skip

    page = app.house.client.post("/oauth/authorize", data=form, headers={"X-Test-Login": "p.pat-1"})

    assert "code" in app.answered(page)
