"""Explain why a requester would or would not see a patient's record, at an instant.

The reference decision (`decide`) is run on rules made from the Consents as they stood at that
instant, so "why could they see this in May" has an answer after May's consent was revoked.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.grant_endings import without_ended
from ehr_gateway.store.merging import linked_accounts
from ehr_gateway.store.visible import read_on
from ehr_privacy.consent import Decision, Record, Requester, RuleRow, Rules, decide
from ehr_privacy.consent.model import merge_accounts
from ehr_privacy.consent.rule_reader import stored_rule_rows

__all__ = ["AccessExplanation", "explain_decision", "may_explain", "read_record_facts"]

_CONSENTS = (
    "SELECT r.type, r.id, r.deleted, r.body FROM resource r WHERE r.type = 'Consent'"
    " AND r.last_updated <= :at AND r.id IN (SELECT c.id FROM record_patient p"
    " JOIN resource c ON c.pk = p.pk WHERE p.patient = :patient AND c.type = 'Consent')"
    " ORDER BY r.position"
)
_VERSIONS = (
    "SELECT r.type, r.id, r.deleted, r.body FROM resource r WHERE r.type = :type AND r.id = :id"
    " AND r.last_updated <= :at ORDER BY r.version"
)
_CARER_POWER = (
    "SELECT 1 FROM consent_carer WHERE patient = :patient AND person = :person"
    " AND (can_view = 1 OR can_manage = 1) AND since <= :now AND (until IS NULL OR :now < until)"
)
_PATIENT_EXISTS = (
    "SELECT 1 FROM resource r WHERE r.type = 'Patient' AND r.id = :patient AND r.current = 1"
    " AND r.deleted = 0"
)


@dataclass(frozen=True)
class AccessExplanation:
    """The decision and the resource whose rule made it.

    `depends_on_others`: other patients' rules, which are not shown, may decide too.
    """

    decision: Decision
    source: str | None
    depends_on_others: bool


def may_explain(connection: Connection, access: Access, patient: str) -> bool:
    """Say whether the requester may have this patient's rules explained."""
    requester = access.requester
    if requester.role == "patient":
        return requester.patient == patient
    if requester.role == "carer":
        params = {"patient": patient, "person": requester.person, "now": access.now_ms}
        return connection.execute(_CARER_POWER, params).fetchone() is not None
    row = connection.execute(_PATIENT_EXISTS, {"patient": patient}).fetchone()
    return requester.role == "steward" and row is not None


def read_record_facts(connection: Connection, access: Access, kind: str, identity: str) -> Record:
    """Return the facts of a record that is visible to the requester, else raise NotFound."""
    version = read_on(connection, access, kind, identity, with_facts=True)
    assert version.facts is not None  # noqa: S101 - read with them
    return version.facts.record


def explain_decision(
    connection: Connection, patient: str, requester: Requester, record: Record, at_ms: int
) -> AccessExplanation:
    """Decide by the rules of one patient at an instant; other patients' rules are not disclosed.

    A rule on a merged account applies to this patient too. The explanation says so without naming
    the rule, because the link is a hospital's statement and may join two different people.

    Raises NotFound for a record that is not about the patient.
    """
    if record.patients and patient not in record.patients:
        raise NotFound(f"There is no {record.type} with this id about this patient.")
    depends_on_others = len(record.patients) > 1
    if depends_on_others:
        # Decide for this patient alone: a decision for all would disclose the others' rules.
        record = replace(record, patients=frozenset({patient}))
    rows = _rules(connection, patient, requester.organization, at_ms)
    decision = decide(Rules(rows), requester, "read", record, at_ms)
    deemed_organizations = {row.values["consent"] for row in rows if row.table == "consent_deemed"}
    own_consents = {row.values["consent"] for row in rows if row.values.get("patient") == patient}
    source = None
    if decision.consent in deemed_organizations:
        source = f"Organization/{decision.consent}"
    elif decision.consent in own_consents:
        source = f"Consent/{decision.consent}"
    elif decision.consent is not None:
        depends_on_others = True
    return AccessExplanation(decision, source, depends_on_others)


def _rules(
    connection: Connection, patient: str, organization: str | None, at_ms: int
) -> list[RuleRow]:
    """Return the rules of every account of the patient's person at an instant.

    A link that another account stated then and no longer states is not found.
    """
    rules: dict[str, list[RuleRow]] = {}
    collect = partial(_rows, connection, rules, at_ms)
    if organization is not None:
        collect(_VERSIONS, type="Organization", id=organization)
    accounts = linked_accounts(connection, patient)
    for account in accounts:  # the list grows while it is walked: links lead on
        collect(_VERSIONS, type="Patient", id=account)
        collect(_CONSENTS, patient=account)
        links = (row.values for rows in rules.values() for row in rows if "other" in row.values)
        person = merge_accounts((str(link["patient"]), str(link["other"])) for link in links)
        accounts += sorted(person.get(account, frozenset()).difference(accounts))
    found = [row for rows in rules.values() for row in rows]
    people = {str(row.values["author_person"]) for row in found if row.values.get("author_person")}
    return [*found, *_memberships(connection, people)]


def _memberships(connection: Connection, people: Iterable[str]) -> list[RuleRow]:
    """Return where the people whose records are restricted work, as it is known now."""
    return [
        RuleRow("consent_membership", dict(row))
        for person in sorted(people)
        for row in connection.execute(
            "SELECT * FROM consent_membership WHERE practitioner = ?", (person,)
        ).fetchall()
    ]


def _rows(
    connection: Connection,
    rules: dict[str, list[RuleRow]],
    at_ms: int,
    statement: str,
    **params: str,
) -> None:
    latest = {
        f"{row['type']}/{row['id']}": row
        for row in connection.execute(statement, {**params, "at": at_ms}).fetchall()
    }
    for name, row in latest.items():
        rules[name] = []
        # A version stored before this kind of rule was known made no rules then either.
        with suppress(Unprocessable):
            stored = [] if row["deleted"] else stored_rule_rows(parse(row["body"]))
            rules[name] = without_ended(connection, name.partition("/")[2], stored, at_ms)
