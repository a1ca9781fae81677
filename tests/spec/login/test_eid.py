"""The electronic identity: another service that vouches for a person, by a code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from ehr_fhir.errors import Invalid, Unavailable
from ehr_gateway.accounts import accounts, eid_people
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.app import create_gateway
from ehr_gateway.login.eid import EidRefused, EidRequest, OAuthEid
from ehr_gateway.settings import GatewaySettings
from tests.lib.gateway import HKID, PIN, House
from tests.lib.loops import run
from tests.lib.visitor import Visitor, code_of


def at_simulator(house: House, visitor: Visitor) -> str:
    """Prove who one is; return the address that the simulator sends the browser to."""
    visitor.ask()
    leaving = visitor.get("/oauth/eid", request=visitor.field("request"))
    visitor.get(leaving.headers["location"])
    answer = visitor.send("/oauth/eid-simulator/authorize", hkid=HKID, pin=PIN)
    return str(answer.headers["location"])


def test_a_patient_logs_in_by_the_electronic_identity(house: House) -> None:
    visitor = Visitor(house)
    visitor.ask()

    token = visitor.exchange(code_of(visitor.eid())).json()

    assert token["patient"] == "pat-1"


def test_each_service_knows_a_person_by_another_id(house: House) -> None:
    database = house.gateway.store.database
    ours = eid_people.identify_person(database, HKID, PIN)
    another = eid_people.identify_person(database, HKID, PIN, "tax-office")

    assert ours
    assert another
    assert ours != another


def test_the_gateway_never_gets_the_hkid(house: House) -> None:
    visitor = Visitor(house)

    address = at_simulator(house, visitor)

    assert "123456" not in address
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT * FROM account").fetchall()
    assert "123456" not in str([tuple(row) for row in rows])


def test_a_code_of_the_provider_is_good_once(house: House) -> None:
    visitor = Visitor(house)
    address = at_simulator(house, visitor)
    first = visitor.get(address)

    assert code_of(first)
    assert visitor.get(address).status_code == 400


def test_a_code_is_not_taken_in_another_log_in(house: House) -> None:
    victim, attacker = Visitor(house), Visitor(house)
    stolen = parse_qs(urlsplit(at_simulator(house, victim)).query)["code"][0]
    own = at_simulator(house, attacker)
    mixed = own.replace(parse_qs(urlsplit(own).query)["code"][0], stolen)

    answer = attacker.get(mixed)

    assert answer.status_code == 401
    assert attacker.client.cookies.get("ehr-login") is None


def test_an_answer_begun_in_another_browser_is_refused(house: House) -> None:
    victim, attacker = Visitor(house), Visitor(house)
    planted = at_simulator(house, attacker)
    victim.ask()

    answer = victim.get(planted)

    assert answer.status_code == 400
    assert victim.client.cookies.get("ehr-login") is None


@pytest.mark.parametrize("iss", ["https://another.hk", ""])
def test_an_answer_of_another_provider_is_refused(house: House, iss: str) -> None:
    visitor = Visitor(house)
    query = {
        name: values[0]
        for name, values in parse_qs(urlsplit(at_simulator(house, visitor)).query).items()
    }

    answer = visitor.get("/oauth/eid/callback", **{**query, "iss": iss})

    assert answer.status_code == 400


def test_a_person_who_turns_back_may_log_in_another_way(house: House) -> None:
    visitor = Visitor(house)
    visitor.ask()
    leaving = visitor.get("/oauth/eid", request=visitor.field("request"))
    state = parse_qs(urlsplit(leaving.headers["location"]).query)["state"][0]

    answer = visitor.get(
        "/oauth/eid/callback", state=state, error="access_denied", iss=house.settings.base_url
    )

    assert answer.status_code == 200
    assert 'role="alert"' not in answer.text
    assert code_of(visitor.password())


def test_a_person_without_an_account_is_told_so(house: House) -> None:
    with house.gateway.store.write_transaction() as connection:
        eid_people.enrol_person(connection, eid_people.prepare_enrolment("ZC1234566", PIN))
    visitor = Visitor(house)
    visitor.ask()

    answer = visitor.eid(hkid="ZC1234566")

    assert answer.status_code == 401
    assert "There is no account here" in answer.text


def test_who_has_several_accounts_by_the_same_identity_chooses(house: House) -> None:
    database = house.gateway.store.database
    carer = Account("c.one", "carer", "Patient One")
    accounts.add_account(database, carer, identity_number=HKID, pin=PIN)
    visitor = Visitor(house)
    visitor.ask()

    page = visitor.eid()
    answer = visitor.send("/oauth/login/account", account="c.one")

    assert "For which account" in page.text
    assert visitor.exchange(code_of(answer)).json()["ehr"]["role"] == "carer"


def test_the_simulator_gives_a_code_to_our_address_alone(house: House) -> None:
    visitor = Visitor(house)
    visitor.ask()
    leaving = visitor.get("/oauth/eid", request=visitor.field("request")).headers["location"]

    for change in ("redirect_uri=https://evil.hk", "client_id=nobody", "response_type=token"):
        assert visitor.get(f"{leaving}&{change}").status_code == 400


def test_the_token_endpoint_of_the_simulator_knows_its_service(house: House) -> None:
    form = {"client_id": "ehr-commons", "client_secret": "guess", "code": "x"}

    answer = house.client.post("/oauth/eid-simulator/token", data=form)

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


def test_without_enrolled_people_there_is_no_simulator_to_choose(house: House) -> None:
    with house.gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM eid_person")

    assert 'id="eid"' not in Visitor(house).ask().text


def test_two_settings_put_another_provider_in_the_simulators_place(house: House) -> None:
    settings = replace(
        house.settings,
        eid_authorize_url="https://eid.hk/auth",
        eid_token_url="https://eid.hk/token",
        eid_client_id="hospital-group",
    )
    app = create_gateway(settings, clock=house.clock, store=house.gateway.store)
    visitor = Visitor(house, app=app)
    visitor.ask()

    leaving = visitor.get("/oauth/eid", request=visitor.field("request"))

    assert leaving.headers["location"].startswith("https://eid.hk/auth?")
    assert "client_id=hospital-group" in leaving.headers["location"]
    assert visitor.get("/oauth/eid-simulator/authorize").status_code == 404


@pytest.mark.parametrize("address", ["http://eid.hk/auth", "eid.hk", "https://"])
def test_a_provider_is_reached_by_https_alone(tmp_path: Path, address: str) -> None:
    with pytest.raises(Invalid):
        GatewaySettings(tmp_path, eid_authorize_url=address, eid_token_url="https://eid.hk/token")


ASKED = EidRequest("state", "https://here.hk/cb", "v" * 43, force_login=True)


def provider(answer: httpx.Response) -> OAuthEid:
    return OAuthEid(
        "https://eid.hk/auth", "https://eid.hk/token", "us", "secret",
        transport=httpx.MockTransport(lambda request: answer),
    )  # fmt: skip


def test_another_provider_is_asked_to_prove_a_person_anew_before_a_sensitive_act() -> None:
    address = provider(httpx.Response(200)).authorization_url(ASKED)

    query = parse_qs(urlsplit(address).query)
    assert address.startswith("https://eid.hk/auth?")
    assert query["prompt"] == ["login"]
    assert query["scope"] == ["eidapi_auth"]
    assert query["code_challenge_method"] == ["S256"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400, json={"error": "invalid_grant"}),
        httpx.Response(400, json={"openID": "abc"}),
        httpx.Response(200, json={"openID": ""}),
        httpx.Response(200, json={"openID": 7}),
        httpx.Response(200, json=[]),
        httpx.Response(200, text="<html>"),
    ],
)
def test_an_answer_that_vouches_for_nobody_is_refused(answer: httpx.Response) -> None:
    with pytest.raises(EidRefused):
        run(provider(answer).redeem_code("code", ASKED))


def test_a_provider_that_fails_is_not_the_persons_fault() -> None:
    with pytest.raises(Unavailable):
        run(provider(httpx.Response(503)).redeem_code("code", ASKED))


def test_a_provider_that_does_not_answer_is_told_to_the_operator(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    class Down:
        """A provider that sends people back and then does not answer."""

        issuer = ""

        def authorization_url(self, asked: EidRequest) -> str:
            return f"/back?{urlencode({'state': asked.state})}"

        async def redeem_code(self, code: str, asked: EidRequest) -> str:
            raise Unavailable("Nobody answers.")

    house.app.state.eid = Down()
    visitor = Visitor(house)
    visitor.ask()
    leaving = visitor.get("/oauth/eid", request=visitor.field("request"))
    state = parse_qs(urlsplit(leaving.headers["location"]).query)["state"][0]

    page = visitor.get("/oauth/eid/callback", state=state, code="abc")

    assert page.status_code == 401
    assert not visitor.logged_in()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the electronic identity did not answer"
    ]
