"""Apps as a test drives them: registered, sent to log in, with their tokens and their keys."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import Request
from fastapi.responses import Response
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from ehr_gateway.accounts import accounts
from ehr_gateway.gateway import Gateway
from ehr_gateway.html.pages import page_language
from ehr_gateway.login import login_flow
from ehr_gateway.oauth import authorize_request, clients
from ehr_gateway.oauth.authorization_codes import compute_challenge
from ehr_gateway.oauth.authorization_response import Authentication, respond_to_authorize_request
from tests.lib.gateway import BASE, House, Session, must

FHIR = f"{BASE}/fhir"
ISSUER = f"{BASE}/oauth"
WHO = "X-Test-Login"
CALLBACK = "https://app.example/callback"
PATIENT_APP = "openid fhirUser launch/patient offline_access patient/*.rs"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the log-in pages believe the test's header; what is tested here comes after them."""

    def begin(request: Request, gateway: Gateway, sealed: str) -> Response:
        asked = authorize_request.unseal_request(gateway, sealed)
        assert asked is not None
        account = accounts.find_account(gateway.store, request.headers[WHO])
        who = Authentication(account, gateway.clock(), ("pwd", "otp"), "")
        name = str(request.state.request_id)
        return respond_to_authorize_request(gateway, asked, who, name, page_language(request))

    monkeypatch.setattr(login_flow, "begin_login", begin)


@dataclass
class App:
    """A public app with PKCE."""

    house: House
    client: str = "app"
    scope: str = PATIENT_APP
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    secret: str = ""

    def register(self, **changes: Any) -> App:
        """Register it as the administrator would."""
        values = {"redirect_uris": (CALLBACK,), "scope": self.scope, "auth_method": "none"}
        one = clients.Client(self.client, "An app", **{**values, **changes})
        clients.register_client(self.house.gateway.store, one, self.secret or None)
        return self

    def asks(self, who: str, **changes: str) -> Any:
        """Send the person to log in; the answer is a redirect or a page."""
        params = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": CALLBACK,
            "scope": self.scope,
            "state": "abc",
            "aud": FHIR,
            "code_challenge": compute_challenge(self.verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        kept = {name: value for name, value in params.items() if value}
        return self.house.client.get("/oauth/authorize", params=kept, headers={WHO: who})

    def answered(self, page: Any, decision: str = "allow", patient: str = "") -> dict[str, str]:
        """Answer the approval page; return what the app gets back."""
        assert page.status_code == 200, page.text
        sealed = re.search(r'name="request" value="([^"]+)"', page.text)
        assert sealed
        form = {"request": sealed[1], "decision": decision, "patient": patient}
        return back(self.house.client.post("/oauth/approve", data=form))

    def code(self, who: str, **changes: str) -> str:
        """Return the code that a person's permission gives."""
        patient = changes.pop("patient", "")
        return self.answered(self.asks(who, **changes), patient=patient)["code"]

    def exchange(self, code: str, **changes: str) -> Any:
        """Exchange a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
        }
        return self.token({**form, **changes})

    def refresh(self, token: str, **changes: str) -> Any:
        """Use a refresh token."""
        return self.token({"grant_type": "refresh_token", "refresh_token": token, **changes})

    def token(self, form: dict[str, str]) -> Any:
        """Ask the token endpoint, proving what can be proved."""
        return self.post("token", form)

    def post(self, path: str, form: dict[str, str]) -> Any:
        """Post a form to an endpoint for clients."""
        auth = (self.client, self.secret) if self.secret else None
        named = form if auth else {"client_id": self.client, **form}
        return self.house.client.post(f"/oauth/{path}", data=named, auth=auth)

    def tokens(self, who: str, **changes: str) -> dict[str, Any]:
        """Return the answer of the token endpoint for a person who allows everything."""
        return dict(must(self.exchange(self.code(who, **changes))).json())

    def session(self, tokens: dict[str, Any]) -> Session:
        """Return a session with an access token."""
        return Session(self.house.client, tokens["access_token"])


def back(answer: Any) -> dict[str, str]:
    """Return the parameters of a redirect to the app."""
    assert answer.status_code == 303, answer.text
    address = str(answer.headers["location"])
    assert address.startswith(CALLBACK), address
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


class Signer:
    """A program that signs its assertions."""

    def __init__(self, kind: str = "ES384", kid: str = "k1") -> None:
        self.kind, self.kid = kind, kid
        parameters: Any = {"kid": kid, "use": "sig", "alg": kind}
        self.key: Any = (
            ECKey.generate_key("P-384", parameters)
            if kind == "ES384"
            else RSAKey.generate_key(2048, parameters)
        )

    @property
    def jwks(self) -> dict[str, Any]:
        """Return the public key as registered."""
        return {"keys": [dict(self.key.as_dict(private=False))]}

    def assertion(self, house: House, client: str, **changes: Any) -> str:
        """Return an assertion; a claim set to None is left out."""
        now = house.clock() // 1000
        header = {"alg": self.kind, "kid": self.kid, "typ": "JWT", **changes.pop("header", {})}
        claims = {
            "iss": client,
            "sub": client,
            "aud": f"{ISSUER}/token",
            "exp": now + 300,
            "jti": secrets.token_urlsafe(16),
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(header, kept, self.key, algorithms=[self.kind])


def by_assertion(house: House, assertion: str, scope: str = "system/*.rs", **more: str) -> Any:
    """Ask for a token as a backend service does."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": assertion,
        "scope": scope,
        **more,
    }
    return house.client.post("/oauth/token", data=form)


def verified(house: House, token: str, algorithm: str) -> dict[str, Any]:
    """Return the claims of a token that verifies with the served keys alone."""
    keys = KeySet.import_key_set(house.client.get("/oauth/jwks").json())
    return dict(jwt.decode(token, keys, algorithms=[algorithm]).claims)
