"""The browser of a log-in: session and browser cookies, CSRF tokens, network address.

The browser cookie binds a log-in to the browser it began in. `__Host-` cookies need HTTPS: on plain
HTTP, as in a demonstration on one machine, the cookies have plain names, since strict browsers
would drop the others.
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

# Identifies a browser before anybody is logged in, so that a log-in has to end where it began.
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
    """Say whether the gateway is reached by HTTPS, so that cookies can be `Secure`."""
    return gateway.settings.base_url.startswith("https://")


def read_browser_id(request: Request, gateway: Gateway) -> str:
    """Return the browser's id, the hash of its cookie; empty if it has none yet."""
    value = request.cookies.get(_cookie_name(gateway, _BROWSER_COOKIE), "")
    return hash_browser_cookie(value) if _COOKIE_VALUE.match(value) else ""


def hash_browser_cookie(value: str) -> str:
    """Return the browser id of a cookie's value. The value itself is in no page."""
    return hashlib.sha256(f"browser {value}".encode()).hexdigest()[:32]


def generate_browser_cookie() -> str:
    """Return a random value for the browser cookie."""
    return secrets.token_urlsafe(32)


def set_browser_cookie(response: Response, gateway: Gateway, value: str) -> None:
    """Set the browser cookie. States that were sealed for the old value are void."""
    _set_cookie(response, gateway, _BROWSER_COOKIE, value)


def set_session_cookie(response: Response, gateway: Gateway, token: str) -> None:
    """Set the session cookie, and a new browser cookie: no page of the log-in works again."""
    _set_cookie(response, gateway, _SESSION_COOKIE, token)
    set_browser_cookie(response, gateway, generate_browser_cookie())


def delete_cookies(response: Response, gateway: Gateway) -> None:
    """Delete the session and browser cookies."""
    for name in (_SESSION_COOKIE, _BROWSER_COOKIE):
        response.delete_cookie(
            _cookie_name(gateway, name),
            path="/",
            httponly=True,
            samesite="lax",
            secure=uses_https(gateway),
        )


def find_session(request: Request, gateway: Gateway) -> sessions.LoginSession | None:
    """Return the session of the browser's cookie; None without one in force."""
    token = request.cookies.get(_cookie_name(gateway, _SESSION_COOKIE), "")
    if not _COOKIE_VALUE.match(token):
        return None
    return sessions.find_session(gateway.store.database, token, gateway.settings, gateway.clock())


def csrf_token(gateway: Gateway, session: sessions.LoginSession, action: str) -> str:
    """Return the CSRF token of forms that a session sends to the path `action`."""
    text = f"form {session.id} {session.auth_ms} {action}"
    return hmac.new(gateway.form_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_csrf_token_valid(
    gateway: Gateway, session: sessions.LoginSession, action: str, token: str
) -> bool:
    """Say whether a form came from a page of this session, for this path."""
    return hmac.compare_digest(csrf_token(gateway, session, action).encode(), token.encode())


def client_network(request: Request) -> str:
    """Return the network by which attempts are throttled: an IPv4 address, or an IPv6 /64.

    >>> _network_of("2001:db8:1:2:3:4:5:6"), _network_of("192.0.2.7")
    ('2001:db8:1:2::/64', '192.0.2.7')
    """
    return _network_of(request.client.host if request.client else "")


def describe_device(request: Request) -> str:
    """Return browser and system in words, by which users recognise their own sessions."""
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
