"""The reference decision: the ten-line table of docs/explanation/consent.md, line by line.

The SQL of `compile_predicate` must say the same of every record; a test searches for a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from ehr_privacy.consent.model import Decision, Record, Requester, Rules, Value
from ehr_privacy.consent.scopes import Scope, scopes_on_type
from ehr_privacy.consent.selector_matching import (
    actor_matches,
    exception_matches,
    restriction_matches,
)

# What a carer of a minor of 14 to 17 does not see (our setting).
MINOR_LABELS = frozenset({"SEX", "PSY", "SDV", "STD"})
TREATMENT = ("TREAT", "ETREAT")

# In the order of the table: of several patients' denials the earliest line is the answer.
_ORDER = ("sealed", "not-joined", "not-shared", "hidden", "step-up")
_TOLD = ("tell-patient", "steward-review")


def decide(
    rules: Rules, requester: Requester, interaction: str, record: Record, now_ms: int
) -> Decision:
    """Decide whether a requester may read or find a record at an instant, and why.

    `interaction` is read, vread, history or search; for writing see `may_write`.
    """
    if not in_scope(requester, interaction, record):
        return Decision(False, "scope")
    readers = rules.roles.readers.get(record.ruled_type)
    if readers is not None and requester.role not in readers:
        return Decision(False, "role")
    if record.directory:
        return _decide_directory(rules, requester, record)
    return _BY_ROLE.get(requester.role, _deny)(rules, requester, record, now_ms)


def in_scope(requester: Requester, interaction: str, record: Record) -> bool:
    """Say whether the token's scopes cover this interaction on this record (line 1)."""
    in_patient = record.directory or requester.patient in record.patients
    scopes = _scopes_on_type(requester, interaction, record.type, in_patient)
    return any(scope.covers_tokens(record.tokens) for scope in scopes)


# A clinician's token has some twenty-five scopes, and each write asks twice. The key is the
# requester, whose hash is worked out once for the life of a token, not the scopes.
@lru_cache(maxsize=4096)
def _scopes_on_type(
    requester: Requester, interaction: str, resource_type: str, in_patient: bool
) -> tuple[Scope, ...]:
    return scopes_on_type(requester.scopes, interaction, resource_type, in_patient=in_patient)


def is_author(requester: Requester, record: Record) -> bool:
    """Say whether the requester acts for the organisation that wrote the record (line 3)."""
    return (
        requester.role in ("clinician", "system")
        and requester.organization is not None
        and requester.organization == record.author
    )


def _decide_directory(rules: Rules, requester: Requester, record: Record) -> Decision:
    readers = rules.roles.directory_readers.get(record.type)
    if readers is None or requester.role in readers:
        return Decision(True, "directory")
    if "author" in readers and is_author(requester, record):
        return Decision(True, "own-record")
    return Decision(False, "role")


