"""Records of no patient that rows of persons are made with: medications, doctors, places of care.

Of a medication its codes count, of the others that they are there. A person's rows are made anew
only when that changes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import orjson
import pyarrow.compute as pc

from ehr_etl.lake import GOLD_BUCKET, GOLD_KEY
from ehr_etl.omop.fhir_values import (
    Coding,
    find_values,
    first_value,
    list_codings,
    read_reference,
)
from ehr_etl.omop.identifiers import integer_key
from ehr_etl.omop.mappings import load_mappings
from ehr_etl.omop.person_rows import build_unmapped_row
from ehr_etl.omop.vocabulary import ABSENT_CODE, Vocabulary
from ehr_etl.tables.bucketed import Layout

__all__ = [
    "IS_SHARED_RECORD",
    "SHARED_TYPES",
    "build_shared_rows",
    "is_shared_reference",
    "list_shared_targets",
    "read_medication_codes",
    "shared_value",
]

Row = dict[str, Any]

SHARED_TYPES = ("Location", "Medication", "Organization", "Practitioner", "PractitionerRole")
# The rows of deid that are of shared records, as a filter of a table or a data set.
IS_SHARED_RECORD = pc.field("patient").is_null() & pc.field("type").isin(list(SHARED_TYPES))
_REFERENCE = re.compile(rf"({'|'.join(SHARED_TYPES)})/[0-9a-z]+")


def is_shared_reference(reference: object) -> TypeGuard[str]:
    """Say whether a reference is to a record of no patient.

    >>> is_shared_reference("Medication/0a"), is_shared_reference("Encounter/0a")
    (True, False)
    """
    return isinstance(reference, str) and _REFERENCE.fullmatch(reference) is not None


def list_shared_targets(resource: Mapping[str, Any]) -> list[str]:
    """Return the shared records that a record of a patient is read with."""
    rule = load_mappings().events.get(str(resource.get("resourceType")))
    if rule is None:
        return []
    paths = (*rule.code, *rule.provider, *rule.care_site)
    references = (read_reference(value) for path in paths for value in find_values(resource, path))
    return sorted({reference for reference in references if is_shared_reference(reference)})


def shared_value(resource: Mapping[str, Any]) -> str:
    """Return what of a shared record counts for the rows of persons."""
    codings = []
    if resource.get("resourceType") == "Medication":
        codings = [[coding.system, coding.code, coding.preferred]
                   for coding in list_codings(resource.get("code"))]  # fmt: skip
    return orjson.dumps(codings).decode()


def read_medication_codes(value: str) -> list[Coding]:
    """Return the codes of a medication from what was kept of it."""
    return [Coding(*item) for item in orjson.loads(value)]


def build_shared_rows(
    layout: Layout, resources: Iterable[tuple[str, Mapping[str, Any]]], vocabulary: Vocabulary
) -> Mapping[str, list[Row]]:
    """Return by table the rows of shared records, given as `Type/pseudonym` and resource."""
    rules = load_mappings()
    rows_by_table: defaultdict[str, list[Row]] = defaultdict(list)
    for name, resource in resources:
        bucket = layout.place(name)
        rows_by_table["shared_records"].append(
            {GOLD_BUCKET: bucket, GOLD_KEY: name, "value": shared_value(resource)}
        )
        rule = rules.events.get(name.partition("/")[0])
        if rule is None or not rule.target:
            continue
        target = rules.targets[rule.target]
        key = integer_key(target.table, name)
        values: Row = {"id": key}
        for field, element in rule.concepts.items():
            codings = list_codings(first_value(resource, element.paths), element.system)
            chosen = vocabulary.choose(codings) if codings else ABSENT_CODE
            values |= chosen.element_values(field)
            if chosen.mapping.reason is not None:
                unmapped = build_unmapped_row(target.table, key, f"{field}_concept_id", chosen)
                rows_by_table["unmapped_codes"].append(
                    {GOLD_BUCKET: bucket, GOLD_KEY: str(key), **unmapped}
                )
        row = {column: values.get(value) for column, value in target.columns.items()}
        rows_by_table[target.table].append({GOLD_BUCKET: bucket, GOLD_KEY: str(key), **row})
    return rows_by_table
