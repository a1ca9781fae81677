"""A browser at the log-in pages, as far as HTTP goes: cookies, pages and their forms."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI
from fastapi.testclient import TestClient

from ehr_gateway.accounts import sessions, totp
from ehr_gateway.app import create_gateway
from ehr_gateway.login import browser
from ehr_gateway.oauth.authorization_codes import compute_challenge
from tests.lib.gateway import HKID, PASSWORD, PIN, House

VERIFIER = "v" * 43


class Visitor:
    """One browser, at one address on the network."""

    def __init__(
        self, house: House, *, app: FastAPI | None = None, address: str = "192.0.2.1"
    ) -> None:
        served = app or house.app
        self.house = house
        self.base: str = served.state.gateway.settings.base_url
        self.client = TestClient(
            served, base_url=self.base, follow_redirects=False, client=(address, 50000)
        )
        # One event loop for all visitors of a house: beginning another for each request is slow.
        self.client.portal = house.client.portal
        self.page: Any = None

    def ask(self, **changes: str) -> Any:
        """Come from the portal to log in."""
        query = {
            "response_type": "code",
            "client_id": "portal",
            "redirect_uri": f"{self.base}/callback",
            "code_challenge": compute_challenge(VERIFIER),
            "code_challenge_method": "S256",
            "state": "abc",
            **changes,
        }
        return self.get("/oauth/authorize", **query)

    def get(self, path: str, **query: str) -> Any:
        """Open a page."""
        self.page = self.client.get(path, params=query or None)
        return self.page

    def field(self, name: str, action: str = "") -> str:
        """Return what a hidden field of the page holds, of the form with an action."""
        text = self.page.text
        if action:
            form = re.search(rf'<form[^>]*action="{re.escape(action)}\?.*?</form>', text, re.S)
            assert form, (action, text)
            text = form[0]
        found = re.search(rf'name="{name}" value="([^"]*)"', text)
        assert found, (name, text)
        return html.unescape(found[1])

    def attribute(self, name: str) -> str:
        """Return the value of an attribute that one element of the page has."""
        found = re.search(rf'{name}="([^"]+)"', self.page.text)
        assert found, (name, self.page.text)
        return html.unescape(found[1])

    def send(self, path: str, **fields: str) -> Any:
        """Send a form of the log-in with what the page sealed."""
        fields.setdefault("request", self.field("request"))
        self.page = self.client.post(path, data=fields)
        return self.page

    def change(self, path: str, **fields: str) -> Any:
        """Send a form of the account's pages with its mark."""
        fields.setdefault("csrf", self.csrf(path))
        self.page = self.client.post(path, data=fields)
        return self.page

    def csrf(self, path: str) -> str:
        """Return the mark that forms of this session carry."""
        gateway = self.house.gateway
        cookie = self.client.cookies["ehr-login"]
        session = sessions.find_session(
            gateway.store.database, cookie, gateway.settings, self.house.clock()
        )
        assert session
        return browser.csrf_token(gateway, session, path)

    def password(self, login: str = "doctor.a", password: str = PASSWORD) -> Any:
        """Type a log-in name and a password."""
        return self.send("/oauth/login", login=login, password=password)

    def eid(self, hkid: str = HKID, pin: str = PIN) -> Any:
        """Go to the electronic identity, prove who one is, and come back."""
        leaving = self.get("/oauth/eid", request=self.field("request"))
        self.get(leaving.headers["location"])
        answer = self.send("/oauth/eid-simulator/authorize", hkid=hkid, pin=pin)
        return self.get(answer.headers["location"]) if answer.is_redirect else answer

    def log_in(self, login: str = "doctor.a", password: str = PASSWORD) -> str:
        """Log in by password and return the code for the portal."""
        self.ask(prompt="login")
        return code_of(self.password(login, password))

    def enrol(self) -> tuple[str, list[str]]:
        """Set up an authenticator app; return its secret and the recovery codes."""
        self.get("/oauth/account")
        self.change("/oauth/account/totp")
        secret = self.secret()
        sealed = self.field("secret")
        self.change("/oauth/account/totp/confirm", code=self.totp(secret), secret=sealed)
        codes = re.findall(r"<li><code>([^<]+)</code>", self.page.text)
        assert len(codes) == 10, self.page.text
        return secret, codes

    def secret(self) -> str:
        """Return the secret that the page shows."""
        found = re.search(r'<code id="secret">([^<]+)</code>', self.page.text)
        assert found, self.page.text
        return str(found[1]).replace(" ", "")

    def totp(self, secret: str, later: int = 0) -> str:
        """Return the app's code now, or some steps later."""
        return totp.compute_code(secret, self.house.clock() // totp.TIME_STEP_MS + later)

    def exchange(self, code: str) -> Any:
        """Get the portal's token for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": "portal",
            "redirect_uri": f"{self.base}/callback",
            "code_verifier": VERIFIER,
        }
        return self.client.post("/oauth/token", data=form)

    def logged_in(self) -> bool:
        """Say whether this browser has a session."""
        return "doctor.a</dd>" in self.get("/oauth/account").text or (
            'id="logout"' in self.page.text
        )


def code_of(answer: Any) -> str:
    """Return the code with which a log-in ends."""
    assert answer.status_code == 303, answer.text
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    return str(query["code"][0])


def at_address(house: House, base_url: str) -> FastAPI:
    """Serve the house's store and clock at another address."""
    settings = replace(house.settings, base_url=base_url)
    return create_gateway(settings, clock=house.clock, store=house.gateway.store)
