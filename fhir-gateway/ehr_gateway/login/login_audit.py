"""Audit events of log-ins: refused ones, and changes of accounts and factors."""

from __future__ import annotations

from fastapi import Request

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account, subject_of_account
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.login.browser import client_network
from ehr_gateway.tokens.roles import load_roles

# The client id under which events of the log-in pages are recorded.
_CLIENT = "account"
_REFUSED_STATUS = 401
# A name that does not exist may be a password in the wrong field, so it is not recorded. A row is,
# so that the request takes as long as for a name that exists.
_UNKNOWN_ACCOUNT = Account("unknown", "patient", "unknown")


def record_account_change(
    request: Request, gateway: Gateway, account: Account, interaction: str
) -> None:
    """Record an event of a user's own account, such as a changed password."""
    with gateway.store.write_transaction() as connection:
        recorder.record_rows(
            connection,
            recorder.build_event_rows(_audit_context(request, gateway, account, interaction), None),
        )


def record_change_of_other(
    connection: Connection,
    request: Request,
    gateway: Gateway,
    administrator: Account,
    interaction: str,
    entity: str,
) -> None:
    """Record what an administrator did to another's account, with the record of why."""
    audit_context = _audit_context(request, gateway, administrator, interaction)
    rows = recorder.build_event_rows(audit_context, None, entities=[entity])
    recorder.record_rows(connection, rows)


def record_refused_login(request: Request, gateway: Gateway, login: str, interaction: str) -> None:
    """Record a refused log-in attempt."""
    try:
        account = accounts.find_account(gateway.store.database, login)
    except NotFound:
        account = _UNKNOWN_ACCOUNT
    with gateway.store.write_transaction() as connection:
        audit_context = _audit_context(request, gateway, account, interaction)
        recorder.record_rows(
            connection, recorder.build_refusal_rows(audit_context, _REFUSED_STATUS, None)
        )


def _audit_context(
    request: Request, gateway: Gateway, account: Account, interaction: str
) -> recorder.AuditContext:
    return recorder.AuditContext(
        subject_of_account(account, _CLIENT),
        load_roles()[account.role].purpose,
        gateway.clock(),
        str(request.state.request_id),
        interaction,
        address=client_network(request),
    )
