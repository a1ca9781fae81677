"""Other patients' records that an erasure concerns: what they say is worked out anew.

Such a record lost a reference or a version, was a duplicate of the erased person's, or stands
beside a record that was about both. The cost follows the erased patient and not the lake.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from ehr_etl.change_feed.entries import FeedLine
from ehr_etl.erasure.erased_lines import LakeErasure, iterate_lines, rename_in_text
from ehr_etl.erasure.erased_rows import cut_text
from ehr_etl.lake import Lake
from ehr_etl.tables.bucketed import Layout, iterate_buckets
from ehr_etl.tables.decisions import list_patients
from ehr_etl.tables.identities import IdentityIndex, build_identity_rows
from ehr_etl.tables.people import read_account
from ehr_etl.tables.places import record_key

__all__ = ["find_others", "read_lines_of_others"]


def find_others(lake: Lake, layout: Layout, erasure: LakeErasure) -> frozenset[str]:
    """Return the records, as `Type/id`, that stay as they are and may have other faults now.

    They are the Patients who share an identity with an erased one or were merged with one, by what
    bronze says of that one, and the records of patients whom erased records were about as well.
    """
    people: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    merged: set[str] = set()
    for patient, resource in erasure.people:
        row = {"id": patient, "deleted": False, "resource": resource}
        people[patient] += build_identity_rows(layout, row)
        # Rows of one person were made of the records of both accounts.
        merged |= read_account(row).linked
    sharing = IdentityIndex(lake, layout).find_sharing_people(people)
    keys = {record_key("Patient", patient) for patient in (sharing | merged) - erasure.patients}
    buckets = {layout.place(f"Patient/{patient}") for patient in erasure.shared_with}
    for table in iterate_buckets(lake, "silver", buckets):
        keys |= {
            record_key(row["type"], row["id"])
            for row in table.select(["type", "id", "facts"]).to_pylist()
            if not list_patients(row).isdisjoint(erasure.shared_with)
        }
    return frozenset(keys)


def read_lines_of_others(
    lake: Lake, erasure: LakeErasure, up_to: int
) -> list[tuple[int, FeedLine]]:
    """Return the lines of records that lose something, up to a number, without what is erased."""
    targets = erasure.targets
    found = []
    for sequence, line in iterate_lines(lake):
        if (
            sequence <= up_to
            and sequence not in erasure.sequences
            and line.kind in ("version", "facts")
            and (line.type, line.id) in erasure.cut_records
        ):
            facts = rename_in_text(line.facts, erasure.aliases)
            resource = line.resource and cut_text(line.resource, targets, erasure.aliases)
            found.append((sequence, replace(line, facts=facts, resource=resource)))
    return sorted(found, key=lambda numbered: numbered[0])
