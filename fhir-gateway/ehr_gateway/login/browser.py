"""The browser of a log-in: its two cookies, the marks that forms carry, and where it calls from.

`__Host-` cookies need HTTPS. On plain HTTP, as in a demonstration on one machine, the same cookies
go by plain names: browsers that are strict would drop them otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets

from fastapi import Request
from fastapi.responses import Response

from ehr_gateway.accounts import sessions
from ehr_gateway.gateway import Gateway

# Marks a browser before anybody is logged in, so that a log-in ends where it began.
_BROWSER_COOKIE = "ehr-browser"
_SESSION_COOKIE = "ehr-login"
_COOKIE_VALUE = re.compile(r"^[A-Za-z0-9_-]{43}$")
_BROWSER_NAMES = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEM_NAMES = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
    ("Mac OS", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def uses_https(gateway: Gateway) -> bool:
    """Say whether cookies may demand HTTPS."""
    return gateway.settings.base_url.startswith("https://")


def read_browser_id(request: Request, gateway: Gateway) -> str:
    """Return what stands for this browser in sealed texts; empty when it has no mark yet."""
    value = request.cookies.get(_cookie_name(gateway, _BROWSER_COOKIE), "")
    return hash_browser_cookie(value) if _COOKIE_VALUE.match(value) else ""


def hash_browser_cookie(value: str) -> str:
    """Return the mark of a cookie's value; the value itself never leaves the cookie."""
    return hashlib.sha256(f"browser {value}".encode()).hexdigest()[:32]


def generate_browser_cookie() -> str:
    """Return a value for the cookie that marks a browser."""
    return secrets.token_urlsafe(32)


def set_browser_cookie(response: Response, gateway: Gateway, value: str) -> None:
    """Mark the browser until it is closed, or anew: what was sealed for the old mark is void."""
    _set_cookie(response, gateway, _BROWSER_COOKIE, value)


def set_session_cookie(response: Response, gateway: Gateway, token: str) -> None:
    """Give the browser its session, and a new mark: no page of the log-in works again."""
    _set_cookie(response, gateway, _SESSION_COOKIE, token)
    set_browser_cookie(response, gateway, generate_browser_cookie())


def delete_cookies(response: Response, gateway: Gateway) -> None:
    """Take session and mark from the browser."""
    for name in (_SESSION_COOKIE, _BROWSER_COOKIE):
        response.delete_cookie(
            _cookie_name(gateway, name),
            path="/",
            httponly=True,
            samesite="lax",
            secure=uses_https(gateway),
        )


def find_session(request: Request, gateway: Gateway) -> sessions.LoginSession | None:
    """Return the session in which the browser is logged in."""
    token = request.cookies.get(_cookie_name(gateway, _SESSION_COOKIE), "")
    if not _COOKIE_VALUE.match(token):
        return None
    return sessions.find_session(gateway.store.database, token, gateway.settings, gateway.clock())


def csrf_token(gateway: Gateway, session: sessions.LoginSession, action: str) -> str:
    """Return what a form of the session must carry to be sent to an address."""
    text = f"form {session.id} {session.auth_ms} {action}"
    return hmac.new(gateway.form_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_csrf_token_valid(
    gateway: Gateway, session: sessions.LoginSession, action: str, token: str
) -> bool:
    """Say whether a form came from a page of this session."""
    return hmac.compare_digest(csrf_token(gateway, session, action).encode(), token.encode())


def client_network(request: Request) -> str:
    """Return where a browser calls from, as one who guesses is counted: IPv6 by its network.

    >>> _network_of("2001:db8:1:2:3:4:5:6"), _network_of("192.0.2.7")
    ('2001:db8:1:2::/64', '192.0.2.7')
    """
    return _network_of(request.client.host if request.client else "")


def describe_device(request: Request) -> str:
    """Return the kind of browser and machine, in words a person knows their own by."""
    agent = request.headers.get("user-agent", "")
    browser = next((name for mark, name in _BROWSER_NAMES if mark in agent), "")
    system = next((name for mark, name in _SYSTEM_NAMES if mark in agent), "")
    return ", ".join(part for part in (browser, system) if part)


def _network_of(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _set_cookie(response: Response, gateway: Gateway, name: str, value: str) -> None:
    response.set_cookie(
        _cookie_name(gateway, name),
        value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=uses_https(gateway),
    )


def _cookie_name(gateway: Gateway, name: str) -> str:
    return f"__Host-{name}" if uses_https(gateway) else name
