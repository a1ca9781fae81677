"""Who may write: scope, role, and the right to deposit that joining gives.

Creating a record needs no right to see the patient's other records; changing one needs the right
to see its current version.
"""

from __future__ import annotations

from functools import lru_cache

from ehr_fhir.dates import day_start_ms
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.consent.decide import in_scope
from ehr_privacy.consent.model import Decision, Predicate, Record, Requester, Rules
from ehr_privacy.consent.roles import RoleMatrix, load_roles
from ehr_privacy.consent.sql_expressions import any_of, exists, negate
from ehr_privacy.consent.sql_selectors import in_force_condition

# From this day joining alone lets every registered organisation deposit.
DEPOSIT_BY_JOINING_MS = day_start_ms(JURISDICTION.deposit_by_joining_since)


def may_write(
    requester: Requester,
    interaction: str,
    record: Record,
    joined: bool,
    current_visible: bool,
    *,
    manages: bool = False,
    holds: bool = False,
    roles: RoleMatrix | None = None,
) -> Decision:
    """Decide whether a requester may create records of this kind, or write to one they may see.

    What they may change of a record that is there, `right_to_change` says.

    `joined`: the organisation may deposit for every patient of the record (`may_deposit`);
    `current_visible`: the current version is visible to the requester (pass True for a create);
    `manages`: the carer's power to manage holds for every patient of the record;
    `holds`: the record is a Consent that holds results back from the patient.
    """
    matrix = roles or load_roles()
    if not in_scope(requester, interaction, record):
        return Decision(False, "scope")
    platform = requester.role == "system" and requester.organization == matrix.platform
    writers = matrix.writers.get(record.type)
    if record.clinical_consent and requester.role in ("clinician", "system") and not platform:
        writers = None  # a clinical document, deposited as any
    if writers is not None:
        if record.clinical_consent and record.author is not None and not platform:
            return Decision(False, "role")  # a clinician's document is not the patient's to change
        if holds and requester.role in ("patient", "carer"):
            return Decision(False, "held")
        return _write_named(requester, record, writers, platform, manages)
    if record.own_entry and requester.role in ("patient", "carer"):
        return _write_own_entry(requester, interaction, record, manages)
    if record.type == "Patient" and interaction != "create":
        # A person asks for a correction of their own data; a steward makes it.
        if requester.role == "steward":
            return Decision(True, "steward")
        if requester.role == "patient":
            is_own = record.patients == {requester.patient}
            return Decision(is_own, "own" if is_own else "not-own")
    if requester.role == "administrator":
        return Decision(record.directory, "directory" if record.directory else "role")
    if requester.role not in ("clinician", "system"):
        return Decision(False, "role")
    if not record.directory:
        if matrix.cell_of_all(requester.role, requester.profession, record.domains) == "none":
            return Decision(False, "role")
        # A Patient must exist before the person can join; the platform keeps the registry. What it
        # works out itself it writes about nobody who has left.
        needs_joining = record.type != "Patient" and (not platform or record.type in matrix.derived)
        if record.patients and not joined and needs_joining:
            return Decision(False, "not-joined")
    if interaction != "create" and not current_visible and not platform:
        return Decision(False, "not-visible")
    return Decision(True, "platform" if platform else "deposit")


def may_deposit(rules: Rules, organization: str | None, patient: str, now_ms: int) -> bool:
    """Say whether an organisation may deposit to a patient's account at an instant."""
    if organization is None or not rules.in_force("consent_joining", now_ms, patient=patient):
        return False
    if now_ms >= DEPOSIT_BY_JOINING_MS:
        return True
    shared = rules.in_force("consent_sharing", now_ms, patient=patient)
    return any(row["organization"] in ("*", organization) for row in shared) or bool(
        rules.in_force("consent_deemed", now_ms, organization=organization)
    )


def deposit_predicate(
    organization: str | None, now_ms: int, *, patient: str = ":patient", prefix: str = "d"
) -> Predicate:
    """Return `may_deposit` as SQL; `patient` is the SQL text that names the patient's id."""
    if organization is None:
        return Predicate("FALSE", {})
    by_joining = now_ms >= DEPOSIT_BY_JOINING_MS
    values: dict[str, str | int] = {f"{prefix}_now": now_ms}
    if not by_joining:
        values[f"{prefix}_organization"] = organization
    return Predicate(_deposit_sql(patient, prefix, by_joining), values)


# The text depends on nothing of the request but its day; each write of a record asks for it.
@lru_cache(maxsize=64)
def _deposit_sql(patient: str, prefix: str, by_joining: bool) -> str:
    now, organization = f":{prefix}_now", f":{prefix}_organization"
    joined = exists("consent_joining j", f"j.patient = {patient}", in_force_condition("j", now))
    if by_joining:
        return joined
    shared = any_of(
        exists(
            "consent_sharing s",
            f"s.patient = {patient}",
            f"s.organization IN ({organization}, '*')",
            in_force_condition("s", now),
        ),
        exists(
            "consent_deemed e", f"e.organization = {organization}", in_force_condition("e", now)
        ),
    )
    return negate(f"{negate(joined)} OR {negate(shared)}")


def _write_own_entry(
    requester: Requester, interaction: str, record: Record, manages: bool
) -> Decision:
    """Decide about what patients measured: theirs, and for who decides for them, to mend."""
    if interaction == "delete":
        return Decision(False, "role")  # marked as entered in error instead
    if requester.role == "patient":
        is_own = record.patients == {requester.patient}
        return Decision(is_own, "own" if is_own else "not-own")
    may_act = manages and bool(record.patients)
    return Decision(may_act, "carer" if may_act else "no-power")


def _write_named(
    requester: Requester,
    record: Record,
    writers: frozenset[str],
    platform: bool,
    manages: bool,
) -> Decision:
    """Types with writers of their own: access rules, the audit trail, the register of providers."""
    if platform and "platform" in writers:
        return Decision(True, "platform")
    if requester.role not in writers:
        return Decision(False, "role")
    if requester.role == "patient" and record.patients != {requester.patient}:
        return Decision(False, "not-own")
    if requester.role == "carer" and not (manages and record.patients):
        return Decision(False, "no-power")
    return Decision(True, requester.role)
