"""EHR launch: a word that stands for "this person has this record open" (SMART App Launch 2.2 §2).

The portal, or an organisation's own system, mints it for a person and hands it to the app; the app
brings it to `/oauth/authorize`. It is good once, for five minutes, for that person alone, and it
gives no right: which records the person sees is decided as ever.
"""

from __future__ import annotations

import secrets
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
from ehr_gateway.oauth.authorization_codes import key_of
from ehr_gateway.oauth.grant_context import Context
from ehr_gateway.oauth.json_body import json_object, text_of
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import Requester, parse_scopes

__all__ = ["Launch", "find", "router", "take"]

router = APIRouter(prefix="/oauth")
_LIFE_MS = 300_000
_FIELDS = {"patient", "encounter", "client_id", "user", "intent", "need_patient_banner"}


@dataclass(frozen=True)
class Launch:
    """What an app is launched with."""

    context: Context
    client: str | None


@router.post("/launch")
async def mint(request: Request, context: Authenticated) -> Response:
    """Mint a launch for the person whose token this is, or whom an organisation's system names."""
    body = await json_object(request)
    if unknown := set(body) - _FIELDS:
        raise Invalid(f"A launch has no field of {len(unknown)} that were sent.")
    return await run_in_threadpool(_minted, context, body)


def find(connection: Connection, word: str, login: str, client: str, now_ms: int) -> Launch | None:
    """Return the launch of a word if it is this person's, for this client, and still good."""
    row = connection.execute(
        "SELECT context, client FROM launch WHERE key = ? AND login = ? AND used_ms IS NULL"
        " AND issued_ms > ? AND (client IS NULL OR client = ?)",
        (key_of(word), login, now_ms - _LIFE_MS, client),
    ).fetchone()
    return Launch(Context.from_json(row[0]), row[1]) if row else None


def take(connection: Connection, word: str, login: str, client: str, now_ms: int) -> bool:
    """Use a launch up; false when somebody did so before."""
    used = connection.execute(
        "UPDATE launch SET used_ms = ? WHERE key = ? AND login = ? AND used_ms IS NULL"
        " AND issued_ms > ? AND (client IS NULL OR client = ?)",
        (now_ms, key_of(word), login, now_ms - _LIFE_MS, client),
    )
    return used.rowcount == 1


def _minted(context: RequestContext, body: dict[str, Any]) -> Response:
    gateway, now = context.gateway, context.access.now_ms
    audit_context = context.begin_audit("launch")
    account = _person(context, text_of(body, "user"))
    patient, encounter = text_of(body, "patient"), text_of(body, "encounter")
    if not patient:
        raise Invalid("A launch needs the id of a patient.", expression="patient")
    banner = body.get("need_patient_banner", True)
    if not isinstance(banner, bool):
        raise Invalid("need_patient_banner is true or false.", expression="need_patient_banner")
    _check_visible(context, account, patient, encounter)
    launch = Context(
        patient=patient,
        encounter=encounter or None,
        need_patient_banner=banner,
        intent=text_of(body, "intent") or None,
    )
    word = secrets.token_urlsafe(32)
    with gateway.store.write_transaction() as connection:
        connection.execute("DELETE FROM launch WHERE issued_ms < ?", (now - 10 * _LIFE_MS,))
        connection.execute(
            "INSERT INTO launch (key, login, client, context, issued_ms) VALUES (?, ?, ?, ?, ?)",
            (
                key_of(word), account.login, text_of(body, "client_id") or None,
                launch.to_json(), now,
            ),
        )  # fmt: skip
        recorder.record(connection, recorder.about(audit_context, patient))
    answer = {"launch": word, "iss": gateway.settings.fhir_base, "expires_in": _LIFE_MS // 1000}
    headers = {"Cache-Control": "no-store"}
    return json_response(answer, 201, media_type="application/json", headers=headers)


def _person(context: RequestContext, named: str) -> accounts.Account:
    """Return who is going to log in: the caller, or a member of the calling system's staff."""
    subject = context.caller.subject
    if subject.role != "system":
        if named not in ("", subject.login):
            raise Forbidden("A launch is minted for oneself; a system names its user.")
        return accounts.find_account(context.gateway.store, subject.login)
    try:
        account = accounts.find_account(context.gateway.store, named)
    except NotFound:
        account = None
    if account is None or account.organization != subject.organization:
        raise Forbidden("The user is no member of this system's organisation.")
    return account


def _check_visible(
    context: RequestContext, account: accounts.Account, patient: str, encounter: str
) -> None:
    """Refuse, with one answer, what the person may not see or what does not belong together."""
    scopes = "user/Patient.rs user/Encounter.rs"
    requester = Requester(
        account.role,
        account.person or account.login,
        account.organization,
        account.profession,
        load_roles()[account.role].purpose,
        account.patient,
        parse_scopes(scopes),
    )
    access = Access(requester, context.access.now_ms, context.access.request_id)
    store = context.gateway.store
    try:
        read(store, access, "Patient", patient)
        if encounter:
            body = orjson.loads(read(store, access, "Encounter", encounter).body)
            if body.get("subject", {}).get("reference") != f"Patient/{patient}":
                raise NotFound("The encounter is another patient's.")
    except EhrError as error:
        raise NotFound("There is no such patient or encounter.") from error
