"""The state of a log-in: the authorize request, the browser, and what was proved so far.

It is sealed into the pages, not stored. It is valid in one browser, for a quarter of an hour, and
only until somebody logs in or out there (`browser.set_session_cookie` changes the browser cookie).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, replace

from fastapi import Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_gateway.database import Database
from ehr_gateway.gateway import Gateway
from ehr_gateway.login import browser

# How long a log-in page may stay open: time to fetch a phone or an authenticator (chosen).
LIFETIME_SECONDS = 900
# Methods (`amr`, RFC 8176; `eid` is ours) that prove more than knowledge of a password.
STRONG_METHODS = frozenset({"otp", "hwk", "eid"})


@dataclass(frozen=True)
class LoginState:
    """The state of one log-in. Without `request` it leads to the user's account page."""

    request: str
    browser: str
    # The account that was authenticated, when (milliseconds), and by which methods.
    login: str = ""
    at_ms: int = 0
    methods: tuple[str, ...] = ()
    # The subject of the electronic identity, if it was used.
    eid: str = ""
    # Whether the user has chosen one of several accounts.
    chosen: bool = False
    # The proposed TOTP secret of the enrolment page, encrypted.
    secret: str = ""
    # The challenge of a passkey; also binds the eID's answer to this log-in. Used once.
    nonce: str = ""

    def with_proof(self, login: str, at_ms: int, *methods: str) -> LoginState:
        """Return the state after an account was authenticated by more methods."""
        return replace(self, login=login, at_ms=at_ms, methods=(*self.methods, *methods))

    def with_new_nonce(self) -> LoginState:
        """Return the state with a new nonce, for another page."""
        return replace(self, nonce=secrets.token_urlsafe(32))

    @property
    def is_strong(self) -> bool:
        """Whether more than a password was proved, so that no second factor is missing."""
        return any(method in STRONG_METHODS for method in self.methods)


def seal_state(gateway: Gateway, state: LoginState) -> str:
    """Return the state as signed text."""
    return _sealer(gateway).dumps(asdict(state))


def unseal_state(request: Request, gateway: Gateway, sealed: str) -> LoginState | None:
    """Return a sealed state; None if it expired, is forged, or is from another browser."""
    try:
        values = _sealer(gateway).loads(sealed, max_age=LIFETIME_SECONDS)
    except BadSignature:
        return None
    state = LoginState(**{**values, "methods": tuple(values["methods"])})
    browser_id = browser.read_browser_id(request, gateway)
    return state if browser_id and browser_id == state.browser else None


def consume_nonce(database: Database, purpose: str, nonce: str, now_ms: int) -> bool:
    """Consume a one-time nonce; return False if it was used."""
    key = hashlib.sha256(f"{purpose} {nonce}".encode()).hexdigest()
    with database.write_transaction() as connection:
        connection.execute(
            "DELETE FROM login_used WHERE at_ms < ?", (now_ms - 2000 * LIFETIME_SECONDS,)
        )
        insertion = connection.execute(
            "INSERT INTO login_used (key, at_ms) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
            (key, now_ms),
        )
    return insertion.rowcount == 1


def _sealer(gateway: Gateway) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt="log-in step")
