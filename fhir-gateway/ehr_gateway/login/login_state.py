"""One log-in on its way: what was asked, in which browser, and who has proved what so far.

It travels through the pages sealed. It is good in one browser, for a quarter of an hour, and only
until somebody logs in or out there (`browser.set_session_cookie` marks the browser anew).
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

# How long a log-in page may stay open.
LIFETIME_SECONDS = 900
# Methods (RFC 8176, and ours for the electronic identity) that are more than something known.
STRONG_METHODS = frozenset({"otp", "hwk", "eid"})


@dataclass(frozen=True)
class LoginState:
    """Where a log-in stands. Without `request` it leads to the person's own account pages."""

    request: str
    browser: str
    # The account of which somebody has proved something, when, and by which methods.
    login: str = ""
    at_ms: int = 0
    methods: tuple[str, ...] = ()
    # How the person is known at the electronic identity, when they came by it.
    eid: str = ""
    # Whether the person said for which of their accounts.
    chosen: bool = False
    # The new secret of an authenticator app that the person is shown, sealed.
    secret: str = ""
    # What a passkey signs, and what ties the answer of the electronic identity to this log-in.
    nonce: str = ""

    def proved(self, login: str, at_ms: int, *methods: str) -> LoginState:
        """Return the step after an account's holder proved something more."""
        return replace(self, login=login, at_ms=at_ms, methods=(*self.methods, *methods))

    def renewed(self) -> LoginState:
        """Return the step with another nonce, for another page."""
        return replace(self, nonce=secrets.token_urlsafe(32))

    @property
    def strong(self) -> bool:
        """Whether more than a password was proved."""
        return any(method in STRONG_METHODS for method in self.methods)


def seal_state(gateway: Gateway, state: LoginState) -> str:
    """Return the step as text that nobody else can make or change."""
    return _sealer(gateway).dumps(asdict(state))


def unseal_state(request: Request, gateway: Gateway, sealed: str) -> LoginState | None:
    """Return the step; None when it is too old, not ours, or another browser's."""
    try:
        values = _sealer(gateway).loads(sealed, max_age=LIFETIME_SECONDS)
    except BadSignature:
        return None
    state = LoginState(**{**values, "methods": tuple(values["methods"])})
    browser_id = browser.read_browser_id(request, gateway)
    return state if browser_id and browser_id == state.browser else None


def consume_nonce(database: Database, purpose: str, nonce: str, now_ms: int) -> bool:
    """Take a nonce once; say whether it was good."""
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