def _decide_treatment(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    if not for_treatment(requester):
        return Decision(False, "purpose")
    cell = rules.roles.cell_of_all(requester.role, requester.profession, record.domains)
    if cell == "none":
        return Decision(False, "role")
    if is_author(requester, record):
        return Decision(True, "own-record")
    if not record.patients:
        return Decision(False, "no-patient")
    return _combine(
        [
            _decide_patient(rules, requester, record, patient, cell, now_ms)
            for patient in sorted(record.patients)
        ]
    )


def for_treatment(requester: Requester) -> bool:
    """Say whether the purpose is treatment; a system works for its organisation's treatment."""
    if requester.role == "system":
        return requester.purpose != "HRESCH"
    return requester.purpose in TREATMENT


def _decide_patient(
    rules: Rules, requester: Requester, record: Record, patient: str, cell: str, now_ms: int
) -> Decision:
    """Lines 4 to 10 for one patient of the record."""
    sealed = _restriction(rules, requester, record, patient, now_ms, sealed=True)
    if sealed:
        return Decision(False, "sealed", sealed)
    mine = {"person": requester.person, "organization": requester.organization}
    emergencies = rules.in_force("consent_emergency", now_ms, patient=patient, **mine)
    if emergencies and not requester.emergency_suspended:
        return Decision(True, "emergency", str(emergencies[0]["consent"]), _TOLD)
    if not rules.in_force("consent_joining", now_ms, patient=patient):
        return Decision(False, "not-joined")
    sharing = _sharing(rules, requester, patient, now_ms)
    if not sharing:
        return Decision(False, "not-shared")
    # Revoking sharing ends grants: one counts only under a sharing that held when it was given.
    first_shared = min(since for since, _ in sharing)
    grants = _covering_grants(
        record,
        [
            row
            for row in rules.in_force("consent_grant", now_ms, patient=patient, **mine)
            if int(row["since"] or 0) >= first_shared
        ],
    )
    hidden = _restriction(rules, requester, record, patient, now_ms, sealed=False)
    if hidden and not grants:
        return Decision(False, "hidden", hidden)
    if cell == "restricted" and not grants:
        return Decision(False, "step-up")
    if hidden or cell == "restricted":
        return Decision(True, "shared", grants[0], _TOLD)
    return Decision(True, "shared", min(consent for _, consent in sharing))


def _covering_grants(record: Record, rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return the Consents of grants that together cover every domain of a record; none if not."""
    matching = [row for row in rows if row["domain"] == "*" or row["domain"] in record.domains]
    domains = {row["domain"] for row in matching}
    if "*" not in domains and not domains >= record.domains:
        return []
    return [str(row["consent"]) for row in matching]


def _sharing(
    rules: Rules, requester: Requester, patient: str, now_ms: int
) -> list[tuple[int, str]]:
    if requester.organization is None:
        return []
    rows = [
        row
        for row in rules.in_force("consent_sharing", now_ms, patient=patient)
        if row["organization"] in ("*", requester.organization)
    ]
    rows += rules.in_force("consent_deemed", now_ms, organization=requester.organization)
    return [(int(row["since"] or 0), str(row["consent"])) for row in rows]


def _restriction(
    rules: Rules,
    requester: Requester,
    record: Record,
    patient: str,
    now_ms: int,
    *,
    sealed: bool | None,
) -> str | None:
    """Return the Consent of the first restriction that binds, exceptions considered."""
    for row in rules.closing_rows("consent_restriction", now_ms, patient):
        if sealed is not None and bool(row["sealed"]) != sealed:
            continue
        if not actor_matches(row, requester) or not restriction_matches(
            row, record, rules.memberships
        ):
            continue
        exceptions = rules.rows("consent_exception", consent=row["consent"], rule=row["rule"])
        if not any(
            actor_matches(exception, requester) and exception_matches(exception, record)
            for exception in exceptions
        ):
            return str(row["consent"])
    return None


def _combine(decisions: list[Decision]) -> Decision:
    """Every patient of a record must permit; the answer names the line that weighed most."""
    denied = [decision for decision in decisions if not decision.permit]
    if denied:
        return min(denied, key=lambda decision: _ORDER.index(decision.reason))
    return max(decisions, key=lambda decision: len(decision.obligations))


def _decide_own(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    """A patient: all own records; somebody else in them only by a carer's power over them."""
    if requester.patient is None or requester.patient not in record.patients:
        return Decision(False, "not-own")
    for patient in sorted(record.patients - {requester.patient}):
        decision = _decide_power(rules, requester, record, patient, now_ms)
        if not decision.permit:
            return decision
    return _held(rules, record, now_ms) or Decision(True, "own")


def _decide_carer(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    if not record.patients:
        return Decision(False, "not-own")
    decision = Decision(False, "not-own")
    for patient in sorted(record.patients):
        decision = _decide_power(rules, requester, record, patient, now_ms)
        if not decision.permit:
            return decision
    return _held(rules, record, now_ms) or decision


def _decide_power(
    rules: Rules, requester: Requester, record: Record, patient: str, now_ms: int
) -> Decision:
    powers = rules.in_force("consent_carer", now_ms, patient=patient, person=requester.person)
    # Rules are for every carer with a power, so that who manages sees what they change.
    wanted = ("can_view", "can_manage") if record.ruled_type == "Consent" else ("can_view",)
    powers = [row for row in powers if any(row[name] for name in wanted)]
    if not powers:
        return Decision(False, "no-power")
    limit = _restriction(rules, requester, record, patient, now_ms, sealed=None)
    if limit:
        return Decision(False, "limited", limit)
    if record.labels & MINOR_LABELS and rules.in_force("consent_minor", now_ms, patient=patient):
        return Decision(False, "minor")
    return Decision(True, "carer", str(powers[0]["consent"]))


def _held(rules: Rules, record: Record, now_ms: int) -> Decision | None:
    """A held result: its content is denied, a stub (what, who holds, until when) is due."""
    for patient in sorted(record.patients):
        holds = rules.closing_rows(
            "consent_hold", now_ms, patient, record_type=record.type, record_id=record.id
        )
        if holds:
            return Decision(False, "held", str(holds[0]["consent"]), ("stub",))
    return None


def _decide_steward(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    if record.ruled_type in rules.roles.readers:
        return Decision(True, "steward")
    if not record.patients:
        return Decision(True, "steward")
    return Decision(False, "role")


def _decide_auditor(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    permit = record.ruled_type in rules.roles.readers
    return Decision(permit, "auditor" if permit else "role")


def _deny(rules: Rules, requester: Requester, record: Record, now_ms: int) -> Decision:
    return Decision(False, "role")


_Decide = Callable[[Rules, Requester, Record, int], Decision]

_BY_ROLE: dict[str, _Decide] = {
    "patient": _decide_own,
    "carer": _decide_carer,
    "clinician": _decide_treatment,
    "system": _decide_treatment,
    "steward": _decide_steward,
    "auditor": _decide_auditor,
    # Researchers work on de-identified project views; administrators on accounts and registers.
    "researcher": _deny,
    "administrator": _deny,
}

__all__ = ["decide"]
