"""What the audit log has to know of a disclosed version, read together with it.

This spares a read two statements (docs/decisions/010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_gateway.database import Dialect, Row
from ehr_privacy.consent import BY_ROW, Record

__all__ = ["GRANT_IN_FORCE", "Disclosure", "reader_parameters"]

# Whether a grant or an emergency of the reader's is in force for the patient `p.patient`.
GRANT_IN_FORCE = " OR ".join(
    f"EXISTS (SELECT 1 FROM consent_{kind} g WHERE g.patient = p.patient"  # noqa: S608
    " AND g.person = :reader_person AND g.organization = :reader_organization"
    " AND g.since <= :reader_now AND (g.until IS NULL OR :reader_now < g.until))"
    for kind in ("emergency", "grant")
)
_JOIN_TEXTS: Mapping[Dialect, str] = {"sqlite": "group_concat", "postgresql": "string_agg"}
# Of the version `r`: its patients with bars between them, and whether the reader has a grant. By
# row: else PostgreSQL may ask this of every record in a small store, whatever the page holds.
_COLUMNS: Mapping[Dialect, str] = {
    dialect: f", (SELECT {join}(p.patient, '|') FROM record_patient p WHERE p.pk = r.pk)"  # noqa: S608
    " AS disclosed_patients, EXISTS (SELECT 1 FROM record_patient p"
    f" WHERE p.pk = r.pk AND ({GRANT_IN_FORCE}) {BY_ROW}) AS disclosed_with_grant"
    for dialect, join in _JOIN_TEXTS.items()
}


@dataclass(frozen=True)
class Disclosure:
    """The patients and the domain of a version, and whether a grant may be why it was seen.

    `has_grant` is None where that was not asked with it.
    """

    patients: tuple[str, ...]
    domain: str | None
    has_grant: bool | None

    @classmethod
    def from_row(cls, row: Row) -> Disclosure:
        """Build it from a row of `resource` with `Disclosure.columns`."""
        names = row["disclosed_patients"]
        # Of most records there is one.
        patients = tuple(sorted(names.split("|"))) if names else ()
        return cls(patients, row["domain"], bool(row["disclosed_with_grant"]))

    @classmethod
    def of_record(cls, record: Record) -> Disclosure:
        """Build it from the facts in force of a version."""
        return cls(tuple(sorted(record.patients)), record.domain, None)

    @staticmethod
    def columns(dialect: Dialect) -> str:
        """Return what to select after the columns of the version `r`."""
        return _COLUMNS[dialect]


def reader_parameters(
    person: str, organization: str | None, now_ms: int
) -> Mapping[str, str | int | None]:
    """Return the parameters of `GRANT_IN_FORCE` and `Disclosure.columns`."""
    return {
        "reader_person": person,
        "reader_organization": organization,
        "reader_now": now_ms,
    }
