"""Erase the content of a patient's audit events; the Merkle log keeps their places and leaves.

A leaf commits to its row through a random salt, so without row and salt it says nothing of the
event. An event of its own (`erase-audit`) names the emptied ones: verification reports an emptied
event that no erasure names, so nobody can empty one unseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.counted_sets import PERSON_REFERENCE, erase_person
from ehr_gateway.audit_log.verify_chunk import ERASURE_INTERACTION
from ehr_gateway.database import Connection
from ehr_gateway.journal.redo_actions import append_redo_actions, build_erasure_redo

__all__ = ["erase_patient_events"]

# Later than every event, and within the integers of both databases.
_ALWAYS_MS = 2**62
# References in one IN (...): below the limit of SQL parameters of either database.
_BATCH = 500

# Every column that can tell of the patient, also who looked. What stays is when it was, and that
# there was an event.
_UPDATE_EMPTY = (
    "UPDATE audit SET patient = NULL, entities = '[]', domains = '', query = NULL, consent = NULL,"
    " login = '', display = '', organization = NULL, client = '', address = NULL, request_id = '',"
    " reason = 'erased', salt = :salt WHERE id = :id"
)


# Events about the patient, by the patient, or that name the patient among others.
_SELECT_EVENTS = (
    "SELECT id, entities FROM audit WHERE (at_ms <= :until OR seq <= :size) AND (patient = :patient"
    " OR login IN (SELECT login FROM account WHERE patient = :patient)"
    " OR replace(entities, :mention, '') <> entities"
    " OR replace(coalesce(query, ''), :place, '') <> coalesce(query, '')) ORDER BY seq"
)


def erase_patient_events(
    connection: Connection,
    audit_context: recorder.AuditContext,
    patient: str,
    *,
    query: str | None = None,
    until_ms: int = _ALWAYS_MS,
    size: int = 0,
    is_journaled: bool = True,
    records: Iterable[str] = (),
) -> int:
    """Empty every event about a patient in the caller's transaction; return how many there were.

    With `until_ms`, later events stay, unless they are among the first `size` of the log.

    `records` are the patient's, as `Type/id`, beside those that the events name. Without
    `is_journaled` a restore does not repeat it by itself: it is part of an erasure that does.

    The erasure's own event is recorded under `audit_context`, with `query` as its details.
    """
    parameters = {
        "patient": patient,
        "mention": f'"Patient/{patient}"',
        "place": f"Patient/{patient}/",
        "until": until_ms,
        "size": size,
    }
    rows = connection.execute(_SELECT_EVENTS, parameters).fetchall()
    references = {reference for row in rows for reference in json.loads(row["entities"])}
    references |= set(records)
    refusals = _find_refusals(connection, sorted(references), until_ms, size)
    ids = sorted({*(row["id"] for row in rows), *refusals})
    events = [f"AuditEvent/{event_id}" for event_id in ids]
    number = erase_person(connection, patient, until_ms)
    # A number names nobody any more; verification asks that an erasure names it.
    erased = [*events, *([] if number is None else [f"{PERSON_REFERENCE}/{number}"])]
    if erased:
        connection.executemany(_UPDATE_EMPTY, [{"id": event_id, "salt": b""} for event_id in ids])
        erasure_context = replace(audit_context, interaction=ERASURE_INTERACTION, query=query)
        recorder.record_rows(
            connection,
            recorder.build_event_rows(erasure_context, None, entities=erased, reason="erased"),
        )
        if is_journaled:
            append_redo_actions(connection, [build_erasure_redo(patient)])
    return len(events)


def _find_refusals(
    connection: Connection, references: Sequence[str], until_ms: int, size: int
) -> Iterator[str]:
    """Yield the events of requests that were refused one of the patient's records.

    A refusal names the record that was tried and no patient, so it is found by the record.
    """
    for start in range(0, len(references), _BATCH):
        entity_lists = [f'["{reference}"]' for reference in references[start : start + _BATCH]]
        rows = connection.execute(
            "SELECT id FROM audit WHERE patient IS NULL AND outcome <> '0'"  # noqa: S608
            " AND (at_ms <= ? OR seq <= ?)"
            f" AND entities IN ({', '.join('?' * len(entity_lists))})",
            (until_ms, size, *entity_lists),
        )
        yield from (str(row["id"]) for row in rows)
