"""Changes of accounts by administrators: who did what to which account, when and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ehr_gateway.database import Connection
from ehr_gateway.ids import new_id

__all__ = ["AccountChange", "find_newest_changes", "insert_change"]


@dataclass(frozen=True)
class AccountChange:
    """One change of an account."""

    login: str
    # disable, enable, reset, unlock or role.
    act: str
    reason: str
    at_ms: int
    # The log-in of the administrator.
    changed_by: str


def insert_change(connection: Connection, change: AccountChange) -> str:
    """Store a change; return its id."""
    change_id = new_id()
    connection.execute(
        "INSERT INTO account_change (id, login, act, reason, at_ms, changed_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (change_id, change.login, change.act, change.reason, change.at_ms, change.changed_by),
    )
    return change_id


def find_newest_changes(connection: Connection, logins: Iterable[str]) -> dict[str, AccountChange]:
    """Return the newest change of each account that has one."""
    newest: dict[str, AccountChange] = {}
    for login in logins:
        row = connection.execute(
            "SELECT login, act, reason, at_ms, changed_by FROM account_change WHERE login = ?"
            " ORDER BY at_ms DESC, id DESC LIMIT 1",
            (login,),
        ).fetchone()
        if row is not None:
            newest[login] = AccountChange(*row)
    return newest
