"""The audit rows of those whom a request asked about, beside those whose records it disclosed.

Whoever the criteria name is on record, found or not, with the outcome of the request; whoever a
number includes is, too: one by one up to `MAX_COUNTED_ROWS`, above that by one row for all of them
(`counted_sets`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

import orjson

from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.batcher import AuditEntry
from ehr_gateway.audit_log.counted_sets import with_members
from ehr_gateway.audit_log.reasons import COUNTED, FEED, NAMED
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import Connection
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_gateway.search.named_patients import find_named_patients
from ehr_gateway.store.decision_changes import DecisionChange
from ehr_gateway.store.store import Store

__all__ = ["MAX_COUNTED_ROWS", "build_feed_rows", "defer_request_rows"]

# More people in one number are on record as one entry (decided in the rule model).
MAX_COUNTED_ROWS = 200
_SELECT_FEED_PATIENTS = (
    "SELECT p.patient, r.type, r.id FROM resource r JOIN record_patient p ON p.pk = r.pk"
    " WHERE r.position > ? AND r.position <= ? ORDER BY r.position, p.patient"
)
_PATIENT = CONTENT_COLUMNS.index("patient")
_ENTITIES = CONTENT_COLUMNS.index("entities")
_OUTCOME = CONTENT_COLUMNS.index("outcome")
_REASON = CONTENT_COLUMNS.index("reason")


def defer_request_rows(
    entries: Sequence[AuditEntry],
    inquiry: Inquiry,
    audit_context: AuditContext,
    store: Store,
    base: str,
) -> AuditEntry:
    """Return the entry that builds all rows of a request when it is put on record."""
    return partial(
        _build_request_rows,
        entries=entries,
        recorded=frozenset(inquiry.recorded),
        inquiry=inquiry,
        audit_context=audit_context,
        store=store,
        base=base,
    )


def _build_request_rows(
    connection: Connection,
    *,
    entries: Sequence[AuditEntry],
    recorded: Collection[str],
    inquiry: Inquiry,
    audit_context: AuditContext,
    store: Store,
    base: str,
) -> list[RowValues]:
    """Build all rows of a request: those of its entries, then of the others it asked about.

    `recorded` are the patients whom the request's writes have put on record.
    """
    rows = [row for entry in entries for row in (entry(connection) if callable(entry) else entry)]
    recorded = {*recorded, *(str(row[_PATIENT]) for row in rows if row[_PATIENT])}
    named = [
        patient
        for patient in find_named_patients(connection, store, inquiry, audit_context.at_ms, base)
        if patient not in recorded
    ]
    counted = [patient for patient in inquiry.counted if patient not in {*recorded, *named}]
    if not named and not counted:
        return rows
    is_refused = bool(rows) and all(row[_OUTCOME] != recorder.SUCCESS for row in rows)
    others = [row for row in rows if not _is_replaced(row, is_refused, len(rows))]
    refusal = rows[0] if is_refused else None
    return [
        *others,
        *_named_rows(audit_context, named, refusal),
        *_counted_rows(audit_context, counted),
    ]


def build_feed_rows(
    connection: Connection,
    *,
    audit_context: AuditContext,
    first: int,
    last: int,
    decisions: Iterable[DecisionChange] = (),
) -> list[RowValues]:
    """Build the rows of a page of the feed: of each patient whose records or rules it holds."""
    records: dict[str, dict[str, None]] = {}
    for row in connection.execute(_SELECT_FEED_PATIENTS, (first, last)):
        records.setdefault(row["patient"], {})[f"{row['type']}/{row['id']}"] = None
    for change in decisions:
        if change.is_erasure:
            # It names nobody: a keyed hash is no patient's id.
            continue
        patients = (change.id,) if change.record is None else sorted(change.record.patients)
        for patient in patients:
            records.setdefault(patient, {})[f"{change.type}/{change.id}"] = None
    return _rows_or_set(audit_context, records, FEED) or recorder.build_event_rows(
        audit_context, None
    )


def _is_replaced(row: RowValues, is_refused: bool, number: int) -> bool:
    """Say whether a row about nobody adds nothing to those about the people asked for."""
    if row[_PATIENT] is not None:
        return False
    return number == 1 if is_refused else row[_ENTITIES] == "[]"


def _named_rows(
    audit_context: AuditContext, patients: Sequence[str], refusal: RowValues | None
) -> list[RowValues]:
    """Build a row for each person named, with the outcome of the request that names them."""
    if refusal is None:
        attempted, reason, outcome = [], NAMED, recorder.SUCCESS
    else:
        attempted = orjson.loads(str(refusal[_ENTITIES]))
        reason, outcome = str(refusal[_REASON]), str(refusal[_OUTCOME])
    return [
        row
        for patient in patients
        for row in recorder.build_event_rows(
            audit_context, patient, entities=attempted, reason=reason, outcome=outcome
        )
    ]


def _counted_rows(audit_context: AuditContext, patients: Sequence[str]) -> list[RowValues]:
    records: dict[str, Iterable[str]] = dict.fromkeys(patients, ())
    return _rows_or_set(audit_context, records, COUNTED) if records else []


def _rows_or_set(
    audit_context: AuditContext, records: Mapping[str, Iterable[str]], reason: str
) -> list[RowValues]:
    """Build a row for each patient with the records they are named by, or one for too many."""
    if len(records) > MAX_COUNTED_ROWS:
        (row,) = recorder.build_event_rows(audit_context, None, reason=reason)
        return [with_members(row, records)]
    return [
        row
        for patient, references in records.items()
        for row in recorder.build_event_rows(
            audit_context, patient, entities=references, reason=reason
        )
    ]
