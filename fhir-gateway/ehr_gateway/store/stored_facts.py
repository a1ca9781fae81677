"""Facts in force of a stored record: read them, and replace those held beside its versions.

The rows of the current version (`resource`, `record_patient`, `record_label`) have the facts in
force, which the consent condition reads. `held_fact` has those that do not follow from the version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from ehr_fhir.errors import NotFound
from ehr_fhir.json_text import parse
from ehr_fhir.resource_links import list_references
from ehr_gateway.database import Connection, Dialect, Row
from ehr_privacy.consent import (
    RECORD_COLUMNS,
    HeldFact,
    Record,
    apply_held_facts,
    record_facts,
)
from ehr_privacy.consent.held_facts import PATIENT, STEWARD, STEWARD_NOT
from ehr_privacy.consent.model import read_columns

__all__ = [
    "FactChange",
    "FactCorrection",
    "StoredFacts",
    "correct_facts",
    "facts_columns",
    "mark_record",
    "read_current_body",
    "read_last_body",
    "read_stored_facts",
    "replace_held_facts",
    "update_facts",
    "update_patients_and_labels",
]

_UPDATE_FACTS = (
    "UPDATE resource SET"  # noqa: S608 - names of columns
    f" {', '.join(f'{column.name} = ?' for column in RECORD_COLUMNS)} WHERE pk = ?"
)
_MARK_RECORD = (
    "INSERT INTO decision_change (kind, type, id, number)"
    " SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), COALESCE(MAX(number), 0) + 1"
    " FROM decision_change WHERE 1 = 1"
    " ON CONFLICT (kind, type, id) DO UPDATE SET number = excluded.number"
)
_OWN_COLUMNS = ", ".join(
    f"r.{name}" for name in ("type", "id", "author", *(column.name for column in RECORD_COLUMNS))
)
# Patients, labels and held facts as JSON arrays, so that a record is read by one statement.
_COLUMNS = {
    "sqlite": "(SELECT json_group_array(p.patient) FROM record_patient p WHERE p.pk = r.pk)"
    " AS fact_patients,"
    " (SELECT json_group_array(json_array(l.label, l.added)) FROM record_label l"
    " WHERE l.pk = r.pk) AS fact_labels,"
    " (SELECT json_group_array(json_array(h.kind, h.value, h.source)) FROM held_fact h"
    " WHERE h.type = r.type AND h.id = r.id) AS fact_held",
    "postgresql": "(SELECT CAST(json_agg(p.patient) AS TEXT) FROM record_patient p"
    " WHERE p.pk = r.pk) AS fact_patients,"
    " (SELECT CAST(json_agg(json_build_array(l.label, l.added)) AS TEXT) FROM record_label l"
    " WHERE l.pk = r.pk) AS fact_labels,"
    " (SELECT CAST(json_agg(json_build_array(h.kind, h.value, h.source)) AS TEXT)"
    " FROM held_fact h WHERE h.type = r.type AND h.id = r.id) AS fact_held",
}


@dataclass(frozen=True)
class StoredFacts:
    """The facts in force of a resource's current version, and those held beside it."""

    record: Record
    held: frozenset[HeldFact]

    @classmethod
    def from_row(cls, row: Row) -> StoredFacts:
        """Build the facts from a row of `resource` with `facts_columns`."""
        labels = _parse_list(row["fact_labels"])
        record = Record(
            type=row["type"],
            id=row["id"],
            author=row["author"],
            patients=frozenset(_parse_list(row["fact_patients"])),
            labels=frozenset(label for label, _ in labels),
            added_labels=frozenset(label for label, added in labels if added),
            **read_columns(row),
        )
        return cls(record, frozenset(HeldFact(*fact) for fact in _parse_list(row["fact_held"])))


@dataclass(frozen=True)
class FactCorrection:
    """One correction of a record's facts by its patient or by a steward.

    `kind` is a kind of `HeldFact`. A patient adds labels and takes back their own. A steward adds a
    fact (`add`), says that one is not so (`deny`), or takes back what a steward said (`withdraw`).
    """

    kind: str
    value: str
    action: Literal["add", "deny", "withdraw"]
    source: Literal["patient", "steward"]


@dataclass(frozen=True)
class FactChange:
    """The facts of a resource before and after a correction.

    `pk` is its current version's, `references` are those of its newest content, each with its path.
    """

    pk: int
    before: StoredFacts
    after: StoredFacts
    references: tuple[tuple[str, str], ...]


def facts_columns(dialect: Dialect) -> str:
    """Return what a statement selects from `resource r` for `StoredFacts.from_row`."""
    return f"{_OWN_COLUMNS}, {_COLUMNS[dialect]}"


def read_stored_facts(connection: Connection, kind: str, identity: str) -> StoredFacts | None:
    """Return the facts of a resource's current version, deleted or not; None if there is none."""
    row = connection.execute(
        f"SELECT {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (kind, identity),
    ).fetchone()
    return None if row is None else StoredFacts.from_row(row)


def replace_held_facts(
    connection: Connection,
    kind: str,
    identity: str,
    before: Collection[HeldFact],
    after: Collection[HeldFact],
) -> None:
    """Write how the held facts of a resource differ from those before."""
    if set(before) == set(after):
        return
    connection.executemany(
        "DELETE FROM held_fact WHERE type = ? AND id = ? AND kind = ? AND value = ? AND source = ?",
        _held_rows(kind, identity, set(before) - set(after)),
    )
    connection.executemany(
        "INSERT INTO held_fact (type, id, kind, value, source) VALUES (?, ?, ?, ?, ?)",
        _held_rows(kind, identity, set(after) - set(before)),
    )


