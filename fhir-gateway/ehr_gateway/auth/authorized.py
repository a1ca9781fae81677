"""What follows a log-in: the code for the client that asked, and the log-in on record."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi.responses import Response

from ehr_gateway import audit
from ehr_gateway.auth import codes
from ehr_gateway.auth.accounts import Account
from ehr_gateway.auth.authorize_request import back
from ehr_gateway.auth.local import subject_of
from ehr_gateway.auth.roles import granted, roles
from ehr_gateway.gateway import Gateway


@dataclass(frozen=True)
class Authentication:
    """Who logged in, when and how (OpenID Connect's auth_time and amr, RFC 8176)."""

    account: Account
    at_ms: int
    methods: tuple[str, ...] = ()
    # The id of the log-in session (never its cookie): what is issued from it ends with it.
    session: str = ""


def authorized(
    gateway: Gateway, asked: dict[str, str], who: Authentication, request_id: str
) -> Response:
    """Answer the authorize request of somebody who is logged in: send a code to the client."""
    account = who.account
    scope = granted(asked["scope"], roles()[account.role].scopes)
    grant = codes.Grant(
        asked["client"], account.login, asked["redirect"], asked["challenge"], scope
    )
    code = codes.issue_code(gateway.store, grant, gateway.clock())
    occasion = audit.Occasion(
        subject_of(account, asked["client"]),
        roles()[account.role].purpose,
        gateway.clock(),
        request_id,
        "login",
    )
    with gateway.store.writing() as connection:
        audit.record_about(connection, occasion, account.patient)
    return back(asked["redirect"], {"code": code, "state": asked["state"]})
