"""Erasure of a patient's audit events under the two-person rule.

One person runs it, a steward approves it; both, and the reason, are in the event that records the
erasure. Neither log-in is proved here: whoever can run this can write the database anyway, and the
event cannot be taken out again once a checkpoint is signed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from urllib.parse import urlencode

from ehr_fhir.errors import Forbidden, NotFound, Unprocessable
from ehr_gateway.accounts.accounts import (
    Account,
    find_account,
    list_names_of_person,
    subject_of_account,
)
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.tokens.roles import load_roles

__all__ = ["REASON_LENGTH", "erase_with_approval"]

REASON_LENGTH = 200
_OPERATOR_ROLES = frozenset({"administrator", "steward"})
_CLIENT = "ehr-audit-erase"


def erase_with_approval(
    log: AuditLog, patient: str, *, reason: str, operator_login: str, approver_login: str
) -> int:
    """Empty the audit events of a patient whose data is erased; return how many there were.

    Raises Unprocessable without a reason, Forbidden unless an administrator or steward runs it and
    another person, a steward, approves it, NotFound where there is no event about the patient.
    """
    _check_reason(reason, patient)
    operator = find_account(log.database, operator_login)
    approver = find_account(log.database, approver_login)
    with log.database.read_transaction() as connection:
        _check_people(operator, approver, list_names_of_person(connection, operator.login))
    audit_context = AuditContext(
        subject_of_account(operator, _CLIENT),
        load_roles()[operator.role].purpose,
        log.clock(),
        uuid.uuid4().hex,
        "operation",
    )
    query = urlencode({"approved-by": approver.login, "reason": reason.strip()})
    # What reads disclosed is first in files of the data folder: it is to be emptied too.
    log.spool.flush()
    with log.database.write_transaction() as connection:
        count = erase_patient_events(connection, audit_context, patient, query=query)
    if not count:
        raise NotFound("The audit log has no event about such a patient.")
    return count


def _check_reason(reason: str, patient: str) -> None:
    stripped = reason.strip()
    if not stripped or len(stripped) > REASON_LENGTH or not stripped.isprintable():
        raise Unprocessable(f"Give a reason in one line of {REASON_LENGTH} characters at most.")
    if patient in stripped:
        # It stays in the log, from which the patient is being erased.
        raise Unprocessable("The reason must not name the patient: it stays in the log.")


def _check_people(operator: Account, approver: Account, names: Collection[str]) -> None:
    if operator.role not in _OPERATOR_ROLES:
        raise Forbidden("An administrator or a steward erases audit events.")
    if approver.role != "steward":
        raise Forbidden("A steward approves an erasure.")
    # Two accounts of a person are one person.
    if approver.login in names:
        raise Forbidden("Another person has to approve an erasure.")