def mark_record(
    connection: Connection, change: Literal["facts", "quality"], kind: str, identity: str
) -> None:
    """Mark a record for readers of the change feed: no version of it says what changed.

    `decision_changes` says which changes there are.
    """
    connection.execute(_MARK_RECORD, (change, kind, identity))


def update_facts(connection: Connection, pk: int, before: Record, after: Record) -> None:
    """Write how the facts in force of a version differ from those its rows have."""
    if after != before:
        # Before the statements that change them, in the same transaction.
        mark_record(connection, "facts", after.type, after.id)
    if after.column_values != before.column_values:
        connection.execute(_UPDATE_FACTS, (*after.column_values, pk))
    update_patients_and_labels(connection, pk, before, after)


def update_patients_and_labels(
    connection: Connection, pk: int, before: Record, after: Record
) -> None:
    """Write how the patients and labels of a version differ from those its rows have."""
    for patient in sorted(before.patients - after.patients):
        connection.execute("DELETE FROM record_patient WHERE pk = ? AND patient = ?", (pk, patient))
    if added := after.patients - before.patients:
        connection.executemany(
            "INSERT INTO record_patient (pk, patient) VALUES (?, ?)",
            [(pk, patient) for patient in sorted(added)],
        )
    flags_before, flags_after = _label_flags(before), _label_flags(after)
    for label in sorted(flags_before.keys() - flags_after.keys()):
        connection.execute("DELETE FROM record_label WHERE pk = ? AND label = ?", (pk, label))
    if changed := flags_after.items() - flags_before.items():
        connection.executemany(
            "INSERT INTO record_label (pk, label, added) VALUES (?, ?, ?)"
            " ON CONFLICT (pk, label) DO UPDATE SET added = excluded.added",
            [(pk, *flag) for flag in sorted(changed)],
        )


def correct_facts(
    connection: Connection, kind: str, identity: str, corrections: Iterable[FactCorrection]
) -> FactChange:
    """Correct what a stored record is judged by; its content stays as it is.

    The caller checks the right to do so, and that the record is there. Raises NotFound if not.
    """
    before = read_stored_facts(connection, kind, identity)
    body = read_last_body(connection, kind, identity)
    if before is None or body is None:
        raise NotFound(f"There is no {kind} with this id.")
    held = set(before.held)
    for correction in corrections:
        _correct(held, correction)
    resource = parse(body)
    references = tuple(list_references(resource))
    names = [reference for _, reference in references]
    stated = record_facts(resource, before.record.author, references=names)
    after = StoredFacts(apply_held_facts(stated, held), frozenset(held))
    row = connection.execute(
        "SELECT pk FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
    ).fetchone()
    replace_held_facts(connection, kind, identity, before.held, held)
    update_facts(connection, row["pk"], before.record, after.record)
    return FactChange(row["pk"], before, after, references)


def read_current_body(connection: Connection, kind: str, identity: str) -> bytes | None:
    """Return the JSON of a resource's current version; None if there is none or it is deleted."""
    row = connection.execute(
        "SELECT body FROM resource WHERE type = ? AND id = ? AND current = 1 AND deleted = 0",
        (kind, identity),
    ).fetchone()
    return None if row is None else bytes(row["body"])


def read_last_body(connection: Connection, kind: str, identity: str) -> bytes | None:
    """Return the JSON of a resource's newest version that is no deletion marker."""
    row = connection.execute(
        "SELECT body FROM resource WHERE type = ? AND id = ? AND deleted = 0"
        " ORDER BY version DESC LIMIT 1",
        (kind, identity),
    ).fetchone()
    return None if row is None else bytes(row["body"])


def _correct(held: set[HeldFact], correction: FactCorrection) -> None:
    fact = HeldFact(correction.kind, correction.value, correction.source)
    denial = HeldFact(correction.kind, correction.value, STEWARD_NOT)
    if correction.action == "withdraw":
        held -= {fact, denial} if correction.source == STEWARD else {fact}
    elif correction.source == PATIENT:
        if correction.action != "add" or correction.kind != "label":
            raise ValueError("a patient adds labels, and takes back their own")
        held.add(fact)
    elif correction.action == "deny":
        held.discard(fact)
        held.add(denial)
    else:
        held.discard(denial)
        if correction.kind == "date":
            # A record has one clinical date: the steward's replaces what others said.
            held -= {
                other for other in held if other.kind == "date" and other.source != STEWARD_NOT
            }
        held.add(fact)


def _label_flags(record: Record) -> dict[str, int]:
    return {label: int(label in record.added_labels) for label in record.labels}


def _held_rows(
    kind: str, identity: str, facts: Iterable[HeldFact]
) -> list[tuple[str, str, str, str, str]]:
    return [(kind, identity, fact.kind, fact.value, fact.source) for fact in sorted(facts)]


def _parse_list(text: str | None) -> list[Any]:
    # Of most records nothing is held and nothing is labelled.
    return [] if text is None or text == "[]" else list(orjson.loads(text))
