"""People who log in: staff by password, patients and carers by electronic identity."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import EhrError, NotFound, Unprocessable
from ehr_gateway.auth import eid, throttle
from ehr_gateway.auth.roles import roles
from ehr_gateway.auth.secrets import hash_secret, verify_secret
from ehr_gateway.database import Connection, Database

_COLUMNS = "login, role, display, organization, profession, patient, person"


@dataclass(frozen=True)
class Account:
    """One log-in: a person in one role, for staff at one organisation."""

    login: str
    role: str
    display: str
    organization: str | None = None
    profession: str | None = None
    patient: str | None = None
    # The id by which consent rules name the person; the log-in when empty.
    person: str | None = None


class LoginRefused(EhrError):
    """The log-in failed; never says whether the name or the secret was wrong."""

    status, exit, code = 401, 24, "login"

    def __init__(self, wait_seconds: int = 0) -> None:
        super().__init__("The log-in failed.")
        self.wait_seconds = wait_seconds


def add(
    database: Database,
    account: Account,
    secret: str | None = None,
    *,
    hkid: str | None = None,
    pin: str | None = None,
) -> None:
    """Add an account, or replace the one of the same log-in.

    `secret` is a password; `hkid` with `pin` enrols the person with the simulated eID instead.
    """
    if account.role not in roles() or account.role == "system":
        raise Unprocessable(f"There is no role {account.role!r} for an account.")
    if account.role == "patient" and not account.patient:
        raise Unprocessable("The account of a patient needs the patient's id.")
    password = hash_secret(secret) if secret else None
    enrolment = eid.prepare(hkid, pin) if hkid and pin else None
    with database.writing() as connection:
        subject = eid.enrol(connection, enrolment) if enrolment else None
        connection.execute(
            "INSERT INTO account (login, role, display, organization, profession, patient, person,"
            " password, eid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (login) DO UPDATE SET"
            " role = excluded.role, display = excluded.display,"
            " organization = excluded.organization, profession = excluded.profession,"
            " patient = excluded.patient, person = excluded.person,"
            " password = excluded.password, eid = excluded.eid, disabled = 0",
            (
                account.login,
                account.role,
                account.display,
                account.organization,
                account.profession,
                account.patient,
                account.person,
                password,
                subject,
            ),
        )


def find(database: Database, login: str) -> Account:
    """Return the account of a log-in name."""
    with database.reading() as connection:
        found = _account(connection, "login", login)
    if found is None:
        raise NotFound("There is no such account.")
    return found


def verify_password(database: Database, login: str, password: str, now_ms: int) -> Account:
    """Return the account when the password is right; else refuse, and count the failure."""
    key = f"password:{login}"
    _begin(database, key, now_ms)
    with database.reading() as connection:
        row = connection.execute(
            "SELECT password FROM account WHERE login = ? AND disabled = 0", (login,)
        ).fetchone()
    right = verify_secret(row[0] if row else None, password)
    return _settle(database, key, "login", login if right else None)


def verify_eid(database: Database, hkid: str, pin: str, now_ms: int) -> Account:
    """Return the account linked to the electronic identity when the PIN is right; else refuse."""
    key = f"eid:{eid.normalise(hkid)}"
    _begin(database, key, now_ms)
    return _settle(database, key, "eid", eid.identify(database, hkid, pin))


def _begin(database: Database, throttle_key: str, now_ms: int) -> None:
    # Counted as a failure before it is tried: a hundred guesses at once are still a hundred.
    with database.writing() as connection:
        wait = throttle.wait_ms(connection, throttle_key, now_ms)
        if not wait:
            throttle.failed(connection, throttle_key, now_ms)
    if wait:
        raise LoginRefused(-(-wait // 1000))


def _settle(database: Database, throttle_key: str, column: str, value: str | None) -> Account:
    if value is None:
        raise LoginRefused
    with database.writing() as connection:
        account = _account(connection, column, value)
        if account is not None:
            throttle.succeeded(connection, throttle_key)
    if account is None:
        raise LoginRefused
    return account


def _account(connection: Connection, column: str, value: str) -> Account | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM account WHERE {column} = ? AND disabled = 0",  # noqa: S608
        (value,),
    ).fetchone()
    return None if row is None else Account(*row)
