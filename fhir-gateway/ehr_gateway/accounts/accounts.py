"""User accounts: one for each role of a person, and for staff one at each organisation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass

from ehr_fhir.errors import EhrError, NotFound, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import eid_people, throttle
from ehr_gateway.accounts.memberships import add_membership
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.journal.redo_actions import (
    append_redo_actions,
    build_account_redo,
    build_membership_redo,
)
from ehr_gateway.tokens.access_tokens import Subject
from ehr_gateway.tokens.roles import load_roles
from ehr_gateway.tokens.secret_hashes import hash_secret, verify_secret

_COLUMNS = "login, role, display, organization, profession, patient, person, exempt"


@dataclass(frozen=True)
class Account:
    """One account: a person in one role, for staff at one organisation."""

    login: str
    role: str
    display: str
    organization: str | None = None
    profession: str | None = None
    patient: str | None = None
    # The id by which consent rules name the person; None means the log-in name. The accounts of one
    # person share it, and logging in to one of them lets them choose another.
    person: str | None = None
    # Exempt from the second factor: for demonstrations.
    exempt: bool = False


@dataclass(frozen=True)
class AccountStatus:
    """An account, and whether it is disabled."""

    account: Account
    disabled: bool


class LoginRefused(EhrError):
    """The log-in failed. Does not tell whether the name or the secret was wrong."""

    status, exit, code = 401, 24, "login"

    def __init__(self, wait_seconds: int = 0) -> None:
        super().__init__("The log-in failed.")
        self.wait_seconds = wait_seconds


def add_account(
    database: Database,
    account: Account,
    secret: str | None = None,
    *,
    identity_number: str | None = None,
    pin: str | None = None,
) -> None:
    """Add an account, or replace the one of the same log-in.

    `secret` is a password; `hkid` with `pin` enrols the person with the simulated eID instead.
    """
    if account.role not in load_roles() or account.role == "system":
        raise Unprocessable(f"There is no role {account.role!r} for an account.")
    if account.role == "patient" and not account.patient:
        raise Unprocessable("The account of a patient needs the patient's id.")
    password = hash_secret(secret) if secret else None
    enrolment = (
        eid_people.prepare_enrolment(identity_number, pin) if identity_number and pin else None
    )
    with database.write_transaction() as connection:
        replaces = _is_known(connection, account.login)
        eid_subject = eid_people.enrol_person(connection, enrolment) if enrolment else None
        columns = f"{_COLUMNS}, password, eid"
        assignments = ", ".join(f"{name} = excluded.{name}" for name in columns.split(", ")[1:])
        connection.execute(
            f"INSERT INTO account ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            f" ON CONFLICT (login) DO UPDATE SET {assignments}, disabled = 0, must_change = 0",
            (*astuple(account)[:-1], int(account.exempt), password, eid_subject),
        )
        if account.organization is not None:
            member = (account.login, account.person or account.login, account.organization)
            if add_membership(connection, *member):
                # It closes records, also where a restore has lost the account.
                append_redo_actions(connection, [build_membership_redo(*member)])
        if replaces:
            append_redo_actions(connection, [build_account_redo(connection, account.login)])


def find_account(database: Database, login: str) -> Account:
    """Return the enabled account of a log-in name; NotFound without one."""
    with database.read_transaction() as connection:
        accounts = _select_accounts(connection, "login", login)
    if not accounts:
        raise NotFound("There is no such account.")
    return accounts[0]


def find_account_on(connection: Connection, login: str) -> Account | None:
    """Return the enabled account of a log-in name in the caller's transaction; None without one."""
    return next(iter(_select_accounts(connection, "login", login)), None)


def find_accounts_of_person(connection: Connection, account: Account) -> list[Account]:
    """Return the enabled accounts of the same person, this one first."""
    accounts = _select_accounts(connection, "person", account.person) if account.person else []
    return [account, *(other for other in accounts if other.login != account.login)]


def find_person(connection: Connection, name: str, roles: Collection[str]) -> str | None:
    """Return by what tokens name a person who has an enabled account of one of some roles.

    `name` is a log-in or the person itself; None where nobody is.
    """
    accounts = [
        *_select_accounts(connection, "login", name),
        *_select_accounts(connection, "person", name),
    ]
    return next((each.person or each.login for each in accounts if each.role in roles), None)


def list_names_of_person(connection: Connection, login: str) -> frozenset[str]:
    """Return the log-ins and persons of all accounts of whoever has a log-in, this one's too.

    One `person`, or one electronic identity, is one person, also by an account in between;
    disabled accounts count as well.
    """
    rows = connection.execute(
        "WITH RECURSIVE same(login, person, eid) AS ("
        "SELECT login, person, eid FROM account WHERE login = :login"
        " UNION SELECT b.login, b.person, b.eid FROM same a JOIN account b"
        " ON b.person = a.person OR b.eid = a.eid OR b.login = a.person OR b.person = a.login)"
        " SELECT login, person FROM same",
        {"login": login},
    )
    return frozenset(name for row in rows for name in row if name) | {login}


def find_accounts_by_eid(connection: Connection, eid_subject: str) -> list[Account]:
    """Return the enabled accounts of a subject of the electronic identity."""
    return _select_accounts(connection, "eid", eid_subject)


