"""The scopes a client may get from a user: within the user's role and the client's registration."""

from __future__ import annotations

from ehr_gateway.accounts.accounts import Account
from ehr_gateway.oauth.clients import Client
from ehr_gateway.tokens.roles import load_roles
from ehr_gateway.tokens.scope_grants import (
    LOGIN_SCOPES,
    grant_scopes,
    narrow_scopes,
    to_patient_scopes,
)

__all__ = ["find_allowed_scopes", "find_granted_scopes"]


def find_allowed_scopes(client: Client, account: Account, patient: str | None) -> list[str]:
    """Return the resource scopes that a client may get from an account.

    With a patient in context, `user/` scopes of the role count as `patient/` scopes too.
    """
    words = list(load_roles()[account.role].scopes)
    if patient is not None:
        words += to_patient_scopes(words)
    if client.trusted:
        return words
    return [word for word in narrow_scopes(client.scope, words).split() if word not in LOGIN_SCOPES]


def find_granted_scopes(
    client: Client, account: Account, requested: str, patient: str | None, encounter: str | None
) -> str:
    """Return the scopes to grant to a client for a user who logged in.

    Raises Invalid for a scope whose search parameters cannot be enforced.
    """
    words = requested.split()
    words_kept = [
        word
        for word in words
        if word not in LOGIN_SCOPES or _may_have_login_scope(client, word, patient, encounter)
    ]
    allowed = find_allowed_scopes(client, account, patient)
    # A trusted client that requests no resource scope gets all those of the role.
    grant = grant_scopes if client.trusted else narrow_scopes
    return grant(" ".join(words_kept), allowed)


def _may_have_login_scope(
    client: Client, word: str, patient: str | None, encounter: str | None
) -> bool:
    if not client.may_request(word):
        return False
    if word in ("launch", "launch/patient"):
        return patient is not None
    return word != "launch/encounter" or encounter is not None
