"""Verify the people of sets and lists against the rows that commit to them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from ehr_gateway.audit_log.counted_sets import (
    SET_PREFIX,
    person_leaf,
    set_digest,
    set_numbers,
)
from ehr_gateway.audit_log.listed_patients import LIST_PREFIX, ListEntry, list_digest
from ehr_gateway.database import Connection, open_database
from ehr_privacy.audit import Finding

__all__ = ["verify_counted_sets"]

_MAX_FINDINGS = 20
# The `entities` of a row with a set.
_SET_ENTITIES = f'["{SET_PREFIX}%'
_SELECT_SETS = (
    "SELECT a.seq, a.id, a.entities, c.block, c.bits FROM audit a"
    " LEFT JOIN audit_counted c ON c.event = a.id"
    " WHERE a.patient IS NULL AND a.entities LIKE ? ORDER BY a.seq, c.block"
)
_SELECT_STRAY_SETS = (
    "SELECT DISTINCT event FROM audit_counted WHERE event NOT IN"
    " (SELECT id FROM audit WHERE patient IS NULL AND entities LIKE ?) ORDER BY event"
)

_LIST_ENTITIES = f'["{LIST_PREFIX}%'
_SELECT_LISTS = (
    "SELECT a.seq, a.id, a.entities, l.person, l.at_ms, l.domains, l.reason, a.at_ms AS event_ms"
    " FROM audit a LEFT JOIN audit_listed l ON l.event = a.id"
    " WHERE a.patient IS NULL AND a.entities LIKE ? ORDER BY a.seq, l.person"
)
_SELECT_STRAY_ENTRIES = (
    "SELECT DISTINCT event FROM audit_listed WHERE event NOT IN"
    " (SELECT id FROM audit WHERE patient IS NULL AND entities LIKE ?) ORDER BY event"
)


def verify_counted_sets(place: Path | str, named_by_erasure: Collection[str]) -> list[Finding]:
    """Return what is wrong with people and sets; `named_by_erasure` are the erased numbers."""
    with closing(open_database(place)) as database, database.read_transaction() as connection:
        leaves: dict[int, bytes] = {}
        findings = list(_check_people(connection, leaves, named_by_erasure))
        findings += _check_sets(connection, leaves)
        findings += _check_lists(connection, leaves)
        for row in (
            *connection.execute(_SELECT_STRAY_SETS, (_SET_ENTITIES,)),
            *connection.execute(_SELECT_STRAY_ENTRIES, (_LIST_ENTITIES,)),
        ):
            text = f"People stand as counted by {row['event']}, which is no such event."
            findings.append(Finding("counted", 0, row["event"], text))
    return findings[:_MAX_FINDINGS]


def _check_people(
    connection: Connection, leaves: dict[int, bytes], named_by_erasure: Collection[str]
) -> Iterator[Finding]:
    """Check that each person is the one whom their leaf commits to, and collect the leaves."""
    rows = connection.execute("SELECT number, patient, salt, leaf FROM audit_person")
    for row in rows:
        number, leaf = int(row["number"]), bytes(row["leaf"])
        leaves[number] = leaf
        if row["patient"] is None:
            if str(number) not in named_by_erasure:
                text = f"The counted person {number} was emptied, and no erasure tells of it."
                yield Finding("erase", 0, None, text)
        elif person_leaf(bytes(row["salt"]), row["patient"]) != leaf:
            yield Finding("counted", 0, None, f"The counted person {number} was exchanged.")


def _check_sets(connection: Connection, leaves: Mapping[int, bytes]) -> Iterator[Finding]:
    """Check that each set is the one that its row commits to."""
    members: dict[int, list[int]] = {}
    events: dict[int, tuple[str, str]] = {}
    for row in connection.execute(_SELECT_SETS, (_SET_ENTITIES,)):
        events[row["seq"]] = row["id"], row["entities"]
        numbers = members.setdefault(row["seq"], [])
        if row["block"] is not None:
            numbers += set_numbers(int(row["block"]), bytes(row["bits"]))
    for seq, numbers in members.items():
        event, entities = events[seq]
        digest = set_digest(leaves.get(number, b"") for number in numbers)
        if json.loads(entities) != [f"{SET_PREFIX}{len(numbers)}:{digest}"]:
            text = f"The people whom the event of leaf {seq - 1} counted are not those it names."
            yield Finding("counted", seq - 1, event, text)


def _check_lists(connection: Connection, leaves: Mapping[int, bytes]) -> Iterator[Finding]:
    """Check that each list is the one that its row commits to."""
    rows = connection.execute(_SELECT_LISTS, (_LIST_ENTITIES,))
    for (seq, event, entities), entries in groupby(rows, itemgetter("seq", "id", "entities")):
        listed = [row for row in entries if row["person"] is not None]
        digest = list_digest(
            (leaves.get(row["person"], b""), ListEntry(row["domains"], row["reason"]))
            for row in listed
        )
        is_moved = any(row["at_ms"] != row["event_ms"] for row in listed)
        if is_moved or json.loads(entities) != [f"{LIST_PREFIX}{len(listed)}:{digest}"]:
            text = f"The patients whom the event of leaf {seq - 1} lists are not those it names."
            yield Finding("counted", seq - 1, event, text)
