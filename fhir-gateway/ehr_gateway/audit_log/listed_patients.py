"""One row of the log for a whole list of patients, in which each of them finds what it showed.

A list that a screen asks for again and again would leave a row for each patient and record each
time. So its row names nobody; beside it stands each patient with the data domains that the list
showed of them, and by which rule. The row's `entities` hold how many there are, and a digest:

    leaf of an entry = SHA-256(0x03 || leaf of the person || domains || 0x00 || reason)
    digest of a list = SHA-256(the leaves of its entries, in the order of the people's numbers)

People are numbered and erased as in `counted_sets`. Whoever reads rows by patient reads
`LISTED_ROWS` of the schema beside `audit`: a row for each patient of each list, of its columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.audit_log.counted_sets import number_people, set_digest
from ehr_gateway.audit_log.reasons import LISTED, NAMED, SHARED
from ehr_gateway.database import Connection
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS

__all__ = [
    "LIST_PREFIX",
    "ListDisclosure",
    "ListEntry",
    "build_list_rows",
    "carries_list",
    "list_digest",
    "list_size",
    "split_disclosures",
    "store_list",
]

# `entities` of a list's row: this, the number of patients, and the digest.
LIST_PREFIX = "listed:"
# Reasons that stand beside a patient of a list. By a grant or an emergency, each patient has a row
# of their own, with its Consent and the records.
_PLAIN_REASONS = frozenset({"own-record", SHARED.code})
_COLUMNS = {name: place for place, name in enumerate(CONTENT_COLUMNS)}


@dataclass(frozen=True)
class ListEntry:
    """What a list showed of one patient: data domains with a space between them, and the rule."""

    domains: str = ""
    # Of somebody on the list who is closed to the reader: nothing was shown.
    reason: str = NAMED


@dataclass(frozen=True)
class ListDisclosure:
    """What a list disclosed: patients beside its one row, and rows by grant or emergency."""

    entries: Mapping[str, ListEntry]
    # By patient.
    rows: Mapping[str, RowValues]

    @property
    def digest(self) -> str:
        """Return a hash that is the same while the list shows the same kinds of the same people."""
        content = [
            sorted(
                (patient, entry.domains, entry.reason) for patient, entry in self.entries.items()
            ),
            sorted((patient, *_describe(row)) for patient, row in self.rows.items()),
        ]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()


def split_disclosures(rows: Iterable[RowValues], patients: Iterable[str]) -> ListDisclosure:
    """Split a list's rows of disclosures; of `patients` whom none is about, nothing was shown."""
    entries = dict.fromkeys(patients, ListEntry())
    own_rows: dict[str, RowValues] = {}
    for row in rows:
        patient, reason = row[_COLUMNS["patient"]], row[_COLUMNS["reason"]]
        if patient is None:
            # A search that found nothing.
            continue
        entries[str(patient)] = ListEntry(str(row[_COLUMNS["domains"]]), str(reason))
        if reason not in _PLAIN_REASONS:
            del entries[str(patient)]
            own_rows[str(patient)] = row
    return ListDisclosure(entries, own_rows)


def build_list_rows(
    audit_context: recorder.AuditContext, disclosed: ListDisclosure
) -> list[RowValues]:
    """Build a list's rows: one that carries its entries until `store_list` stores them, and more.

    Without patients there is none.
    """
    entries = disclosed.entries
    audit_context.inquiry.recorded.update({**entries, **disclosed.rows})
    if not entries:
        return [*disclosed.rows.values()]
    (row,) = recorder.build_event_rows(audit_context, None, reason=LISTED)
    content = {patient: [entry.domains, entry.reason] for patient, entry in entries.items()}
    return [(*row, orjson.dumps(content).decode()), *disclosed.rows.values()]


def carries_list(row: RowValues) -> bool:
    """Say whether what a row carries is a list, and not a set of people counted."""
    return row[_COLUMNS["reason"]] == LISTED


def store_list(connection: Connection, row: RowValues) -> RowValues:
    """Store the patients that a list's row carries; return the row with the digest of the list."""
    *values, content = row
    entries = {patient: ListEntry(*entry) for patient, entry in orjson.loads(str(content)).items()}
    event, at_ms = str(values[_COLUMNS["id"]]), values[_COLUMNS["at_ms"]]
    people = number_people(connection, sorted(entries), at_ms)
    connection.executemany(
        "INSERT INTO audit_listed (event, person, at_ms, domains, reason) VALUES (?, ?, ?, ?, ?)",
        [
            (event, person.number, at_ms, entries[patient].domains, entries[patient].reason)
            for patient, person in people.items()
        ],
    )
    by_number = sorted(people.items(), key=lambda item: item[1].number)
    digest = list_digest((person.leaf, entries[patient]) for patient, person in by_number)
    values[_COLUMNS["entities"]] = orjson.dumps([f"{LIST_PREFIX}{len(people)}:{digest}"]).decode()
    return tuple(values)


def list_digest(entries: Iterable[tuple[bytes, ListEntry]]) -> str:
    """Return the digest of a list, from its people's leaves and entries in the order of numbers."""
    return set_digest(_entry_leaf(leaf, entry) for leaf, entry in entries)


def _entry_leaf(leaf: bytes, entry: ListEntry) -> bytes:
    """Return the hash by which a list commits to a person and what it showed of them."""
    content = f"{entry.domains}\0{entry.reason}".encode()
    return hashlib.sha256(b"\x03" + leaf + content).digest()


def list_size(entities: Sequence[str]) -> int | None:
    """Return how many patients the list of a row has; None if it is of no list.

    >>> list_size(["listed:12:ab34"]), list_size(["Patient/p1"])
    (12, None)
    """
    for reference in entities:
        if reference.startswith(LIST_PREFIX):
            return int(reference.split(":")[1])
    return None


def _describe(row: RowValues) -> tuple[str | int | None, ...]:
    """Return what of a row is the same each time the same kinds are shown by the same rule."""
    return tuple(row[_COLUMNS[name]] for name in ("domains", "reason", "consent"))
