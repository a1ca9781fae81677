"""The log-in pages look as the reader chose, and keep what they choose there."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from ehr_gateway.accounts import sessions
from tests.lib.gateway import House
from tests.lib.visitor import Visitor, at_address

SETTINGS = 'lang="zh-Hans" data-theme="dark" data-text-size="large"'


@pytest.fixture
def visitor(house: House) -> Visitor:
    """Return somebody who chose in the portal."""
    visitor = Visitor(house)
    for name, value in (("theme", "dark"), ("text-size", "large"), ("language", "zh-Hans")):
        visitor.client.cookies.set(name, value)
    return visitor


def test_every_page_of_a_log_in_looks_as_chosen_in_the_portal(visitor: Visitor) -> None:
    pages = [visitor.ask(), visitor.password(password="wrong"), visitor.get("/oauth/account")]
    visitor.ask()
    visitor.password()
    pages += [visitor.get("/oauth/account"), visitor.get("/oauth/display")]
    pages += [visitor.get("/oauth/approve"), visitor.get("/oauth/eid-simulator/authorize")]

    assert [page.text.count(SETTINGS) for page in pages] == [1] * len(pages)


def test_a_language_chosen_at_the_log_in_is_kept_for_the_portal(house: House) -> None:
    visitor = Visitor(house)
    page = visitor.ask().text
    link = next(
        part for part in page.split('href="') if "language%3Dzh" in part or "=zh-Hant" in part
    )
    address = link.split('"')[0].replace("&amp;", "&")

    answer = visitor.get(address)

    assert answer.status_code == 303
    assert visitor.client.cookies["language"] == "zh-Hant-HK"
    back = visitor.get(answer.headers["location"].split("#")[0])
    assert '<html lang="zh-Hant-HK"' in back.text
    # The log-in that was begun goes on.
    assert visitor.password().status_code == 303


def test_the_settings_of_a_portal_at_another_origin_arrive_with_its_request(house: House) -> None:
    visitor = Visitor(house)

    page = visitor.ask(ehr_theme="contrast", ehr_text_size="larger", ui_locales="zh-Hans")

    assert 'lang="zh-Hans" data-theme="contrast" data-text-size="larger"' in page.text
    assert 'data-theme="contrast"' in visitor.get("/oauth/account").text


def test_what_a_reader_chose_goes_before_what_a_request_asks(visitor: Visitor) -> None:
    assert SETTINGS.split(" ", 1)[1] in visitor.ask(ehr_theme="contrast").text
    assert visitor.client.cookies["theme"] == "dark"


def test_a_made_up_setting_changes_nothing(house: House) -> None:
    page = Visitor(house).ask(ehr_theme='"><script>', ehr_text_size="huge").text

    assert "data-theme" not in page
    assert "data-text-size" not in page


def test_the_form_keeps_the_choices_and_leads_back_to_the_log_in(house: House) -> None:
    visitor = Visitor(house)
    token = visitor.ask() and visitor.field("request")
    back = f"/oauth/login?request={token}&lang=en"

    saved = visitor.get(
        "/oauth/display/save", **{"theme": "dark", "language": "zh-Hans", "back": back}
    )
    shown = visitor.get(saved.headers["location"].split("#")[0])

    assert '<html lang="zh-Hans" data-theme="dark"' in shown.text
    assert shown.text.count("checked") == 3
    location = parse_qs(urlsplit(saved.headers["location"]).query)["back"][0]
    assert location == back.replace("lang=en", "lang=zh-Hans")
    assert visitor.get(location).status_code == 200


@pytest.mark.parametrize(
    "back",
    ["https://evil.example/", "//evil.example/oauth/", "/oauth/../x", "/oauth/login\r\nX: y",
     "/record", "/oauth/login#x", ""],
)  # fmt: skip
def test_the_way_back_is_a_page_of_the_log_in(house: House, back: str) -> None:
    visitor = Visitor(house)

    answers = [visitor.get(f"/oauth/display/{what}", back=back, language="en")
               for what in ("save", "language")]  # fmt: skip

    for answer in answers:
        path = urlsplit(answer.headers["location"])
        assert (path.scheme, path.netloc) == ("", "")
        assert "evil" not in answer.headers["location"]
    assert urlsplit(answers[1].headers["location"]).path == "/oauth/account"


def test_behind_https_the_choices_are_bound_to_the_host(house: House) -> None:
    visitor = Visitor(house, app=at_address(house, "https://ehr.test"))

    answer = visitor.get("/oauth/display/save", theme="dark")

    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 3
    assert all(cookie.startswith("__Host-") and "Secure" in cookie for cookie in cookies)


def test_a_change_of_language_on_the_page_that_asks_does_not_log_out(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    visitor.client.headers["sec-fetch-site"] = "same-origin"
    visitor.get("/oauth/logout", lang="zh-Hans")

    assert visitor.logged_in()


def test_a_form_may_lead_to_the_app_that_asked_and_nowhere_else(house: House) -> None:
    """Browsers apply form-action to the redirect that follows a form as well."""
    policy = Visitor(house).ask().headers["content-security-policy"]

    assert "form-action 'self' http://" in policy
    elsewhere = Visitor(house).get("/oauth/account").headers["content-security-policy"]
    assert elsewhere.endswith("form-action 'self'")


def test_sessions_that_look_alike_are_one_row_and_end_together(house: House) -> None:
    for agent in ["Firefox/1 Linux"] * 4 + ["Chrome/1 Windows"]:
        other = Visitor(house)
        other.client.headers["user-agent"] = agent
        other.log_in()
    visitor = Visitor(house)
    visitor.client.headers["user-agent"] = "Firefox/1 Linux"
    visitor.log_in()

    page = visitor.get("/oauth/account").text
    assert "4 times on this kind of device" in page
    assert "End these 4 sessions of Firefox, Linux" in page
    assert page.count("End the session of Chrome, Windows") == 1
    visitor.change("/oauth/account/sessions/end", device="Firefox, Linux")

    assert visitor.logged_in()
    with house.gateway.store.read_transaction() as connection:
        left = sessions.list_sessions(connection, "doctor.a", house.gateway.settings, house.clock())
    assert sorted(session.device for session in left) == ["Chrome, Windows", "Firefox, Linux"]


def test_the_account_page_has_a_way_back(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    assert '<a class="nhsuk-back-link" href="/">Back to your pages</a>' in (
        visitor.get("/oauth/account").text
    )
