"""The account page: a user's factors, sessions and apps, and the forms that change them.

The forms are handled in `factor_pages` and `session_pages`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import accounts, factors, passkeys, sessions
from ehr_gateway.gateway import GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.login import login_pages, login_state
from ehr_gateway.login.signed_in_user import (
    HOME,
    Form,
    SignedInUser,
    check_form,
    find_signed_in_user,
    show_login,
)
from ehr_gateway.oauth import approval_page, refresh_tokens

router = APIRouter(prefix="/oauth")
# The `told` parameter of the page's address names one of these texts. Any other value is ignored:
# the address can come from anybody.
_NOTICES = frozenset(
    {
        "passkey_added",
        "passkey_removed",
        "totp_removed",
        "password_changed",
        "session_ended",
        "app_ended",
    }
)


@router.get("/account")
def show_account(request: Request, gateway: GatewayDependency) -> Response:
    """Show the account page, or the log-in page without a session."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return show_login(request, gateway)
    return render_account_page(user, notice=request.query_params.get("told", ""))


@router.post("/account/again")
def authenticate_again(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Show the log-in page to re-authenticate before a change."""
    user = check_form(request, gateway, form)
    return user if isinstance(user, Response) else show_login(request, gateway)


def render_account_page(
    user: SignedInUser,
    *,
    error: str = "",
    field: str = "",
    notice: str = "",
    wait: int = 0,
) -> Response:
    """Render the account page.

    `error` is the key of a text; `field` the form field it belongs to; `wait` the seconds until
    the throttle lets the user try again.
    """
    gateway, name = user.gateway, user.account.login
    nonce = secrets.token_urlsafe(32)
    with gateway.store.read_transaction() as connection:
        enrolled = factors.read_factors(connection, name)
        own_passkeys = passkeys.list_passkeys(connection, name)
        open_sessions = sessions.list_sessions(connection, name, gateway.settings, gateway.clock())
        apps = refresh_tokens.list_families(connection, gateway.settings, name, gateway.clock())
        organization = user.account.organization
        organization_names = login_pages.find_organization_names(
            connection, [organization] if organization else []
        )
        password = accounts.has_password(connection, name)
    passkeys_possible = passkeys.can_use_passkeys(gateway)
    return pages.render_page(
        "account.html",
        user.language,
        status=400 if error else 200,
        here=HOME,
        script=passkeys_possible and user.is_recent,
        error=login_pages.refusal_text(user.language, error, wait) if error else "",
        error_field=field,
        notice=pages.load_texts()[notice][user.language] if notice in _NOTICES else "",
        account=user.account,
        organization=organization_names.get(organization or "", ""),
        factors=enrolled,
        passkeys=own_passkeys,
        own_session=next(
            (session for session in open_sessions if session.id == user.session.id), user.session
        ),
        other_sessions=group_by_device(
            session for session in open_sessions if session.id != user.session.id
        ),
        apps=[(app, approval_page.describe_scopes(app.scope, user.language)) for app in apps],
        has_password=password,
        recent=user.is_recent,
        passkeys_possible=passkeys_possible,
        csrf=user.csrf,
        when=local_time,
        proved=local_time(user.session.auth_ms),
        nonce=_nonce_sealer(user).dumps(nonce),
        options=passkeys.build_registration_options(gateway, user.account, nonce, own_passkeys)
        if passkeys_possible
        else "",
    )


@dataclass(frozen=True)
class DeviceSessions:
    """The sessions of one account on devices that describe themselves alike."""

    device: str
    # Last used first.
    sessions: tuple[sessions.LoginSession, ...]


def group_by_device(open_sessions: Iterable[sessions.LoginSession]) -> list[DeviceSessions]:
    """Return sessions by device, in the order in which their first ones stand.

    A browser that keeps no cookies begins a session at each log-in; twenty rows that look alike
    hide the one that their owner does not know.
    """
    groups: dict[str, list[sessions.LoginSession]] = {}
    for session in open_sessions:
        groups.setdefault(session.device, []).append(session)
    return [DeviceSessions(device, tuple(members)) for device, members in groups.items()]


def unseal_nonce(user: SignedInUser, sealed: str) -> str | None:
    """Return the WebAuthn challenge that a page of this session was given; None for any other."""
    try:
        nonce: str = _nonce_sealer(user).loads(sealed, max_age=login_state.LIFETIME_SECONDS)
    except BadSignature:
        return None
    return nonce


def _nonce_sealer(user: SignedInUser) -> URLSafeTimedSerializer:
    # The salt binds the challenge to the session, so that one from another session's page fails.
    return URLSafeTimedSerializer(user.gateway.form_secret, salt=f"passkey for {user.session.id}")


def local_time(at_ms: int) -> str:
    """Return an instant as the pages write it, in the place's time."""
    return f"{datetime.fromtimestamp(at_ms / 1000, JURISDICTION.zone):%Y-%m-%d %H:%M}"
