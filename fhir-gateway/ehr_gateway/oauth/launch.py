"""EHR launch (SMART App Launch 2.2 §2): an opaque handle for "this user has this record open".

The portal, or an organisation's own system, creates it for a user and passes it to the app, which
sends it to `/oauth/authorize` as `launch`. It is valid once, for five minutes, for that user only.
It gives no rights: consent and scopes decide as ever which records the user sees.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from ehr_fhir.errors import EhrError, Forbidden, Invalid, NotFound
from ehr_gateway.access import Access
from ehr_gateway.accounts import accounts
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import Authenticated, RequestContext
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.interactions.read import read
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorization_codes import hash_token
from ehr_gateway.oauth.grant_context import GrantContext
from ehr_gateway.oauth.json_body import read_json_object, read_text_field
from ehr_gateway.search.page import search_on
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import Requester, parse_scopes

__all__ = ["Launch", "consume_launch", "find_launch", "router"]

router = APIRouter(prefix="/oauth")
_LIFETIME_MS = 300_000
_FIELDS = {
    "patient", "encounter", "client_id", "user", "intent", "need_patient_banner", "fhirContext",
}  # fmt: skip
_MOST_REFERENCES = 10
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.-]{1,64})")


@dataclass(frozen=True)
class Launch:
    """A launch: the context, and the client it is for (None: any)."""

    context: GrantContext
    client: str | None


@router.post("/launch")
async def create_launch(request: Request, context: Authenticated) -> Response:
    """Create a launch for the caller, or for a user of the calling system's organisation."""
    body = await read_json_object(request)
    if unknown := set(body) - _FIELDS:
        raise Invalid(f"A launch has no field of {len(unknown)} that were sent.")
    return await run_in_threadpool(_create_launch, context, body)


def find_launch(
    connection: Connection, handle: str, login: str, client: str, now_ms: int
) -> Launch | None:
    """Return a launch if it is for this user and client, unused and not expired."""
    row = connection.execute(
        "SELECT context, client FROM launch WHERE key = ? AND login = ? AND used_ms IS NULL"
        " AND issued_ms > ? AND (client IS NULL OR client = ?)",
        (hash_token(handle), login, now_ms - _LIFETIME_MS, client),
    ).fetchone()
    return Launch(GrantContext.from_json(row[0]), row[1]) if row else None


def consume_launch(
    connection: Connection, handle: str, login: str, client: str, now_ms: int
) -> bool:
    """Consume a launch; return False if it was used before."""
    update = connection.execute(
        "UPDATE launch SET used_ms = ? WHERE key = ? AND login = ? AND used_ms IS NULL"
        " AND issued_ms > ? AND (client IS NULL OR client = ?)",
        (now_ms, hash_token(handle), login, now_ms - _LIFETIME_MS, client),
    )
    return update.rowcount == 1


def _create_launch(context: RequestContext, body: dict[str, Any]) -> Response:
    gateway, now = context.gateway, context.access.now_ms
    audit_context = context.begin_audit("launch")
    account = _find_launch_account(context, read_text_field(body, "user"))
    patient, encounter = read_text_field(body, "patient"), read_text_field(body, "encounter")
    if not patient:
        raise Invalid("A launch needs the id of a patient.", expression="patient")
    context.access.inquiry.name_target("Patient", patient)
    banner = body.get("need_patient_banner", True)
    if not isinstance(banner, bool):
        raise Invalid("need_patient_banner is true or false.", expression="need_patient_banner")
    client_id = read_text_field(body, "client_id")
    if client_id:
        _check_client(context, client_id, account.role)
    references = _parse_references(body.get("fhirContext", []))
    _check_visible(context, account, patient, encounter, references)
    grant_context = GrantContext(
        patient=patient,
        encounter=encounter or None,
        need_patient_banner=banner,
        intent=read_text_field(body, "intent") or None,
        fhir_context=tuple(f"{kind}/{identity}" for kind, identity in references),
    )
    handle = secrets.token_urlsafe(32)
    with gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM launch WHERE issued_ms < ?", (now - 10 * _LIFETIME_MS,))
        connection.execute(
            "INSERT INTO launch (key, login, client, context, issued_ms) VALUES (?, ?, ?, ?, ?)",
            (
                hash_token(handle), account.login, client_id or None, grant_context.to_json(), now,
            ),
        )  # fmt: skip
        recorder.record_rows(connection, recorder.build_event_rows(audit_context, patient))
    answer = {
        "launch": handle,
        "iss": gateway.settings.fhir_base,
        "expires_in": _LIFETIME_MS // 1000,
    }
    headers = {"Cache-Control": "no-store"}
    return json_response(answer, 201, media_type="application/json", headers=headers)