def subject_of_account(account: Account, client: str) -> Subject:
    """Return the subject of an access token (RFC 9068) for an account that uses a client."""
    return Subject(
        login=account.login,
        display=account.display,
        role=account.role,
        client=client,
        organization=account.organization,
        profession=account.profession,
        patient=account.patient,
        person=account.person,
    )


def verify_password(
    database: Database, login: str, password: str, now_ms: int, address: str = ""
) -> Account:
    """Return the account if the password is right; else count the failure, raise LoginRefused."""
    name = f"password:{login}"
    _admit_attempt(database, name, address, now_ms)
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT password FROM account WHERE login = ? AND disabled = 0", (login,)
        ).fetchone()
    is_right = verify_secret(row[0] if row else None, password)
    return _complete_attempt(database, name, address, "login", login if is_right else None)


def verify_eid(
    database: Database, identity_number: str, pin: str, now_ms: int, address: str = ""
) -> Account:
    """Return the account of an identity number and PIN of the simulated eID; else LoginRefused.

    For approvals at a counter; people log in by `ehr_gateway.login.eid`.
    """
    name = f"eid:{JURISDICTION.person_identifier.normalize(identity_number)}"
    _admit_attempt(database, name, address, now_ms)
    eid_subject = eid_people.identify_person(database, identity_number, pin)
    return _complete_attempt(database, name, address, "eid", eid_subject)


def is_login_taken(database: Database, login: str) -> bool:
    """Say whether a log-in name is in use, also by a disabled account."""
    with database.read_transaction() as connection:
        return _is_known(connection, login)


def _is_known(connection: Connection, login: str) -> bool:
    row = connection.execute("SELECT 1 FROM account WHERE login = ?", (login,)).fetchone()
    return row is not None


def search_accounts(
    connection: Connection,
    text: str,
    limit: int,
    *,
    patients: Sequence[str] = (),
    eid_subjects: Sequence[str] = (),
) -> list[AccountStatus]:
    """Return accounts by log-in name, name, patient or electronic identity, disabled ones too.

    The log-in name begins with the text or the name contains it; or the account is of one of the
    patients or subjects.
    """
    values: dict[str, object] = {"text": text.lower(), "most": limit}
    conditions = ["TRUE"]
    if text:
        conditions = [
            "substr(login, 1, length(:text)) = :text",
            "replace(lower(display), :text, '') <> lower(display)",
        ]
    for column, wanted in (("patient", patients), ("eid", eid_subjects)):
        for number, value in enumerate(wanted):
            conditions.append(f"{column} = :{column}_{number}")
            values[f"{column}_{number}"] = value
    rows = connection.execute(
        f"SELECT {_COLUMNS}, disabled FROM account WHERE {' OR '.join(conditions)}"  # noqa: S608
        " ORDER BY login LIMIT :most",
        values,
    ).fetchall()
    return [AccountStatus(_account_from_row(row), bool(row[8])) for row in rows]


def has_password(connection: Connection, login: str) -> bool:
    """Say whether the account logs in by password."""
    row = connection.execute(
        "SELECT 1 FROM account WHERE login = ? AND password IS NOT NULL", (login,)
    ).fetchone()
    return row is not None


def set_password(database: Database, login: str, password: str) -> None:
    """Set the password that the user chose; it need not be changed again."""
    hashed = hash_secret(password)
    with database.write_transaction() as connection:
        connection.execute(
            "UPDATE account SET password = ?, must_change = 0 WHERE login = ?", (hashed, login)
        )
        # The old one may have become known.
        append_redo_actions(connection, [build_account_redo(connection, login)])


def is_current_password(database: Database, login: str, password: str) -> bool:
    """Say whether this is the account's password. Not throttled: for users who just proved it."""
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT password FROM account WHERE login = ?", (login,)
        ).fetchone()
    return verify_secret(row[0] if row else None, password)


def require_password_change(connection: Connection, login: str) -> None:
    """Require the user to choose a new password at the next log-in."""
    connection.execute("UPDATE account SET must_change = 1 WHERE login = ?", (login,))


def must_change_password(connection: Connection, login: str) -> bool:
    """Say whether the user has to choose a new password."""
    row = connection.execute("SELECT must_change FROM account WHERE login = ?", (login,)).fetchone()
    return bool(row and row[0])


def _admit_attempt(database: Database, name: str, address: str, now_ms: int) -> None:
    # Counted as a failure before the secret is checked: a hundred concurrent guesses count as such.
    wait = throttle.admit_attempt(database, name, address, now_ms)
    if wait:
        raise LoginRefused(wait)


def _complete_attempt(
    database: Database, name: str, address: str, column: str, value: str | None
) -> Account:
    if value is None:
        raise LoginRefused
    with database.write_transaction() as connection:
        accounts = _select_accounts(connection, column, value)
        if accounts:
            throttle.record_success(connection, name, address)
    if not accounts:
        raise LoginRefused
    return accounts[0]


def _select_accounts(connection: Connection, column: str, value: str) -> list[Account]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM account WHERE {column} = ? AND disabled = 0"  # noqa: S608
        " ORDER BY organization, role, login",
        (value,),
    ).fetchall()
    return [_account_from_row(row) for row in rows]


def _account_from_row(row: Row) -> Account:
    return Account(row[0], row[1], row[2], row[3], row[4], row[5], row[6], bool(row[7]))
