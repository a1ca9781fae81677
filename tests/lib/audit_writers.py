"""Writers of the audit log for processes of their own: few imports, so that they start quickly."""

from __future__ import annotations

from pathlib import Path
from random import Random

from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.database import Database, open_database

NOW = 1_795_334_400_000
EACH = 40


class Undone(Exception):
    """A transaction that is taken back."""


def event(number: int) -> tuple[str | int | None, ...]:
    """Return the values of one event."""
    return (
        f"event-{number}", NOW + number, f"request-{number}", "dr.chan", "Dr CHAN", "clinician",
        "ha-harbour", "TREAT", "portal", "127.0.0.1", "read", f"pat-{number % 7}",
        f'["Observation/{number}"]', "laboratory", None, "0", "shared", None,
    )  # fmt: skip


def write(database: Database, name: int) -> int:
    """Write events as writers and readers do, some of them taken back; return how many stay."""
    random, kept = Random(name), 0
    for number in range(EACH):
        rows = [(f"{name}-{number}-{n}", *event(number)[1:]) for n in range(random.randint(1, 3))]
        undo = random.random() < 0.3
        try:
            with database.write_transaction() as connection:
                append_rows(connection, seal_rows(rows))
                if undo:
                    raise Undone
            kept += len(rows)
        except Undone:
            continue
    return kept


def process(place: Path | str, name: int) -> int:
    """Do the same in a process of its own."""
    database = open_database(place)
    try:
        return write(database, name)
    finally:
        database.close()
