"""End sessions, revoke what was issued from them, disable and enable accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import factors, sessions
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.journal.redo_actions import (
    append_redo_actions,
    build_account_redo,
    build_factors_redo,
)
from ehr_gateway.oauth import refresh_tokens

__all__ = [
    "change_role",
    "disable_account",
    "enable_account",
    "end_session",
    "end_sessions",
    "end_token_family",
    "reset_factors",
]


def end_session(gateway: Gateway, login: str, session: str) -> bool:
    """End a session of an account and revoke its tokens; say whether there was one."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        is_ended = sessions.end_session(connection, login, session, now)
        if is_ended:
            _revoke_tokens_of_sessions(gateway, connection, [session], now)
    gateway.revocations.notify_processes()
    return is_ended


def end_sessions(
    gateway: Gateway, login: str, *, besides: str = "", device: str | None = None
) -> int:
    """End every session of an account but one and revoke their tokens; return how many.

    With a `device`, only those of devices that describe themselves so.
    """
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        session_ids = sessions.end_sessions(connection, login, now, besides=besides, device=device)
        _revoke_tokens_of_sessions(gateway, connection, session_ids, now)
    gateway.revocations.notify_processes()
    return len(session_ids)


def end_token_family(gateway: Gateway, login: str, family: str) -> bool:
    """Revoke a token family that belongs to the user; return False if it does not."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        family_row = connection.execute(
            "SELECT 1 FROM token_family WHERE id = ? AND login = ? AND ended_ms IS NULL",
            (family, login),
        ).fetchone()
        if family_row is not None:
            refresh_tokens.end_family(connection, family, now)
            gateway.revocations.revoke_in(connection, "family", family, now)
    gateway.revocations.notify_processes()
    return family_row is not None


def disable_account(gateway: Gateway, login: str) -> None:
    """Disable an account; its sessions end and its tokens are revoked at once, in every process."""
    with _end_access(gateway, login) as connection:
        _set_disabled(connection, login, disabled=True)


def enable_account(gateway: Gateway, login: str) -> None:
    """Enable an account again. Its user has to log in anew."""
    with gateway.store.write_transaction() as connection:
        _set_disabled(connection, login, disabled=False)
        append_redo_actions(connection, [build_account_redo(connection, login)])


def change_role(gateway: Gateway, account: Account) -> None:
    """Give an account another role, organisation or profession; its sessions and tokens end.

    What is issued anew has the scopes of the new role.
    """
    with _end_access(gateway, account.login) as connection:
        connection.execute(
            "UPDATE account SET role = ?, organization = ?, profession = ? WHERE login = ?",
            (account.role, account.organization, account.profession, account.login),
        )


def reset_factors(gateway: Gateway, login: str) -> None:
    """Remove every second factor of an account whose user lost theirs, and end its sessions."""
    with gateway.store.write_transaction() as connection:
        account_row = connection.execute(
            "SELECT 1 FROM account WHERE login = ?", (login,)
        ).fetchone()
        if account_row is None:
            raise NotFound("There is no such account.")
        factors.remove_totp(connection, login)
        connection.execute("DELETE FROM passkey WHERE login = ?", (login,))
        append_redo_actions(connection, [build_factors_redo(connection, login)])
    end_sessions(gateway, login)


@contextmanager
def _end_access(gateway: Gateway, login: str) -> Iterator[Connection]:
    """Yield the transaction of a change to an account that ends its sessions and tokens."""
    now = gateway.clock()
    with gateway.store.write_transaction() as connection:
        yield connection
        sessions.end_sessions(connection, login, now)
        gateway.revocations.revoke_in(connection, "account", login, now)
        append_redo_actions(connection, [build_account_redo(connection, login)])
    gateway.revocations.notify_processes()
    refresh_tokens.end_families_of_login(gateway.store.database, login, now)


def _set_disabled(connection: Connection, login: str, *, disabled: bool) -> None:
    update = connection.execute(
        "UPDATE account SET disabled = ? WHERE login = ?", (int(disabled), login)
    )
    if update.rowcount != 1:
        raise NotFound("There is no such account.")


def _revoke_tokens_of_sessions(
    gateway: Gateway, connection: Connection, session_ids: Iterable[str], now_ms: int
) -> None:
    for session in session_ids:
        rows = connection.execute(
            "SELECT id FROM token_family WHERE session = ? AND ended_ms IS NULL", (session,)
        ).fetchall()
        for row in rows:
            refresh_tokens.end_family(connection, row[0], now_ms)
            gateway.revocations.revoke_in(connection, "family", row[0], now_ms)
