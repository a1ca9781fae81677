"""The second factor of an account: its TOTP secret, its recovery codes, and who needs one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from cryptography.fernet import Fernet, InvalidToken

from ehr_gateway.accounts import totp
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.database import Connection, Database
from ehr_gateway.journal.closings import factors_closing, record_closings

RECOVERY_CODES = 10
# How long the page that shows a new secret may stay open.
PROPOSAL_LIFETIME_SECONDS = 900
# Without those that are easily taken for another.
_RECOVERY_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True)
class Factors:
    """What an account has beside its password."""

    totp: bool
    passkeys: int
    recovery_codes: int

    @property
    def is_enrolled(self) -> bool:
        """Whether there is a second factor."""
        return self.totp or self.passkeys > 0


def read_factors(connection: Connection, login: str) -> Factors:
    """Return what an account has."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM totp WHERE login = :login),"
        " (SELECT count(*) FROM passkey WHERE login = :login),"
        " (SELECT count(*) FROM recovery_code WHERE login = :login AND used_ms IS NULL)",
        {"login": login},
    ).fetchone()
    return Factors(bool(row[0]), row[1], row[2])


def needs_second_factor(account: Account) -> bool:
    """Say whether the account has to have a second factor."""
    return _load_policy().get(account.role, "required") == "required" and not account.exempt


def must_enrol_factor(account: Account, factors: Factors) -> bool:
    """Say whether the account may not be used by password before it has a second factor."""
    return needs_second_factor(account) and not factors.is_enrolled


def propose_totp(login: str, key: str) -> str:
    """Return a new TOTP secret for an account, sealed; it counts once a code of it was typed.

    It travels with the page that shows it and is kept nowhere: a page that somebody else opened
    for the same account shows another.
    """
    return _encrypt(key, f"{totp.generate_secret()} {login}")


def unseal_totp_proposal(login: str, sealed: str, key: str) -> str | None:
    """Return the secret of a proposal that is not too old and for this account."""
    try:
        plain = _cipher(key).decrypt(sealed, ttl=PROPOSAL_LIFETIME_SECONDS).decode()
    except InvalidToken:
        return None
    secret, _, owner = plain.partition(" ")
    return secret if owner == login else None


def confirm_totp(
    database: Database, login: str, sealed: str, code: str, key: str, now_ms: int
) -> list[str] | None:
    """Put the proposed secret in use when the code is one of its; return new recovery codes.

    They are shown this once. None when the code is not right.
    """
    secret = unseal_totp_proposal(login, sealed, key)
    step = totp.find_time_step(secret, code, now_ms) if secret else None
    if secret is None or step is None:
        return None
    codes = [
        "".join(secrets.choice(_RECOVERY_ALPHABET) for _ in range(10))
        for _ in range(RECOVERY_CODES)
    ]
    with database.write_transaction() as connection:
        connection.execute(
            "INSERT INTO totp (login, secret, last_step) VALUES (?, ?, ?)"
            " ON CONFLICT (login) DO UPDATE SET secret = excluded.secret,"
            " last_step = excluded.last_step",
            (login, _encrypt(key, secret), step),
        )
        connection.execute("DELETE FROM recovery_code WHERE login = ?", (login,))
        for code in codes:
            connection.execute(
                "INSERT INTO recovery_code (login, code) VALUES (?, ?)",
                (login, _hash_recovery_code(key, login, code)),
            )
        record_closings(connection, [factors_closing(connection, login)])
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def verify_code(database: Database, login: str, code: str, key: str, now_ms: int) -> bool:
    """Take a code of the app, or a recovery code, once; say whether it was right.

    The caller counts attempts (`throttle.admit_attempt`): six digits can be guessed.
    """
    with database.write_transaction() as connection:
        row = connection.execute("SELECT secret FROM totp WHERE login = ?", (login,)).fetchone()
        step = totp.find_time_step(_decrypt(key, row[0]), code, now_ms) if row else None
        if step is not None:
            # Of two who bring the same code at once, one changes the row.
            update = connection.execute(
                "UPDATE totp SET last_step = ? WHERE login = ? AND last_step < ?",
                (step, login, step),
            )
            return update.rowcount == 1
        update = connection.execute(
            "UPDATE recovery_code SET used_ms = ? WHERE login = ? AND code = ? AND used_ms IS NULL",
            (now_ms, login, _hash_recovery_code(key, login, code)),
        )
        if update.rowcount:
            # Good once, after a restore too.
            record_closings(connection, [factors_closing(connection, login)])
    return update.rowcount == 1


def remove_totp(connection: Connection, login: str) -> None:
    """Take the codes of the app and the recovery codes from an account."""
    for table in ("totp", "recovery_code"):
        connection.execute(
            f"DELETE FROM {table} WHERE login = ?",  # noqa: S608 constant names
            (login,),
        )
    record_closings(connection, [factors_closing(connection, login)])


@cache
def _load_policy() -> dict[str, str]:
    text = resources.files("ehr_gateway").joinpath("rules/login.toml").read_text("utf-8")
    return dict(tomllib.loads(text)["second_factor"])


def _hash_recovery_code(key: str, login: str, code: str) -> str:
    # 50 random bits behind a throttle; under a key that is not in the database, so that a thief of
    # it cannot try them out; with the name, so that none is looked up twice.
    plain = "".join(code.lower().replace("-", "").split())
    return hmac.new(key.encode(), f"recovery {login} {plain}".encode(), hashlib.sha256).hexdigest()


def _encrypt(key: str, secret: str) -> str:
    return _cipher(key).encrypt(secret.encode()).decode()


def _decrypt(key: str, sealed: str) -> str:
    return _cipher(key).decrypt(sealed.encode()).decode()


def _cipher(key: str) -> Fernet:
    # The key is in the folder of keys, so a copy of the database alone makes no codes.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"totp {key}".encode()).digest()))
