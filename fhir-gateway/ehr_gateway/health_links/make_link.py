"""Make a link, list a patient's links, end one: by the patient, or by a carer with both powers."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import Forbidden, Invalid, NotFound, TooMany, Unprocessable
from ehr_fhir.json_text import serialize
from ehr_gateway.access_requests.role_checks import NO_PATIENT
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.health_links import link_format
from ehr_gateway.health_links.link_rows import (
    HealthLink,
    Opening,
    end_links,
    insert_link,
    list_links,
    list_openings,
)
from ehr_gateway.health_links.ownership import require_owner
from ehr_gateway.http.authentication import RequestContext, read_bearer_token
from ehr_gateway.ids import new_id
from ehr_gateway.patient_summary import MadeSummary, make_summary
from ehr_gateway.tokens.keys import load_health_link_secret
from ehr_gateway.tokens.secret_hashes import hash_secret

__all__ = ["CONTENTS", "MadeLink", "end_link", "list_shown_links", "make_link"]

# What a link holds.
CONTENTS = ("snapshot", "live")
# Wrong passcodes in the whole life of a link. The guide asks for a limit and names none. Chosen:
# of six digits somebody who has the link guesses one in a hundred thousand times.
_TRIES = 10
_SHORTEST_PASSCODE, _LONGEST_PASSCODE = 6, 64
_DAY_MS = 86_400_000
# Both chosen: a year is the term of a sharing consent, too.
_LONGEST_TERM_MS = 366 * _DAY_MS
_MOST_OPEN = 10
# For how long a link that is over is still listed. Chosen.
_LISTED_AFTER_MS = 366 * _DAY_MS


@dataclass(frozen=True)
class MadeLink:
    """A new link: its row, and what is told once."""

    row: HealthLink
    # `shlink:/...`, with the address and the key.
    text: str
    # What a snapshot holds.
    summary: MadeSummary | None


def make_link(
    context: RequestContext,
    patient: str,
    *,
    label: str,
    passcode: str,
    content: str,
    language: str,
    until_ms: int,
) -> MadeLink:
    """Make a link to a patient's summary, as it is now or as it will be at each opening.

    Raises NotFound for anybody but the patient or a carer who sees the record and decides about it,
    Forbidden for an app of others, Unprocessable for a term that is over or too long, TooMany with
    too many open links.
    """
    gateway, access = context.gateway, context.access
    if context.caller.subject.is_app:
        # A link would outlive what the person allowed the app, and their taking it back.
        raise Forbidden("An app makes no link: the person does, on the platform's own pages.")
    _check_passcode(passcode)
    label = link_format.clean_line(label)
    # As viewers written in JavaScript count.
    if len(label.encode("utf-16-le")) // 2 > link_format.MAX_LABEL:
        raise Unprocessable(
            f"A label has {link_format.MAX_LABEL} characters at most.", expression="label"
        )
    if not access.now_ms < until_ms <= access.now_ms + _LONGEST_TERM_MS:
        raise Unprocessable("The term ends within a year from now.", expression="until")
    with gateway.store.read_transaction() as connection:
        require_owner(connection, access, patient)
    # Of a live link as well: a token that does not cover a summary makes no link to one.
    summary = make_summary(gateway, access, patient, language)
    token = link_format.new_token()
    is_live = content == "live"
    if is_live:
        key = link_format.derive_key(load_health_link_secret(gateway.settings.keys), token)
    else:
        key = link_format.new_key()
    file = None if is_live else link_format.encrypt_file(serialize(summary.document), key).encode()
    row = HealthLink(
        id=new_id(),
        token_hash=link_format.hash_token(token),
        patient=patient,
        label=label,
        content=content,
        language=language,
        login=context.caller.subject.login,
        scope=_scope_of(context),
        passcode=hash_secret(passcode),
        tries_left=_TRIES,
        made_ms=access.now_ms,
        expires_ms=until_ms,
        file=file,
    )
    with step_transaction(context, "$create-health-link") as step:
        # Once more, in the transaction that makes it; the patient may be erased since.
        require_owner(step.connection, access, patient)
        if gateway.store.is_erased(step.connection, patient):
            raise NotFound(NO_PATIENT)
        _delete_old(step.connection, patient, access.now_ms)
        is_open = [one.is_open(access.now_ms) for one in list_links(step.connection, patient)]
        if sum(is_open) >= _MOST_OPEN:
            raise TooMany("There are too many open links. End one first.")
        insert_link(step.connection, row)
        step.patients.append(patient)
    url = f"{gateway.settings.base_url}/shl/{token}"
    text = link_format.build_link(url, key, expires_ms=until_ms, label=label, is_live=is_live)
    return MadeLink(row, text, None if is_live else summary)


def list_shown_links(
    connection: Connection, context: RequestContext, patient: str
) -> list[tuple[HealthLink, list[Opening]]]:
    """Return a patient's links, and who opened each, the newest first."""
    require_owner(connection, context.access, patient)
    links = list_links(connection, patient)
    openings = list_openings(connection, [link.id for link in links])
    return [(link, openings[link.id]) for link in links]


def end_link(context: RequestContext, patient: str, link: str) -> None:
    """End a link at once; NotFound where there is none in force."""
    with step_transaction(context, "$end-health-link") as step:
        require_owner(step.connection, context.access, patient)
        if not end_links(step.connection, patient, link, context.access.now_ms):
            raise NotFound("There is no such link.")
        step.patients.append(patient)


def _check_passcode(passcode: str) -> None:
    if not _SHORTEST_PASSCODE <= len(passcode) <= _LONGEST_PASSCODE:
        raise Invalid(
            f"A passcode has {_SHORTEST_PASSCODE} to {_LONGEST_PASSCODE} characters.",
            expression="passcode",
        )


def _delete_old(connection: Connection, patient: str, now_ms: int) -> None:
    """Delete links that were over long ago, and their openings."""
    for link in list_links(connection, patient):
        if (link.ended_ms or link.expires_ms) < now_ms - _LISTED_AFTER_MS:
            connection.execute("DELETE FROM health_link_opening WHERE link = ?", (link.id,))
            connection.execute("DELETE FROM health_link WHERE id = ?", (link.id,))


def _scope_of(context: RequestContext) -> str:
    """Return the scopes of the token: no link gives more than that."""
    token = read_bearer_token(context.request)
    verified = context.gateway.verifier.verify(token, context.access.now_ms)
    return str(verified.claims["scope"])
