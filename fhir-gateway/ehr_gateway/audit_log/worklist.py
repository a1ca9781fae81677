"""The worklist of anomaly flags, and the steward's verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.database import Connection

__all__ = ["VERDICTS", "WorkItem", "find_items", "settle_item"]

# Verdicts: in order, a mistake, or a breach, which is for the organisation's own procedure.
VERDICTS = ("in-order", "mistake", "breach")
_COLUMNS = (
    "id, rule, login, display, organization, patient, since_ms, until_ms, number, found_ms, state,"
    " verdict, note, settled_by, settled_ms"
)


@dataclass(frozen=True)
class WorkItem:
    """A flag with its state and verdict."""

    id: str
    rule: str
    login: str
    display: str
    organization: str | None
    patient: str | None
    since_ms: int
    until_ms: int
    number: int
    found_ms: int
    state: str
    verdict: str | None
    note: str | None
    settled_by: str | None
    settled_ms: int | None


def find_items(
    connection: Connection,
    *,
    state: str | None = None,
    rule: str | None = None,
    identity: str | None = None,
    before: str | None = None,
    count: int = 50,
) -> list[WorkItem]:
    """Return items, newest first."""
    criteria = {"state": state, "rule": rule, "id": identity}
    conditions = {name: value for name, value in criteria.items() if value is not None}
    where = " AND ".join(["1 = 1", *(f"{name} = :{name}" for name in conditions)])
    if before is not None:
        # Ids rise with time.
        where, conditions = f"{where} AND id < :before", {**conditions, "before": before}
    sql = f"SELECT {_COLUMNS} FROM audit_flag WHERE {where} ORDER BY id DESC LIMIT :count"  # noqa: S608
    return [
        WorkItem(**dict(row)) for row in connection.execute(sql, {**conditions, "count": count})
    ]


def settle_item(
    connection: Connection, identity: str, verdict: str, note: str, login: str, now_ms: int
) -> bool:
    """Settle an open item; return False if there is none."""
    update = connection.execute(
        "UPDATE audit_flag SET state = 'settled', verdict = ?, note = ?, settled_by = ?,"
        " settled_ms = ? WHERE id = ? AND state = 'open'",
        (verdict, note, login, now_ms, identity),
    )
    return update.rowcount == 1
