"""What a person allowed apps of others: told on the account's page, and taken back there."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ehr_gateway.oauth import clients
from tests.lib.gateway import House, must
from tests.lib.visitor import VERIFIER, Visitor

CALLBACK = "https://app.example/callback"
HOUR = 3600


@pytest.fixture
def visitor(house: House) -> Visitor:
    """Return a browser in which a doctor is logged in, where two apps are registered."""
    for name, scope in (("chart", "user/*.rs offline_access"), ("other", "user/Observation.rs")):
        one = clients.Client(name, f"The {name}", (CALLBACK,), scope, auth_method="none")
        clients.register_client(house.gateway.store, one)
    browser = Visitor(house)
    browser.log_in()
    return browser


def allowed(visitor: Visitor, client: str, scope: str) -> dict[str, Any]:
    """Allow an app what it asks for; return its tokens."""
    visitor.ask(client_id=client, redirect_uri=CALLBACK, scope=scope)
    answer = visitor.send("/oauth/approve", decision="allow")
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    form = {
        "grant_type": "authorization_code", "client_id": client, "redirect_uri": CALLBACK,
        "code": code, "code_verifier": VERIFIER,
    }  # fmt: skip
    return dict(must(visitor.client.post("/oauth/token", data=form)).json())


def reads(visitor: Visitor, tokens: dict[str, Any]) -> bool:
    """Say whether an access token opens anything."""
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    return bool(visitor.client.get("/fhir/Observation", headers=headers).status_code == 200)


def refreshes(visitor: Visitor, tokens: dict[str, Any]) -> bool:
    """Say whether a refresh token gives another."""
    form = {
        "grant_type": "refresh_token", "client_id": "chart",
        "refresh_token": tokens["refresh_token"],
    }  # fmt: skip
    return bool(visitor.client.post("/oauth/token", data=form).status_code == 200)


def test_a_person_sees_the_apps_they_allowed_and_takes_one_back(visitor: Visitor) -> None:
    chart = allowed(visitor, "chart", "user/*.rs offline_access")
    other = allowed(visitor, "other", "user/Observation.rs")

    page = visitor.get("/oauth/account").text
    assert "<strong>The chart</strong>" in page
    assert "<li>Keep this permission while you are away</li>" in page
    assert "<strong>The other</strong>" in page
    # The platform's own are not among them: nobody was asked.
    assert page.count("Take it back</button>") == 2

    # The newest stands first.
    family = visitor.house.gateway.verifier.verify(chart["access_token"], visitor.house.clock())
    visitor.change("/oauth/account/apps/end", app=family.claims["family"])
    page = visitor.get("/oauth/account", told="app_ended").text

    assert "Taken back." in page
    assert "The chart" not in page
    assert not reads(visitor, chart)
    assert not refreshes(visitor, chart)
    assert reads(visitor, other)


def test_what_is_over_is_not_told(visitor: Visitor, house: House) -> None:
    allowed(visitor, "chart", "user/*.rs offline_access")
    allowed(visitor, "other", "user/Observation.rs")

    house.clock.forward(seconds=1.5 * HOUR)
    visitor.log_in()

    page = visitor.get("/oauth/account").text
    assert ("The chart" in page, "The other" in page) == (True, False)


def test_nobody_takes_back_what_another_allowed(visitor: Visitor, house: House) -> None:
    tokens = allowed(visitor, "chart", "user/*.rs offline_access")
    family = house.gateway.verifier.verify(tokens["access_token"], house.clock()).claims["family"]
    another = Visitor(house)
    another.ask(prompt="login")
    another.eid()
    another.get("/oauth/account")

    another.change("/oauth/account/apps/end", app=family)

    assert reads(visitor, tokens)
    assert refreshes(visitor, tokens)


@pytest.mark.parametrize(
    ("scope", "says"),
    [("user/*.rs", "for an hour at most"), ("user/*.rs offline_access", "for 90 days at most")],
)
def test_the_question_says_for_how_long(visitor: Visitor, scope: str, says: str) -> None:
    assert says in visitor.ask(client_id="chart", redirect_uri=CALLBACK, scope=scope).text
