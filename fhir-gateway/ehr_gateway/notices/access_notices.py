"""Notices of accesses, derived from the audit log, so that a read itself does no extra work.

A patient is notified of the first access of an organisation since they share with it, and of each
later one (once an hour and person) if they want to. The log is read on from the last position, with
an overlap, since rows of other processes may appear late; the `cause` key of a notice keeps it from
being queued twice.
"""

from __future__ import annotations

from ehr_gateway.database import Connection, Row
from ehr_gateway.notices.outbox import Notice, patient_reader, queue_notice
from ehr_gateway.schema.audit_log import ALL_ROWS, LIST_QUERY
from ehr_gateway.store.store import Store

__all__ = ["queue_access_notices"]

_POSITION_NAME = "accesses"
# All chosen: an overlap of far more rows than processes write at once, batches that one transaction
# takes easily, and a bound to one round after a long stop.
_OVERLAP_ROWS = 200
_BATCH_ROWS = 5000
_MAX_BATCHES = 20
_HOUR_MS = 3_600_000
_SELECT_ACCESSES = (
    "SELECT patient, organization, login, MAX(display) AS display, MIN(at_ms) AS at_ms"  # noqa: S608
    f" FROM {ALL_ROWS} WHERE seq > ? AND seq <= ? AND role = 'clinician' AND outcome = '0'"
    " AND patient IS NOT NULL AND organization IS NOT NULL"
    # Of the operations, a list of patients shows records.
    f" AND (interaction <> 'operation' OR query = '{LIST_QUERY}')"
    " AND (reason IS NULL OR reason NOT IN ('own-record', 'named', 'counted', 'opened'))"
    " GROUP BY patient, organization, login, at_ms / 3600000"
    " ORDER BY MIN(at_ms), patient, organization, login"
)


def queue_access_notices(store: Store, now_ms: int) -> None:
    """Queue notices of the accesses since the last call."""
    for _ in range(_MAX_BATCHES):
        with store.read_transaction() as connection:
            newest, position = _read_newest_seq(connection), _read_position(connection)
            if position is not None and newest <= position:
                return
            # At the first start, skip accesses of long ago.
            begin = position if position is not None else max(0, newest - _BATCH_ROWS)
            last = min(newest, begin + _BATCH_ROWS)
            rows = connection.execute(
                _SELECT_ACCESSES, (max(0, begin - _OVERLAP_ROWS), last)
            ).fetchall()
            notices = [notice for row in rows if (notice := _build_notice(connection, row))]
        with store.write_transaction() as connection:
            for notice in notices:
                # The patient may have been erased since the log was read.
                if not store.is_erased(connection, notice.patient):
                    queue_notice(connection, notice)
            connection.execute(
                "INSERT INTO notice_place (name, seq) VALUES (?, ?) ON CONFLICT (name)"
                " DO UPDATE SET seq = excluded.seq WHERE notice_place.seq < excluded.seq",
                (_POSITION_NAME, last),
            )


def _build_notice(connection: Connection, row: Row) -> Notice | None:
    """Build the notice for an access, or None; the `cause` key deduplicates it."""
    patient, organization, at_ms = row["patient"], row["organization"], row["at_ms"]
    since = _shared_since(connection, patient, organization, at_ms)
    if since is None:
        return None
    reader = patient_reader(patient)
    first = f"first-access:{patient}:{organization}:{since}"
    first_notice = connection.execute(
        "SELECT made_ms FROM notice WHERE cause = ?", (f"{first}|{reader}",)
    ).fetchone()
    if first_notice is None:
        return Notice(first, "first-access", patient, reader, row["display"], organization, at_ms)
    preference = connection.execute(
        "SELECT 1 FROM notice_preference WHERE reader = ? AND each_access = 1", (reader,)
    ).fetchone()
    if preference is None or at_ms <= first_notice[0]:
        return None
    cause = f"access:{patient}:{organization}:{row['login']}:{at_ms // _HOUR_MS}"
    return Notice(cause, "access", patient, reader, row["display"], organization, at_ms)


def _shared_since(
    connection: Connection, patient: str, organization: str, at_ms: int
) -> int | None:
    """Return since when the organisation could see the record at `at_ms`; None if it could not."""
    row = connection.execute(
        "SELECT MIN(since) FROM (SELECT since FROM consent_sharing WHERE patient = :patient"
        " AND organization IN (:organization, '*') AND since <= :at"
        " AND (until IS NULL OR :at < until)"
        " UNION ALL SELECT since FROM consent_deemed WHERE organization = :organization"
        " AND since <= :at AND (until IS NULL OR :at < until)) AS shared",
        {"patient": patient, "organization": organization, "at": at_ms},
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _read_position(connection: Connection) -> int | None:
    row = connection.execute(
        "SELECT seq FROM notice_place WHERE name = ?", (_POSITION_NAME,)
    ).fetchone()
    return None if row is None else int(row[0])


def _read_newest_seq(connection: Connection) -> int:
    row = connection.execute("SELECT MAX(seq) FROM audit").fetchone()
    return int(row[0] or 0)
