"""Open a link: verify the passcode, judge its maker's rights as they are now, give the file.

Whoever opens it has no account. The answer for a link that is over, locked, unknown, or whose maker
may not see the record any more is the same: there is nothing here.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ehr_fhir.errors import NotFound, TooMany, Unauthorized
from ehr_fhir.json_text import serialize
from ehr_gateway.access import Access
from ehr_gateway.accounts.accounts import find_account, subject_of_account
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.gateway import Gateway
from ehr_gateway.health_links import link_format
from ehr_gateway.health_links.link_rows import (
    HealthLink,
    Opening,
    count_openings_since,
    find_link,
    record_opening,
    return_try,
    settle_opening,
    take_try,
)
from ehr_gateway.health_links.ownership import require_owner
from ehr_gateway.patient_summary import make_summary
from ehr_gateway.store.store import Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.tokens.access_tokens import Caller, Subject
from ehr_gateway.tokens.keys import load_health_link_secret
from ehr_gateway.tokens.roles import load_roles
from ehr_gateway.tokens.secret_hashes import verify_secret
from ehr_privacy.consent import Requester, parse_scopes

__all__ = ["OpenedLink", "WrongPasscode", "fetch_file", "open_link"]

NOTHING = "There is nothing at this address."
# Openings of one link, and tries, within a minute. Chosen: receivers poll, people reload.
_MOST_PER_MINUTE, _MINUTE_MS = 20, 60_000
# Characters of a receiver's name that are kept.
_LONGEST_RECIPIENT = 100
# For how long the address of a file is good. The guide allows an hour.
_TICKET_MS = 5 * 60_000
# In whose name openings are on record.
_LOGIN, _DISPLAY, _ROLE, _PURPOSE = "health-link", "SMART Health Link", "health-link", "PATRQT"


class WrongPasscode(Unauthorized):
    """The passcode is wrong, or none was sent."""

    def __init__(self, tries_left: int) -> None:
        super().__init__("The passcode is wrong.")
        self.tries_left = tries_left


@dataclass(frozen=True)
class OpenedLink:
    """What a link gives: its file, encrypted, or for a larger one where it can be fetched."""

    # The compact JWE; None where there is a ticket.
    file: str | None
    ticket: str
    is_live: bool
    at_ms: int


def open_link(
    gateway: Gateway,
    token: str,
    *,
    recipient: str,
    passcode: str,
    most: int,
    address: str | None,
) -> OpenedLink:
    """Open a link with a passcode; a file longer than `most` characters is fetched apart.

    Raises NotFound where there is nothing to open, WrongPasscode with the tries that are left,
    TooMany when it is opened too often in a minute.
    """
    now = gateway.clock()
    audit_context = _build_audit_context(now, address)
    link = _find_open(gateway, token, now)
    access = _judge_maker(gateway, link, audit_context)
    recipient = link_format.clean_line(recipient)[:_LONGEST_RECIPIENT]
    with gateway.store.write_transaction() as connection:
        if count_openings_since(connection, link.id, now - _MINUTE_MS) >= _MOST_PER_MINUTE:
            raise TooMany("This link was opened too often. Wait a minute.")
        left = take_try(connection, link.id)
        if left is None:
            raise NotFound(NOTHING)
        # Counted before any work is done for it, so that many at once are many.
        opening = record_opening(connection, Opening(link.id, now, recipient, "tried"))
    if not verify_secret(link.passcode, passcode):
        _record_refusal(gateway, link, opening, audit_context)
        raise WrongPasscode(left)
    with gateway.store.write_transaction() as connection:
        return_try(connection, link.id)
    made = _make_file(gateway, link, token, access)
    is_live = link.content == "live"
    if len(made.file) > most:
        secret = load_health_link_secret(gateway.settings.keys)
        ticket = link_format.seal_ticket(secret, token, opening, now + _TICKET_MS)
        return OpenedLink(None, ticket, is_live, now)
    _record_disclosure(gateway, link, opening, made, audit_context)
    return OpenedLink(made.file, "", is_live, now)


def fetch_file(gateway: Gateway, token: str, ticket: str, address: str | None) -> str:
    """Return the file of a link that was opened a moment ago, once; NotFound where it is over."""
    now = gateway.clock()
    secret = load_health_link_secret(gateway.settings.keys)
    opening = link_format.open_ticket(secret, token, ticket, now)
    if opening is None:
        raise NotFound(NOTHING)
    link = _find_open(gateway, token, now)
    audit_context = _build_audit_context(now, address)
    made = _make_file(gateway, link, token, _judge_maker(gateway, link, audit_context))
    _record_disclosure(gateway, link, opening, made, audit_context)
    return made.file


def _find_open(gateway: Gateway, token: str, now_ms: int) -> HealthLink:
    with gateway.store.read_transaction() as connection:
        link = find_link(connection, link_format.hash_token(token))
    if link is None or not link.is_open(now_ms):
        raise NotFound(NOTHING)
    return link


@dataclass(frozen=True)
class _MadeFile:
    """A file, and the versions of the store that it discloses; of a snapshot they are on record."""

    file: str
    disclosed: Sequence[Version]


def _make_file(gateway: Gateway, link: HealthLink, token: str, access: Access) -> _MadeFile:
    if link.content == "snapshot":
        return _MadeFile((link.file or b"").decode(), ())
    try:
        summary = make_summary(gateway, access, link.patient, link.language)
    except NotFound as error:
        raise NotFound(NOTHING) from error
    key = link_format.derive_key(load_health_link_secret(gateway.settings.keys), token)
    return _MadeFile(link_format.encrypt_file(serialize(summary.document), key), summary.disclosed)


def _record_refusal(
    gateway: Gateway, link: HealthLink, opening: str, audit_context: AuditContext
) -> None:
    with gateway.store.write_transaction() as connection:
        if not settle_opening(connection, opening, "wrong-passcode"):
            # The patient is erased since: nothing is told of them.
            raise NotFound(NOTHING)
        rows = recorder.build_event_rows(
            audit_context, link.patient, outcome=recorder.REFUSED, reason=_ROLE
        )
        recorder.record_rows(connection, rows)


def _record_disclosure(
    gateway: Gateway,
    link: HealthLink,
    opening: str,
    made: _MadeFile,
    audit_context: AuditContext,
) -> None:
    """Put on record that a file leaves, before it does; NotFound where it may not any more."""
    with gateway.store.write_transaction() as connection:
        # The link may have been ended, or the patient erased, while the file was made; a file that
        # is fetched apart is fetched once.
        current = find_link(connection, link.token_hash)
        is_open = current is not None and current.is_open(audit_context.at_ms)
        if not is_open or not settle_opening(connection, opening, "opened"):
            raise NotFound(NOTHING)
        if made.disclosed:
            rows = recorder.build_disclosure_rows(connection, audit_context, made.disclosed)
        else:
            rows = recorder.build_event_rows(audit_context, link.patient, reason=_ROLE)
        recorder.record_rows(connection, rows)


def _judge_maker(gateway: Gateway, link: HealthLink, audit_context: AuditContext) -> Access:
    """Return the maker's access; NotFound where they may not give the record to others any more.

    Before a passcode is asked for, so that a link that opens nothing tells of no try.
    """
    access = _access_of_maker(gateway, link, audit_context)
    try:
        with gateway.store.read_transaction() as connection:
            require_owner(connection, access, link.patient)
            # A snapshot, too, ends with its maker's right to see the patient.
            read_on(connection, access, "Patient", link.patient)
    except NotFound as error:
        raise NotFound(NOTHING) from error
    return access


def _access_of_maker(gateway: Gateway, link: HealthLink, audit_context: AuditContext) -> Access:
    """Return the maker's access as it is now; NotFound where they may do nothing any more."""
    try:
        account = find_account(gateway.store.database, link.login)
    except NotFound as error:
        raise NotFound(NOTHING) from error
    subject = subject_of_account(account, _LOGIN)
    requester = Requester(
        role=subject.role,
        person=subject.person or subject.login,
        purpose=load_roles()[subject.role].purpose,
        patient=subject.patient,
        scopes=parse_scopes(link.scope),
    )
    if gateway.revocations.is_stale():
        gateway.revocations.reload()
    now = audit_context.at_ms
    if gateway.verifier.is_suspended(Caller(subject, requester), now):
        raise NotFound(NOTHING)
    gateway.closure.check_role(subject.role)
    suspended = gateway.revocations.suspensions.is_emergency_suspended(now)
    return Access(
        requester=replace(requester, emergency_suspended=suspended),
        now_ms=now,
        request_id=audit_context.request_id,
        base=gateway.settings.fhir_base,
    )


def _build_audit_context(now_ms: int, address: str | None) -> AuditContext:
    return AuditContext(
        subject=Subject(_LOGIN, _DISPLAY, _ROLE, _LOGIN),
        purpose=_PURPOSE,
        at_ms=now_ms,
        request_id=uuid.uuid4().hex,
        interaction="operation",
        query="$open-health-link",
        address=address,
    )
