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
_BROWSER = "ehr-browser"
_SESSION = "ehr-login"
_TOKEN = re.compile(r"^[A-Za-z0-9_-]{43}$")
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"))  # fmt: skip
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
            ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip


def secure(gateway: Gateway) -> bool:
    """Say whether cookies may demand HTTPS."""
    return gateway.settings.base_url.startswith("https://")


def mark_of(request: Request, gateway: Gateway) -> str:
    """Return what stands for this browser in sealed texts; empty when it has no mark yet."""
    value = request.cookies.get(_named(gateway, _BROWSER), "")
    return mark(value) if _TOKEN.match(value) else ""


def mark(value: str) -> str:
    """Return the mark of a cookie's value; the value itself never leaves the cookie."""
    return hashlib.sha256(f"browser {value}".encode()).hexdigest()[:32]


def new_mark() -> str:
    """Return a value for the cookie that marks a browser."""
    return secrets.token_urlsafe(32)


def keep_mark(response: Response, gateway: Gateway, value: str) -> None:
    """Mark the browser until it is closed, or anew: what was sealed for the old mark is void."""
    _set(response, gateway, _BROWSER, value)


def keep_session(response: Response, gateway: Gateway, token: str) -> None:
    """Give the browser its session, and a new mark: no page of the log-in works again."""
    _set(response, gateway, _SESSION, token)
    keep_mark(response, gateway, new_mark())


def forget_session(response: Response, gateway: Gateway) -> None:
    """Take session and mark from the browser."""
    for name in (_SESSION, _BROWSER):
        response.delete_cookie(
            _named(gateway, name), path="/", httponly=True, samesite="lax", secure=secure(gateway)
        )


def session_of(request: Request, gateway: Gateway) -> sessions.LoginSession | None:
    """Return the session in which the browser is logged in."""
    token = request.cookies.get(_named(gateway, _SESSION), "")
    if not _TOKEN.match(token):
        return None
    return sessions.find_session(gateway.store.database, token, gateway.settings, gateway.clock())


def csrf(gateway: Gateway, session: sessions.LoginSession, action: str) -> str:
    """Return what a form of the session must carry to be sent to an address."""
    text = f"form {session.id} {session.auth_ms} {action}"
    return hmac.new(gateway.form_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def csrf_holds(gateway: Gateway, session: sessions.LoginSession, action: str, given: str) -> bool:
    """Say whether a form came from a page of this session."""
    return hmac.compare_digest(csrf(gateway, session, action).encode(), given.encode())


def address_of(request: Request) -> str:
    """Return where a browser calls from, as one who guesses is counted: IPv6 by its network.

    >>> _counted("2001:db8:1:2:3:4:5:6"), _counted("192.0.2.7")
    ('2001:db8:1:2::/64', '192.0.2.7')
    """
    return _counted(request.client.host if request.client else "")


def device_of(request: Request) -> str:
    """Return the kind of browser and machine, in words a person knows their own by."""
    agent = request.headers.get("user-agent", "")
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return ", ".join(part for part in (browser, system) if part)


def _counted(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _set(response: Response, gateway: Gateway, name: str, value: str) -> None:
    response.set_cookie(
        _named(gateway, name),
        value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=secure(gateway),
    )


def _named(gateway: Gateway, name: str) -> str:
    return f"__Host-{name}" if secure(gateway) else name
