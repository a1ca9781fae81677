"""Second factors: TOTP secrets, recovery codes, and which accounts need one.

Passkeys are in `passkeys`.
"""

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

from ehr_fhir.typed_codes import normalize_typed_code
from ehr_gateway.accounts import totp
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.database import Connection, Database
from ehr_gateway.journal.redo_actions import append_redo_actions, build_factors_redo

RECOVERY_CODES = 10
# How long the page that shows a new secret may stay open: a quarter of an hour, as other log-in
# pages (chosen).
PROPOSAL_LIFETIME_SECONDS = 900
# Without letters and digits that are easily confused (0 and o, 1, i and l).
_RECOVERY_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True)
class Factors:
    """The second factors of an account, and how many recovery codes are left."""

    totp: bool
    passkeys: int
    recovery_codes: int

    @property
    def is_enrolled(self) -> bool:
        """Whether the account has a second factor."""
        return self.totp or self.passkeys > 0


def read_factors(connection: Connection, login: str) -> Factors:
    """Read the second factors of an account."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM totp WHERE login = :login),"
        " (SELECT count(*) FROM passkey WHERE login = :login),"
        " (SELECT count(*) FROM recovery_code WHERE login = :login AND used_ms IS NULL)",
        {"login": login},
    ).fetchone()
    return Factors(bool(row[0]), row[1], row[2])


def needs_second_factor(account: Account) -> bool:
    """Say whether the policy requires a second factor of the account."""
    return _load_policy().get(account.role, "required") == "required" and not account.exempt


def must_enrol_factor(account: Account, factors: Factors) -> bool:
    """Say whether the user has to enrol a second factor before a password log-in completes."""
    return needs_second_factor(account) and not factors.is_enrolled


def propose_totp(login: str, key: str) -> str:
    """Return a new TOTP secret for an account, encrypted; `confirm_totp` puts it in use.

    It travels in the page and is not stored, so that a page that somebody else opened for the same
    account shows another secret.
    """
    return _encrypt(key, f"{totp.generate_secret()} {login}")


def unseal_totp_proposal(login: str, sealed: str, key: str) -> str | None:
    """Decrypt a proposed secret; None if it expired or is for another account."""
    try:
        plain = _cipher(key).decrypt(sealed, ttl=PROPOSAL_LIFETIME_SECONDS).decode()
    except InvalidToken:
        return None
    secret, _, owner = plain.partition(" ")
    return secret if owner == login else None


def confirm_totp(
    database: Database, login: str, sealed: str, code: str, key: str, now_ms: int
) -> list[str] | None:
    """Store a proposed TOTP secret if the code matches it; return new recovery codes, else None.

    Only hashes of the recovery codes are stored, so they can be shown this once.
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
        append_redo_actions(connection, [build_factors_redo(connection, login)])
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def verify_code(database: Database, login: str, code: str, key: str, now_ms: int) -> bool:
    """Consume a TOTP or recovery code; return False if it is wrong or was used.

    The caller throttles attempts (`throttle.admit_attempt`): six digits can be guessed.
    """
    with database.write_transaction() as connection:
        row = connection.execute("SELECT secret FROM totp WHERE login = ?", (login,)).fetchone()
        step = totp.find_time_step(_decrypt(key, row[0]), code, now_ms) if row else None
        if step is not None:
            # Each time step is accepted once (RFC 6238 §5.2). Of two concurrent attempts with the
            # same code one updates the row.
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
            append_redo_actions(connection, [build_factors_redo(connection, login)])
    return update.rowcount == 1


def remove_totp(connection: Connection, login: str) -> None:
    """Remove the TOTP secret and the recovery codes of an account."""
    for table in ("totp", "recovery_code"):
        connection.execute(
            f"DELETE FROM {table} WHERE login = ?",  # noqa: S608 constant names
            (login,),
        )
    append_redo_actions(connection, [build_factors_redo(connection, login)])


@cache
def _load_policy() -> dict[str, str]:
    text = resources.files("ehr_gateway").joinpath("rules/login.toml").read_text("utf-8")
    return dict(tomllib.loads(text)["second_factor"])


def _hash_recovery_code(key: str, login: str, code: str) -> str:
    # About 50 random bits behind a throttle. HMAC with a key that is not in the database, so that
    # whoever steals the database cannot try codes; with the name, so that equal codes of two
    # accounts have different hashes.
    plain = normalize_typed_code(code).lower()
    return hmac.new(key.encode(), f"recovery {login} {plain}".encode(), hashlib.sha256).hexdigest()


def _encrypt(key: str, secret: str) -> str:
    return _cipher(key).encrypt(secret.encode()).decode()


def _decrypt(key: str, sealed: str) -> str:
    return _cipher(key).decrypt(sealed.encode()).decode()


def _cipher(key: str) -> Fernet:
    # The key is in the folder of keys, so a copy of the database alone yields no TOTP codes.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"totp {key}".encode()).digest()))
