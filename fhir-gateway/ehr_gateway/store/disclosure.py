"""What the audit log has to know of a disclosed version, read together with it.

Where the database is a network away, this spares a read two statements (docs/decisions/010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_gateway.database import Dialect, Row
from ehr_privacy.consent import BY_ROW

__all__ = ["GRANT_IN_FORCE", "Disclosure", "reader_parameters"]

# Whether a grant or an emergency of the reader's is in force for the patient `p.patient`.
GRANT_IN_FORCE = " OR ".join(
    f"EXISTS (SELECT 1 FROM consent_{kind} g WHERE g.patient = p.patient"  # noqa: S608
    " AND g.person = :reader_person AND g.organization = :reader_organization"
    " AND g.since <= :reader_now AND (g.until IS NULL OR :reader_now < g.until))"
    for kind in ("emergency", "grant")
)
# Of the version `r`, on PostgreSQL. By row: else it may ask this of every record in a small store
# at once, whatever the page holds.
_COLUMNS = (
    "ARRAY(SELECT p.patient FROM record_patient p WHERE p.pk = r.pk ORDER BY p.patient)"  # noqa: S608
    " AS disclosed_patients,"
    " EXISTS (SELECT 1 FROM record_patient p"
    f" WHERE p.pk = r.pk AND ({GRANT_IN_FORCE}) {BY_ROW}) AS disclosed_with_grant"
)


@dataclass(frozen=True)
class Disclosure:
    """The patients and the domain of a version, and whether a grant may be why it was seen."""

    patients: tuple[str, ...]
    domain: str | None
    has_grant: bool

    @classmethod
    def from_row(cls, row: Row) -> Disclosure:
        """Build it from a row of `resource` with `Disclosure.columns`."""
        patients = tuple(row["disclosed_patients"])
        return cls(patients, row["domain"], bool(row["disclosed_with_grant"]))

    @staticmethod
    def columns(dialect: Dialect) -> str:
        """Return what to select after the columns of the version `r`; nothing on SQLite.

        There a look-up for the audit log alone costs no more than one for each record.
        """
        return f", {_COLUMNS}" if dialect == "postgresql" else ""


def reader_parameters(
    person: str, organization: str | None, now_ms: int
) -> Mapping[str, str | int | None]:
    """Return the parameters of `GRANT_IN_FORCE` and `Disclosure.columns`."""
    return {
        "reader_person": person,
        "reader_organization": organization,
        "reader_now": now_ms,
    }
