"""By whose authority a subscription is served, judged anew whenever it is told something.

A subscription outlives the access token that made it. It goes on as long as its client could get
another such token: while an organisation's client is registered, while the permission that a
patient gave to an app lasts; within the scopes that they still have.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from ehr_fhir.errors import EhrError, Forbidden, Invalid
from ehr_gateway.access import Access
from ehr_gateway.accounts.accounts import find_account_on
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.oauth.allowed_scopes import find_allowed_scopes
from ehr_gateway.oauth.clients import find_client_on
from ehr_gateway.oauth.refresh_tokens import is_family_in_force
from ehr_gateway.subscriptions.rows import Authority, StoredSubscription
from ehr_gateway.tokens.access_tokens import VerifiedToken, requester_of
from ehr_gateway.tokens.scope_grants import narrow_scopes

__all__ = ["AuthorityEnded", "access_of", "begin_audit", "new_authority"]

_PROGRAM_SCOPES = ("system/", "ehr/")


class AuthorityEnded(EhrError):
    """The subscription's client may be told nothing any more."""


def new_authority(gateway: Gateway, connection: Connection, token: VerifiedToken) -> Authority:
    """Return the authority of a subscription that is made by a token.

    Raises Forbidden for who may have none: only an organisation's system, and a patient's app for
    the patient's own record.
    """
    subject = token.caller.subject
    family = str(token.claims.get("family", ""))
    until_ms = None
    if subject.role == "patient":
        if not family or not is_family_in_force(
            connection, gateway.settings, family, gateway.clock()
        ):
            # Nothing renews the token, so nothing is told after it.
            until_ms = token.expires_ms
    elif subject.role != "system":
        raise Forbidden(
            "Subscriptions are for an organisation's system, and for a patient's app of the"
            " patient's own record."
        )
    return Authority(subject, token.claims["scope"], family, until_ms)


def access_of(
    gateway: Gateway, connection: Connection, stored: StoredSubscription, now_ms: int
) -> Access:
    """Return what a subscription's client may reach at this moment.

    Raises AuthorityEnded when that is nothing for good, Unavailable when it is nothing for now.
    """
    authority, subject = stored.authority, stored.authority.subject
    if authority.until_ms is not None and authority.until_ms <= now_ms:
        raise AuthorityEnded("The subscription has come to its end.", issue_code="ended")
    if gateway.revocations.is_stale():
        gateway.revocations.reload()
    suspensions = gateway.revocations.suspensions
    if suspensions.is_suspended(
        person=subject.person or subject.login,
        organization=subject.organization,
        client=subject.client,
        now_ms=now_ms,
    ):
        raise AuthorityEnded("The access is suspended.", issue_code="suspended")
    gateway.closure.check_role(subject.role)
    scope = _scope_now(gateway, connection, authority, now_ms)
    requester = requester_of(subject, scope)
    if suspensions.is_emergency_suspended(now_ms):
        requester = replace(requester, emergency_suspended=True)
    return Access(
        requester=requester,
        now_ms=now_ms,
        request_id=uuid.uuid4().hex,
        base=gateway.settings.fhir_base,
        client=subject.client,
    )


def begin_audit(stored: StoredSubscription, access: Access) -> AuditContext:
    """Return the audit context of a delivery: to whom, and of which subscription."""
    return AuditContext(
        subject=stored.authority.subject,
        purpose=access.requester.purpose,
        at_ms=access.now_ms,
        request_id=access.request_id,
        interaction="operation",
        query="$events",
    )


def _scope_now(gateway: Gateway, connection: Connection, authority: Authority, now_ms: int) -> str:
    """Return the subscription's scopes within those that its client could get now."""
    subject = authority.subject
    client = find_client_on(connection, subject.client)
    if client is None:
        raise AuthorityEnded("The client is not registered any more.", issue_code="revoked")
    if subject.role == "system":
        if client.organization != subject.organization:
            raise AuthorityEnded("The client is another's now.", issue_code="revoked")
        allowed = [word for word in client.scope.split() if word.startswith(_PROGRAM_SCOPES)]
    else:
        account = find_account_on(connection, subject.login)
        if account is None or account.role != subject.role or not subject.patient:
            raise AuthorityEnded("The account is closed.", issue_code="revoked")
        if account.patient != subject.patient:
            raise AuthorityEnded("The account is another's now.", issue_code="revoked")
        is_lasting = authority.until_ms is None
        if is_lasting and not is_family_in_force(
            connection, gateway.settings, authority.family, now_ms
        ):
            raise AuthorityEnded("The permission has ended.", issue_code="revoked")
        allowed = find_allowed_scopes(client, account, subject.patient)
    try:
        return narrow_scopes(authority.scope, allowed)
    except Invalid:
        raise AuthorityEnded(
            "The scopes cannot be granted any more.", issue_code="revoked"
        ) from None
