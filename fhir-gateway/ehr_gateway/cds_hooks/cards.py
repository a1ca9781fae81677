"""Cards: the records a service may be told, the cards as JSON, and what is kept of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.access import Access
from ehr_gateway.access_requests.markers import find_marker
from ehr_gateway.cds_hooks.hook_request import Outcome
from ehr_gateway.database import Connection
from ehr_gateway.decision_support import Card, RecordSearch
from ehr_gateway.gateway import Gateway
from ehr_gateway.search.page import search_on
from ehr_gateway.store.store import Version
from ehr_gateway.tokens.access_tokens import Subject

__all__ = ["VisibleRecords", "find_visible_records", "keep_cards", "keep_outcomes", "show_card"]

# Records of one search. Chosen: some years of a patient who is often in hospital.
_PAGE_SIZE, _MOST_RECORDS = 1000, 5000
_KEEP_OUTCOME = (
    "UPDATE cds_card SET outcome = :outcome, reason = :reason, comment = :comment,"
    " outcome_ms = :at_ms WHERE id = :card AND service = :service AND client = :client"
)


@dataclass(frozen=True)
class VisibleRecords:
    """The records that a clinician may see, and whether any that a service needs are missing."""

    versions: Sequence[Version]
    is_partial: bool

    def parse(self) -> list[Mapping[str, Any]]:
        """Return the records as JSON."""
        return [orjson.loads(version.body) for version in self.versions]


def find_visible_records(
    connection: Connection,
    gateway: Gateway,
    access: Access,
    patient: str,
    searches: Iterable[RecordSearch],
) -> VisibleRecords:
    """Return what the searches find of a patient for a requester, each record once.

    It is partial where the token does not cover a type, where there are too many, where the Patient
    names another account of the person, whose records are not read, and, unless the marker policy
    hides it, where a restriction withholds something.
    """
    found: dict[int, Version] = {}
    is_partial = False
    for search in searches:
        try:
            versions, is_whole = _find(connection, gateway, access, patient, search)
        except Forbidden:
            is_partial = True
            continue
        found |= {version.position: version for version in versions}
        is_partial |= not is_whole
    if gateway.settings.limits.withheld_marker != "hide":
        marker = find_marker(connection, access, patient)
        is_partial |= bool(marker.hidden or marker.domains)
    is_partial |= any(_names_other_account(version) for version in found.values())
    return VisibleRecords(list(found.values()), is_partial)


def _find(
    connection: Connection, gateway: Gateway, access: Access, patient: str, search: RecordSearch
) -> tuple[list[Version], bool]:
    is_patient = search.resource_type == "Patient"
    about = ("_id" if is_patient else "patient", patient)
    criteria = [about, *search.criteria, ("_count", str(_PAGE_SIZE)), ("_total", "none")]
    found: list[Version] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < _MOST_RECORDS:
        pairs = [*criteria, ("_cursor", cursor)] if cursor else criteria
        page = search_on(connection, gateway.store, access, search.resource_type, pairs)
        found += (*page.matches, *page.included)
        cursor = page.next_cursor
    return found, cursor is None


def _names_other_account(version: Version) -> bool:
    if version.type != "Patient":
        return False
    links = orjson.loads(version.body).get("link", ())
    return any(link["type"] in ("replaces", "replaced-by") for link in links)


def show_card(card: Card, identity: str) -> dict[str, Any]:
    """Return a card as CDS Hooks has it."""
    shown: dict[str, Any] = {
        "uuid": identity,
        "summary": card.summary,
        "detail": card.detail,
        "indicator": card.indicator,
        "source": {"label": card.source, "url": card.source_url},
    }
    if card.override_reasons:
        shown["overrideReasons"] = [
            {"code": code, "system": card.source_url, "display": display}
            for code, display in card.override_reasons.items()
        ]
    return shown


def keep_cards(
    gateway: Gateway, subject: Subject, service: str, patient: str, cards: Sequence[Card], now: int
) -> list[str]:
    """Keep that cards were shown, to whom about whom, without their text; return their ids.

    Nothing is kept of a patient who was erased since the records were read.
    """
    ids = [str(uuid.uuid4()) for _ in cards]
    if cards:
        with gateway.store.write_transaction() as connection:
            if gateway.store.is_erased(connection, patient):
                return ids
            for identity, card in zip(ids, cards, strict=True):
                connection.execute(
                    "INSERT INTO cds_card (id, service, version, patient, login, client, shown_ms)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (identity, service, card.version, patient, subject.login, subject.client, now),
                )
    return ids


def keep_outcomes(
    gateway: Gateway, service: str, outcomes: Sequence[Outcome], *, login: str | None, client: str
) -> None:
    """Keep what became of cards, all of them or none; told again, the last word counts.

    A person tells of cards that they were shown, a client without a person of those it showed.
    NotFound for others, which is what it says of cards that never were.
    """
    with gateway.store.write_transaction() as connection:
        for number, outcome in enumerate(outcomes):
            at_ms = _parse_instant(outcome.at, f"feedback[{number}].outcomeTimestamp")
            told = connection.execute(
                _KEEP_OUTCOME if login is None else f"{_KEEP_OUTCOME} AND login = :login",
                {
                    "outcome": outcome.outcome,
                    "reason": outcome.reason,
                    "comment": outcome.comment,
                    "at_ms": at_ms,
                    "card": outcome.card,
                    "service": service,
                    "client": client,
                    "login": login,
                },
            )
            if not told.rowcount:
                raise NotFound(
                    "No card of this id was shown.", expression=f"feedback[{number}].card"
                )


def _parse_instant(text: str, path: str) -> int:
    try:
        start, _ = datetime_interval(text)
    except Invalid as error:
        raise Invalid("An instant such as 2026-11-22T08:00:00Z.", expression=path) from error
    return start


def now_of(access: Access) -> datetime:
    """Return the instant of a request."""
    return datetime.fromtimestamp(access.now_ms / 1000, UTC)