def _find_launch_account(context: RequestContext, login: str) -> accounts.Account:
    """Return the account to launch for: the caller's, or one of the system's organisation."""
    subject = context.caller.subject
    if subject.role != "system":
        if login not in ("", subject.login):
            raise Forbidden("A launch is minted for oneself; a system names its user.")
        return accounts.find_account(context.gateway.store, subject.login)
    try:
        account = accounts.find_account(context.gateway.store, login)
    except NotFound:
        account = None
    if account is None or account.organization != subject.organization:
        raise Forbidden("The user is no member of this system's organisation.")
    return account


def _check_client(context: RequestContext, client_id: str, role: str) -> None:
    """Refuse a launch for an app that is not there, not approved, or not for this role."""
    with context.gateway.store.read_transaction() as connection:
        client = clients.find_client_on(connection, client_id)
    if client is None or not client.may_be_used_by(role):
        raise NotFound("There is no such app for this role.")


def _parse_references(value: object) -> list[tuple[str, str]]:
    """Return the types and ids of `fhirContext`; patient and encounter have names of their own."""
    wrong = Invalid(
        "fhirContext is a list of up to ten objects with a reference, such as ServiceRequest/1;"
        " patient and encounter have fields of their own.",
        expression="fhirContext",
    )
    if not isinstance(value, list) or len(value) > _MOST_REFERENCES:
        raise wrong
    found = []
    for entry in value:
        reference = entry.get("reference") if isinstance(entry, dict) else None
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None or set(entry) != {"reference"} or match[1] in ("Patient", "Encounter"):
            raise wrong
        found.append((match[1], match[2]))
    return found


def _check_visible(
    context: RequestContext,
    account: accounts.Account,
    patient: str,
    encounter: str,
    references: Sequence[tuple[str, str]],
) -> None:
    """Raise NotFound unless the user may see all that is named, and it belongs to the patient.

    What an emergency opened to the user is open to no app, so it is not launched on.
    """
    kinds = {"Patient", "Encounter", *(kind for kind, _ in references)}
    scopes = " ".join(f"user/{kind}.rs" for kind in sorted(kinds))
    requester = Requester(
        account.role,
        account.person or account.login,
        account.organization,
        account.profession,
        load_roles()[account.role].purpose,
        account.patient,
        parse_scopes(scopes),
        emergency_suspended=True,
    )
    access = Access(requester, context.access.now_ms, context.access.request_id)
    store = context.gateway.store
    try:
        read(store, access, "Patient", patient)
        if encounter:
            body = orjson.loads(read(store, access, "Encounter", encounter).body)
            if body.get("subject", {}).get("reference") != f"Patient/{patient}":
                raise NotFound("The encounter is another patient's.")
        for kind, identity in references:
            with store.read_transaction() as connection:
                found = search_on(
                    connection,
                    store,
                    access,
                    kind,
                    [("_id", identity)],
                    within=("Patient", patient),
                )
            if not found.matches:
                raise NotFound("This is not of the patient's record.")
    except EhrError as error:
        raise NotFound("There is no such patient, encounter or other context.") from error
