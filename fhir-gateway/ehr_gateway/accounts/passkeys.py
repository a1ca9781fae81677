"""Passkeys (Web Authentication, level 2): registration and authentication ceremonies.

User verification is required: the authenticator proves that it holds the key and that its owner
confirmed by fingerprint, face or PIN, so a passkey is two factors in one. An account may have
several, each with a name.
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
from ehr_gateway.journal.redo_actions import append_redo_actions, build_factors_redo

_NAME_LENGTH = 60
# Of one account. Chosen: more than anybody has devices, few enough for one page.
MAX_PASSKEYS = 20
_INVALID_RESPONSE = (WebAuthnException, ValueError, TypeError, KeyError)


@dataclass(frozen=True)
class Passkey:
    """One passkey of an account."""

    id: str
    name: str
    created_ms: int
    used_ms: int | None


@dataclass(frozen=True)
class _StoredCredential:
    login: str
    # COSE key, base64url.
    public_key: str
    sign_count: int


def can_use_passkeys(gateway: Gateway) -> bool:
    """Say whether browsers allow passkeys at the base address: a domain by HTTPS, or localhost."""
    parts = urlsplit(gateway.settings.base_url)
    try:
        ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return parts.scheme == "https" or parts.hostname == "localhost"
    return False


def build_login_options(gateway: Gateway, nonce: str) -> str:
    """Return the request options of a log-in, as JSON: any passkey that the browser has for us."""
    options = generate_authentication_options(
        rp_id=_relying_party_id(gateway),
        challenge=nonce.encode(),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def build_registration_options(
    gateway: Gateway, account: Account, nonce: str, existing: list[Passkey]
) -> str:
    """Return the creation options of a new, discoverable passkey, as JSON."""
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
    """Store a new passkey if the authenticator's response is valid; say whether it was.

    The caller has consumed the nonce, which is the challenge.
    """
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
        if insertion.rowcount == 1:
            # Without it the password alone would do again after a restore.
            append_redo_actions(connection, [build_factors_redo(connection, login)])
    return insertion.rowcount == 1


def verify_passkey(gateway: Gateway, nonce: str, credential: str, now_ms: int) -> str | None:
    """Return the log-in name of the passkey that signed the nonce; None if the response is invalid.

    The caller has consumed the nonce. A signature counter that does not grow shows a cloned
    authenticator (§6.1.1) and is invalid.
    """
    try:
        parsed = parse_authentication_credential_json(credential)
        stored = _find_credential(gateway, parsed.id)
        if stored is None:
            return None
        authentication = verify_authentication_response(
            credential=parsed,
            expected_challenge=nonce.encode(),
            expected_rp_id=_relying_party_id(gateway),
            expected_origin=gateway.settings.base_url,
            credential_public_key=base64url_to_bytes(stored.public_key),
            credential_current_sign_count=stored.sign_count,
            require_user_verification=True,
        )
    except _INVALID_RESPONSE:
        return None
    # A discoverable credential returns the user handle; it has to be that of the account (§7.2).
    handle = parsed.response.user_handle
    if handle is None or not hmac.compare_digest(handle, _user_handle(gateway, stored.login)):
        return None
    with gateway.store.write_transaction() as connection:
        # Of two concurrent responses with the same counter one updates the row.
        update = connection.execute(
            "UPDATE passkey SET sign_count = ?, used_ms = ? WHERE id = ? AND sign_count = ?",
            (authentication.new_sign_count, now_ms, parsed.id, stored.sign_count),
        )
    return stored.login if update.rowcount == 1 else None


def list_passkeys(connection: Connection, login: str) -> list[Passkey]:
    """Return the passkeys of an account, oldest first."""
    rows = connection.execute(
        "SELECT id, name, created_ms, used_ms FROM passkey WHERE login = ? ORDER BY created_ms, id",
        (login,),
    ).fetchall()
    return [Passkey(*row) for row in rows]


def remove_passkey(connection: Connection, login: str, passkey: str) -> bool:
    """Delete a passkey of an account; say whether there was one."""
    deletion = connection.execute(
        "DELETE FROM passkey WHERE id = ? AND login = ?", (passkey, login)
    )
    append_redo_actions(connection, [build_factors_redo(connection, login)])
    return deletion.rowcount == 1


def _find_credential(gateway: Gateway, passkey: str) -> _StoredCredential | None:
    with gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT p.login, p.public_key, p.sign_count FROM passkey p"
            " JOIN account a ON a.login = p.login AND a.disabled = 0 WHERE p.id = ?",
            (passkey,),
        ).fetchone()
    return None if row is None else _StoredCredential(*row)


def _relying_party_id(gateway: Gateway) -> str:
    return urlsplit(gateway.settings.base_url).hostname or ""


def _user_handle(gateway: Gateway, login: str) -> bytes:
    # Must not contain personal data, and be unlinkable to other services (§14.6.1).
    text = f"passkey {login}".encode()
    return hmac.new(gateway.form_secret.encode(), text, hashlib.sha256).digest()
