"""Log-in sessions: kept on the server, rotated, limited in time, listed, ended."""

from __future__ import annotations

import re

import pytest

from ehr_gateway.login import account_lifecycle
from ehr_gateway.login.account_change_pages import ACTS
from tests.lib.gateway import House
from tests.lib.visitor import Visitor, at_address, code_of


def test_who_is_logged_in_is_not_asked_again(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    answer = visitor.ask()

    assert visitor.exchange(code_of(answer)).json()["ehr"]["person"] == "doctor.a"


def test_prompt_login_asks_again_and_prompt_none_never_asks(house: House) -> None:
    visitor = Visitor(house)

    refused = visitor.ask(prompt="none")
    visitor.log_in()

    assert "error=login_required" in refused.headers["location"]
    assert "state=abc" in refused.headers["location"]
    assert code_of(visitor.ask(prompt="none"))
    assert visitor.ask(prompt="login").status_code == 200


@pytest.mark.parametrize(("age", "asked"), [(59, False), (61, True)])
def test_a_log_in_older_than_max_age_is_asked_again(house: House, age: int, asked: bool) -> None:
    visitor = Visitor(house)
    visitor.log_in()
    house.clock.forward(seconds=age)

    assert (visitor.ask(max_age="60").status_code == 200) is asked


@pytest.mark.parametrize("age", ["²", "9" * 5000, "-1", "1.5", "x", "60\n"])
def test_a_max_age_that_is_no_number_of_seconds_is_refused(house: House, age: str) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    answer = visitor.ask(max_age=age)

    assert answer.status_code == 303
    assert "error=invalid_request" in answer.headers["location"]


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(house: House) -> None:
    idle, used = Visitor(house), Visitor(house)
    for visitor in (idle, used):
        visitor.log_in()

    for _ in range(19):
        house.clock.forward(seconds=1500)
        assert used.ask().status_code == 303
    house.clock.forward(seconds=301)

    assert idle.ask().status_code == 200
    assert used.ask().status_code == 200


def test_log_in_rotates_the_cookie_and_an_old_one_opens_nothing(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()
    stolen = visitor.client.cookies["ehr-login"]

    visitor.log_in()

    assert visitor.client.cookies["ehr-login"] != stolen
    thief = Visitor(house)
    thief.client.cookies.set("ehr-login", stolen)
    assert thief.ask().status_code == 200


def test_a_cookie_that_somebody_planted_is_never_a_session(house: House) -> None:
    visitor = Visitor(house)
    planted = "A" * 43
    visitor.client.cookies.set("ehr-login", planted)

    visitor.log_in()

    other = Visitor(house)
    other.client.cookies.set("ehr-login", planted)
    assert other.ask().status_code == 200


def test_cookies_demand_https_where_there_is_https(house: House) -> None:
    visitor = Visitor(house, app=at_address(house, "https://testserver"))
    visitor.ask()

    answer = visitor.password()

    cookies = answer.headers.get_list("set-cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {
        "__Host-ehr-login",
        "__Host-ehr-browser",
    }
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "Path=/" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" in cookie
        assert "Domain" not in cookie
    assert visitor.ask().status_code == 303


def test_the_database_holds_no_cookie(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT * FROM login_session").fetchall()

    assert visitor.client.cookies["ehr-login"] not in str([tuple(row) for row in rows])


def test_a_person_sees_their_sessions_and_ends_one_of_them(house: House) -> None:
    phone, desk = Visitor(house), Visitor(house)
    phone.client.headers["User-Agent"] = "Mozilla/5.0 (iPhone) Version/18 Safari/605"
    desk.client.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) Chrome/140 Safari/537"
    phone.log_in()
    desk.log_in()

    listed = desk.get("/oauth/account").text
    shown = desk.field("session", "/oauth/account/sessions/end")
    marked = desk.field("csrf", "/oauth/account/sessions/end")
    desk.change("/oauth/account/sessions/end", session=shown, csrf=marked)

    assert "Safari, iPhone" in listed
    assert "Chrome, Linux" in listed
    assert phone.ask().status_code == 200
    assert desk.ask().status_code == 303


def test_all_other_sessions_end_at_once(house: House) -> None:
    others = [Visitor(house) for _ in range(3)]
    for one in others:
        one.log_in()
    visitor = Visitor(house)
    visitor.log_in()
    visitor.get("/oauth/account")

    visitor.change("/oauth/account/sessions/end", session="")

    assert [one.ask().status_code for one in others] == [200, 200, 200]
    assert visitor.ask().status_code == 303


def test_nobody_ends_the_session_of_another_account(house: House) -> None:
    patient, doctor = Visitor(house), Visitor(house)
    patient.ask()
    assert code_of(patient.eid())
    with house.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT id FROM login_session WHERE login = 'p.pat-1'")
        session = row.fetchone()[0]
    doctor.log_in()
    doctor.get("/oauth/account")

    doctor.change("/oauth/account/sessions/end", session=session)

    assert patient.ask().status_code == 303


def test_after_log_out_the_cookie_opens_nothing_and_what_was_issued_is_refused(
    house: House,
) -> None:
    visitor = Visitor(house)
    token = visitor.exchange(visitor.log_in()).json()["access_token"]
    stolen = dict(visitor.client.cookies)
    fhir = {"Authorization": f"Bearer {token}"}
    before = visitor.client.get("/fhir/Organization", headers=fhir)
    visitor.get("/oauth/account")

    visitor.change("/oauth/logout")

    assert before.status_code == 200
    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
    thief = Visitor(house)
    thief.client.cookies.update(stolen)
    assert thief.ask().status_code == 200
    assert not visitor.logged_in()


def test_a_code_from_before_the_log_out_gives_nothing_after_it(house: House) -> None:
    visitor = Visitor(house)
    code = visitor.log_in()
    visitor.get("/oauth/account")
    visitor.change("/oauth/logout")

    answer = visitor.exchange(code)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_log_out_asks_unless_our_own_page_sent_the_browser(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    asked = visitor.get("/oauth/logout")
    still = visitor.ask().status_code
    visitor.client.get("/oauth/logout", headers={"Sec-Fetch-Site": "same-origin"})

    assert "Do you want to log out?" in asked.text
    assert still == 303
    assert visitor.ask().status_code == 200


def test_disabling_an_account_ends_its_sessions_and_its_tokens_at_once(house: House) -> None:
    visitor = Visitor(house)
    token = visitor.exchange(visitor.log_in()).json()["access_token"]
    fhir = {"Authorization": f"Bearer {token}"}
    house.clock.forward(seconds=2)

    account_lifecycle.disable_account(house.gateway, "doctor.a")

    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
    assert visitor.ask().status_code == 200
    assert visitor.password().status_code == 401
    account_lifecycle.enable_account(house.gateway, "doctor.a")
    assert visitor.ask().status_code == 200


def test_a_form_from_elsewhere_changes_nothing(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    for path in (
        "/oauth/account/totp",
        "/oauth/account/totp/confirm",
        "/oauth/account/totp/remove",
        "/oauth/account/password",
        "/oauth/account/passkeys",
        "/oauth/account/passkeys/remove",
        "/oauth/account/sessions/end",
        "/oauth/account/again",
        "/oauth/logout",
        "/oauth/accounts",
        "/oauth/accounts/search",
        *(f"/oauth/accounts/change/{act}" for act in ACTS),
    ):
        for csrf in ("", "0" * 64, visitor.csrf("/oauth/another/page")):
            answer = visitor.client.post(path, data={"csrf": csrf})
            assert answer.status_code == 403, (path, csrf)
    assert visitor.ask().status_code == 303


def test_a_log_in_form_of_another_browser_is_refused(house: House) -> None:
    attacker, victim = Visitor(house), Visitor(house)
    attacker.ask()
    victim.ask()

    answer = victim.send("/oauth/login", request=attacker.field("request"), login="doctor.a")

    assert answer.status_code == 400


def test_no_page_of_a_log_in_works_after_log_out(house: House) -> None:
    visitor = Visitor(house)
    visitor.ask()
    kept = visitor.field("request")
    visitor.password()
    visitor.get("/oauth/account")
    visitor.change("/oauth/logout")

    answer = visitor.client.post("/oauth/login/on", data={"request": kept})

    assert answer.status_code == 400


def test_a_change_of_how_one_logs_in_needs_a_recent_log_in(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()
    visitor.get("/oauth/account")
    csrf = visitor.csrf("/oauth/account/totp")
    house.clock.forward(seconds=601)

    answer = visitor.client.post("/oauth/account/totp", data={"csrf": csrf})

    assert 'id="secret"' not in answer.text
    assert 'name="password"' in answer.text
    assert "Log in again" in visitor.get("/oauth/account").text
    assert 'action="/oauth/account/totp' not in visitor.page.text


def test_who_logs_in_again_for_the_account_page_comes_back_to_it(house: House) -> None:
    visitor = Visitor(house)

    visitor.get("/oauth/account")
    answer = visitor.password()

    assert answer.headers["location"] == "/oauth/account"
    assert 'id="logout"' in visitor.get("/oauth/account").text


def test_the_pages_cannot_be_framed_and_are_not_stored(house: House) -> None:
    visitor = Visitor(house)
    pages = [visitor.ask(), visitor.get("/oauth/account")]
    visitor.log_in()
    pages += [visitor.get("/oauth/account"), visitor.get("/oauth/logout")]

    for page in pages:
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?! src=\"/oauth/static/passkey.js\")", page.text)


def test_who_logs_in_after_somebody_else_closes_what_that_one_opened(house: House) -> None:
    visitor = Visitor(house)
    token = visitor.exchange(visitor.log_in()).json()["access_token"]
    fhir = {"Authorization": f"Bearer {token}"}
    visitor.ask(prompt="login")

    other = visitor.exchange(code_of(visitor.eid())).json()

    assert other["patient"] == "pat-1"
    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
