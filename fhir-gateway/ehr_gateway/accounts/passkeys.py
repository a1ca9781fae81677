"""Passkeys (Web Authentication, level 2): several to an account, each with a name of its own.

The browser proves that it holds the key and that its owner confirmed it by fingerprint, face or
PIN (user verification), so a passkey is two factors in one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    parse_authentication_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from ehr_gateway.accounts.accounts import Account
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.journal.closings import factors_closing, record_closings

_NAME_LENGTH = 60
# Of one account; more is a mistake or a nuisance.
MAX_PASSKEYS = 20
_INVALID_RESPONSE = (WebAuthnException, ValueError, TypeError, KeyError)


@dataclass(frozen=True)
class Passkey:
    """One passkey of an account."""

    id: str
    name: str
    created_ms: int
    used_ms: int | None


def can_use_passkeys(gateway: Gateway) -> bool:
    """Say whether browsers can use passkeys at our address: a domain name, by HTTPS or local."""
    parts = urlsplit(gateway.settings.base_url)
    try:
        ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return parts.scheme == "https" or parts.hostname == "localhost"
    return False


def build_login_options(gateway: Gateway, nonce: str) -> str:
    """Return what the browser is asked for at log-in: any passkey it has for us."""
    options = generate_authentication_options(
        rp_id=_relying_party_id(gateway),
        challenge=nonce.encode(),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def build_registration_options(
    gateway: Gateway, account: Account, nonce: str, existing: list[Passkey]
) -> str:
    """Return what the browser is asked for to make a new passkey that it can find by itself."""
    options = generate_registration_options(
        rp_id=_relying_party_id(gateway),
        rp_name="eHR Commons",
        user_id=_user_handle(gateway, account.login),
        user_name=account.login,
        user_display_name=account.display,
        challenge=nonce.encode(),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.id)) for passkey in existing
        ],
    )
    return options_to_json(options)


def register_passkey(
    gateway: Gateway, login: str, nonce: str, credential: str, name: str, now_ms: int
) -> bool:
    """Keep a new passkey; say whether it was right. The caller has taken the nonce."""
    try:
        registration = verify_registration_response(
            credential=credential,
            expected_challenge=nonce.encode(),
            expected_rp_id=_relying_party_id(gateway),
            expected_origin=gateway.settings.base_url,
            require_user_verification=True,
        )
    except _INVALID_RESPONSE:
        return False
    with gateway.store.write_transaction() as connection:
        if len(list_passkeys(connection, login)) >= MAX_PASSKEYS:
            return False
        insertion = connection.execute(
            "INSERT INTO passkey (id, login, name, public_key, sign_count, created_ms)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            (
                bytes_to_base64url(registration.credential_id),
                login,
                name.strip()[:_NAME_LENGTH],
                bytes_to_base64url(registration.credential_public_key),
                registration.sign_count,
                now_ms,
            ),
        )
    return insertion.rowcount == 1


def verify_passkey(gateway: Gateway, nonce: str, credential: str, now_ms: int) -> str | None:
    """Return the log-in name whose passkey signed the nonce; None when none did.

    The caller has taken the nonce. A counter that does not grow shows a copied key (§6.1.1).
    """
    try:
        parsed = parse_authentication_credential_json(credential)
        row = _find_credential(gateway, parsed.id)
        if row is None:
            return None
        login, public_key, count = row
        authentication = verify_authentication_response(
            credential=parsed,
            expected_challenge=nonce.encode(),
            expected_rp_id=_relying_party_id(gateway),
            expected_origin=gateway.settings.base_url,
            credential_public_key=base64url_to_bytes(public_key),
            credential_current_sign_count=count,
            require_user_verification=True,
        )
    except _INVALID_RESPONSE:
        return None
    # A passkey that the browser found by itself says whose it is: it must say the same.
    handle = parsed.response.user_handle
    if handle is None or not hmac.compare_digest(handle, _user_handle(gateway, login)):
        return None
    with gateway.store.write_transaction() as connection:
        # Of two who show the same counter at once, one changes the row.
        update = connection.execute(
            "UPDATE passkey SET sign_count = ?, used_ms = ? WHERE id = ? AND sign_count = ?",
            (authentication.new_sign_count, now_ms, parsed.id, count),
        )
    return login if update.rowcount == 1 else None


def list_passkeys(connection: Connection, login: str) -> list[Passkey]:
    """Return the passkeys of an account, the oldest first."""
    rows = connection.execute(
        "SELECT id, name, created_ms, used_ms FROM passkey WHERE login = ? ORDER BY created_ms, id",
        (login,),
    ).fetchall()
    return [Passkey(*row) for row in rows]


def remove_passkey(connection: Connection, login: str, passkey: str) -> bool:
    """Forget a passkey of an account; say whether there was one."""
    deletion = connection.execute(
        "DELETE FROM passkey WHERE id = ? AND login = ?", (passkey, login)
    )
    record_closings(connection, [factors_closing(connection, login)])
    return deletion.rowcount == 1


def _find_credential(gateway: Gateway, passkey: str) -> tuple[str, str, int] | None:
    with gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT p.login, p.public_key, p.sign_count FROM passkey p"
            " JOIN account a ON a.login = p.login AND a.disabled = 0 WHERE p.id = ?",
            (passkey,),
        ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _relying_party_id(gateway: Gateway) -> str:
    return urlsplit(gateway.settings.base_url).hostname or ""


def _user_handle(gateway: Gateway, login: str) -> bytes:
    # No name and no number that means anything elsewhere (§14.6.1).
    text = f"passkey {login}".encode()
    return hmac.new(gateway.form_secret.encode(), text, hashlib.sha256).digest()
