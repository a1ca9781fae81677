"""Rows of one person as they come together, and what is told beside of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ehr_etl.lake import GOLD_BUCKET, GOLD_KEY
from ehr_etl.omop.fhir_values import Moment
from ehr_etl.omop.vocabulary import MappedCode

__all__ = ["PersonRows", "SourceRecord", "build_unmapped_row"]

Row = dict[str, Any]
Json = Any  # JSON of every shape


@dataclass(frozen=True)
class SourceRecord:
    """A record of deid: its type, its pseudonym and its content."""

    type: str
    id: str
    resource: Mapping[str, Json]

    @property
    def name(self) -> str:
        """Return `Type/pseudonym`."""
        return f"{self.type}/{self.id}"


@dataclass
class PersonRows:
    """The rows of one person as they come together."""

    person: int
    bucket: int
    shared: Mapping[str, str]
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    days: list[date] = field(default_factory=list)
    # Pseudonym of an encounter -> visit_occurrence_id, visit_detail_id.
    visits: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    visit_starts: dict[str, Moment] = field(default_factory=dict)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Add a row of a table."""
        self.rows[table].append({GOLD_BUCKET: self.bucket, GOLD_KEY: str(self.person), **row})

    def add_source(
        self, record: SourceRecord, table: str, row: int, system: str | None = None
    ) -> None:
        """Tell which row a record gave, and the code system of what the row is."""
        self.add(
            "source_records",
            {"resource_type": record.type, "record": record.id, "table_name": table,
             "row_id": row, "system": system},
        )  # fmt: skip

    def add_remark(self, record: SourceRecord, reason: str) -> None:
        """Tell why a record gave no row, or what a reader of its row has to know."""
        self.add(
            "source_records",
            {"resource_type": record.type, "record": record.id, "reason": reason},
        )

    def add_unmapped(
        self, table: str, row: int, column: str, code: MappedCode, *, unverified: bool = False
    ) -> None:
        """Tell why a column's concept is 0; nothing of a code that is mapped."""
        if code.mapping.reason is not None:
            self.add(
                "unmapped_codes",
                build_unmapped_row(table, row, column, code, unverified=unverified),
            )


def build_unmapped_row(
    table: str, row: int, column: str, code: MappedCode, *, unverified: bool = False
) -> Row:
    """Return the row of unmapped_codes that says why a column's concept is 0."""
    return {
        "table_name": table,
        "row_id": row,
        "field": column,
        "system": code.system,
        "code": code.source_value,
        "reason": code.mapping.reason,
        "domain_unverified": unverified,
    }
