"""Consent rules of merged patients: copies of closing rules on each linked account.

Patients whose accounts are linked (`Patient.link`) are one person, so what closes one account must
close the others. Each write keeps copies of such rule rows on the linked accounts; the consent
condition then looks at the patients a record names and needs no join through links on reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_gateway.database import Connection
from ehr_gateway.store.decision_changes import mark_accounts
from ehr_privacy.consent import TABLES, Record, RuleRow
from ehr_privacy.consent.merged_accounts import CLOSING_TABLES, is_closing

__all__ = ["is_replaced", "linked_accounts", "update_merged_rules"]

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
    # What opens one account must not open the others: the link may join two different people.
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


def is_replaced(patient: Mapping[str, Any]) -> bool:
    """Say whether a Patient was merged into another one, who is not erased.

    >>> is_replaced({"link": [{"type": "replaced-by", "other": {"reference": "Patient/b"}}]})
    True
    >>> is_replaced({"link": [{"type": "replaced-by", "other": {"display": "Erased record"}}]})
    False
    """
    return any(
        link.get("type") == "replaced-by" and "reference" in link.get("other", {})
        for link in patient.get("link", ())
    )


def linked_accounts(connection: Connection, patient: str) -> list[str]:
    """Return all accounts of a patient's person, this one first, following links transitively."""
    accounts = [patient]
    for account in accounts:  # the list grows while it is walked
        rows = connection.execute(_LINKED, {"account": account}).fetchall()
        accounts += sorted({row["account"] for row in rows} - set(accounts))
    return accounts


def update_merged_rules(
    connection: Connection, record: Record, rules: Sequence[RuleRow], accounts_before: Iterable[str]
) -> None:
    """Renew the copies after a resource's own rule rows were replaced.

    `accounts_before`: for a Patient, the accounts of the person before this write.
    """
    if record.type == "Consent":
        for patient in {str(rule.values["patient"]) for rule in rules if is_closing(rule)}:
            _copy_rules_of_consent(connection, record.id, patient)
    elif record.type == "Patient":
        accounts_after = linked_accounts(connection, record.id)
        if set(accounts_before) != set(accounts_after):
            mark_accounts(connection, {*accounts_before, *accounts_after})
            for account in sorted({*accounts_before, *accounts_after}):
                _copy_rules_of_patient(connection, account)


def _copy_rules_of_patient(connection: Connection, patient: str) -> None:
    for row in connection.execute(_CONSENTS, {"patient": patient}).fetchall():
        consenter = local_target(parse(row["body"])["patient"]["reference"])
        if consenter is not None and consenter.id == patient:
            _copy_rules_of_consent(connection, row["id"], patient)


def _copy_rules_of_consent(connection: Connection, consent: str, patient: str) -> None:
    others = linked_accounts(connection, patient)[1:]
    source = {"consent": consent, "patient": patient}
    for table in CLOSING_TABLES:
        connection.execute(_DELETE_COPIES[table], source)
        for other in others:
            connection.execute(_COPY[table], {**source, "other": other})
