"""What closes one account of a merged person, as rule rows of the others: kept true by each write.

The queries ask for the rules of the patients a record names and know nothing of links. Whoever
reads therefore pays nothing; a write of a Patient that changes who is merged carries anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_gateway.database import Connection
from ehr_privacy.consent import TABLES, Record, RuleRow
from ehr_privacy.consent.merged_accounts import CLOSING_TABLES, is_closing

__all__ = ["linked_accounts", "update_merged_rules"]

_LINKED = (
    "SELECT other AS account FROM consent_link WHERE patient = :account"
    " UNION SELECT patient FROM consent_link WHERE other = :account"
)
_CLOSING = " UNION ".join(
    f"SELECT consent FROM {table} WHERE patient = :patient"  # noqa: S608
    for table in CLOSING_TABLES
)
_CONSENTS = (
    "SELECT r.id, r.body FROM resource r WHERE r.type = 'Consent' AND r.current = 1"  # noqa: S608
    f" AND r.id IN ({_CLOSING})"
)


def _copy_statement(table: str) -> str:
    names = [column.name for column in TABLES[table]]
    values = [":other" if name == "patient" else name for name in names]
    permits = " AND permit = 0" if "permit" in names else ""
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table}"  # noqa: S608
        f" WHERE consent = :consent AND patient = :patient{permits}"
    )


_COPY = {table: _copy_statement(table) for table in CLOSING_TABLES}
_DELETE_COPIES = {
    table: f"DELETE FROM {table} WHERE consent = :consent AND patient <> :patient"  # noqa: S608
    for table in CLOSING_TABLES
}


def linked_accounts(connection: Connection, patient: str) -> list[str]:
    """Return the accounts of a patient's person, this one first."""
    found = [patient]
    for account in found:  # it grows: links lead on
        rows = connection.execute(_LINKED, {"account": account}).fetchall()
        found += sorted({row["account"] for row in rows} - set(found))
    return found


def update_merged_rules(
    connection: Connection, record: Record, rules: Sequence[RuleRow], before: Iterable[str]
) -> None:
    """Make the carried rows true again after a resource's own rows were replaced.

    `before`: of a Patient, the accounts of the person until then.
    """
    if record.type == "Consent":
        for patient in {str(rule.values["patient"]) for rule in rules if is_closing(rule)}:
            _copy_rules_of_consent(connection, record.id, patient)
    elif record.type == "Patient":
        after = linked_accounts(connection, record.id)
        if set(before) != set(after):
            for account in sorted({*before, *after}):
                _copy_rules_of_patient(connection, account)


def _copy_rules_of_patient(connection: Connection, patient: str) -> None:
    for row in connection.execute(_CONSENTS, {"patient": patient}).fetchall():
        whose = local_target(parse(row["body"])["patient"]["reference"])
        if whose is not None and whose.id == patient:
            _copy_rules_of_consent(connection, row["id"], patient)


def _copy_rules_of_consent(connection: Connection, consent: str, patient: str) -> None:
    others = linked_accounts(connection, patient)[1:]
    whose = {"consent": consent, "patient": patient}
    for table in CLOSING_TABLES:
        connection.execute(_DELETE_COPIES[table], whose)
        for other in others:
            connection.execute(_COPY[table], {**whose, "other": other})
