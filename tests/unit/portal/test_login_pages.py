"""Log-in, sessions and log-out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

ISSUER = "http://testserver/oauth"


def test_login_sends_the_browser_to_the_gateway_with_a_pkce_challenge(portal: PortalHouse) -> None:
    away = portal.browser.get("/login").headers["location"]

    asked = {name: values[0] for name, values in parse_qs(urlsplit(away).query).items()}
    assert away.startswith("/oauth/authorize?")
    assert asked["client_id"] == "portal"
    assert asked["redirect_uri"] == "http://testserver/callback"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert len(asked["state"]) >= 32


@pytest.mark.parametrize(
    ("sent_by", "leads"),
    [("same-origin", "/oauth/authorize"), ("none", "/oauth/authorize"), ("cross-site", "/"),
     ("same-site", "/")],
)  # fmt: skip
def test_no_other_site_begins_a_log_in(portal: PortalHouse, sent_by: str, leads: str) -> None:
    answer = portal.browser.get("/login", headers={"Sec-Fetch-Site": sent_by})

    assert urlsplit(answer.headers["location"]).path == leads
    assert ("set-cookie" in answer.headers) == (leads != "/")


def test_a_log_in_that_was_not_begun_here_is_refused(portal: PortalHouse) -> None:
    portal.browser.get("/login")

    answer = portal.browser.get(
        "/callback", params={"code": "patient", "state": "made-up", "iss": ISSUER}
    )

    assert answer.headers["location"] == "/?ended=1"
    assert not any(request.url.path == "/oauth/token" for request in portal.fake.asked)


@pytest.mark.parametrize("iss", ["", "http://testserver", "https://other.example/oauth"])
def test_a_code_of_another_issuer_is_not_sent_on(portal: PortalHouse, iss: str) -> None:
    state = parse_qs(urlsplit(portal.browser.get("/login").headers["location"]).query)["state"][0]

    params = {"code": "patient", "state": state, "iss": iss}
    answer = portal.browser.get("/callback", params=params)

    assert answer.headers["location"] == "/?ended=1"
    assert not any(request.url.path == "/oauth/token" for request in portal.fake.asked)


def test_a_code_without_its_verifier_opens_nothing(portal: PortalHouse) -> None:
    state = parse_qs(urlsplit(portal.browser.get("/login").headers["location"]).query)["state"][0]
    portal.fake.challenges["patient"] = "the-challenge-of-another-browser"

    answer = portal.browser.get(
        "/callback", params={"code": "patient", "state": state, "iss": ISSUER}
    )

    assert answer.headers["location"] == "/?ended=1"
    assert portal.browser.get("/record").headers["location"] == "/?ended=1"


def test_the_session_gets_a_new_id_at_log_in(portal: PortalHouse) -> None:
    away = portal.browser.get("/login")
    before = portal.browser.cookies["session"]
    state = parse_qs(urlsplit(away.headers["location"]).query)["state"][0]

    portal.browser.get("/callback", params={"code": "patient", "state": state, "iss": ISSUER})

    after = portal.browser.cookies["session"]
    assert before != after
    old = portal.new_browser()
    old.cookies.set("session", before)
    assert old.get("/record").status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(portal: PortalHouse) -> None:
    cookie = portal.browser.get("/login").headers["set-cookie"].lower()

    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie


def test_over_https_the_cookie_is_bound_to_the_host() -> None:
    house = PortalHouse("https://portal.example")

    cookie = house.browser.get("/login").headers["set-cookie"]

    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie


def test_the_language_is_kept_under_a_name_bound_to_the_host() -> None:
    house = PortalHouse("https://ehr.example.test")

    kept = house.browser.get("/language/zh-Hans").headers["set-cookie"]

    assert kept.startswith("__Host-language=zh-Hans;")
    assert "Secure" in kept
    assert 'lang="zh-Hans"' in house.browser.get("/").text


def test_each_role_starts_at_its_own_page() -> None:
    first_pages = {
        "patient": "/home",
        "doctor": "/my-patients",
        "steward": "/overview",
        "researcher": "/projects",
    }
    for who, place in first_pages.items():
        assert PortalHouse().log_in(who).get("/").headers["location"] == place


def test_a_role_without_pages_is_told_so() -> None:
    house = PortalHouse()
    visitor = {**house.fake.people["researcher"], "role": "visitor"}
    house.fake.people = {**house.fake.people, "visitor": visitor}

    shown = house.log_in("visitor").get("/")

    assert shown.status_code == 200
    assert "There are no pages for your role here" in shown.text


def test_log_out_ends_the_session_on_the_server(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    kept = browser.cookies["session"]

    answer = portal.send("/sharing", "/logout")

    assert answer.headers["location"] == "/oauth/logout"
    thief = portal.new_browser()
    thief.cookies.set("session", kept)
    assert thief.get("/record").status_code == 303


def test_an_idle_session_ends_after_half_an_hour(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.now += 29 * 60
    assert browser.get("/record").status_code == 200

    portal.now += 31 * 60

    assert browser.get("/record").headers["location"] == "/?ended=1"


def test_a_busy_session_ends_after_eight_hours(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    for _ in range(24):
        portal.now += 20 * 60
        browser.get("/record")

    portal.now += 60

    assert browser.get("/record").headers["location"] == "/?ended=1"


def test_a_token_the_gateway_no_longer_takes_ends_the_session(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.failures = {"Patient": 401}

    assert browser.get("/record").headers["location"] == "/?ended=1"
    portal.fake.failures = {}
    assert browser.get("/record").status_code == 303


def test_a_copy_of_the_session_file_opens_no_session(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    house = PortalHouse(sessions=file)
    kept = house.log_in("patient").cookies["session"]

    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert kept.encode() not in held
    assert file.stat().st_mode & 0o077 == 0


def test_two_processes_share_sessions_through_the_file(tmp_path: Path) -> None:
    first = PortalHouse(sessions=tmp_path / "sessions.db")
    second = PortalHouse(sessions=tmp_path / "sessions.db")
    kept = first.log_in("patient").cookies["session"]

    second.browser.cookies.set("session", kept)

    assert second.browser.get("/record").status_code == 200


def test_a_full_disk_is_said_and_nothing_is_lost(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    sessions = portal.app.state.portal.sessions
    sessions._db.execute("PRAGMA query_only = ON")

    # Pages and choices go on; only log-ins cannot begin or end.
    assert browser.get("/sharing").status_code == 200
    assert browser.get("/who-looked").status_code == 200
    begun = portal.new_browser().get("/login")
    ended = portal.send("/sharing", "/logout")

    for answer in (begun, ended):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "no room left to keep log-ins" in answer.text
    assert "set-cookie" not in begun.headers
    assert "Max-Age=0" in ended.headers["set-cookie"]

    sessions._db.execute("PRAGMA query_only = OFF")
    assert portal.new_browser().get("/login").status_code in (302, 303, 307)
