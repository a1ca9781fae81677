"""What the requester of a transaction may write: by scope, role, authorship and kind of change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from ehr_fhir.errors import Forbidden, InsufficientScope
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_privacy.consent import (
    Act,
    Record,
    RuleRow,
    deposit_predicate,
    load_roles,
    may_write,
    right_to_change,
)  # fmt: skip

__all__ = ["WriteInteraction", "WritePermission", "giver_of_id"]

WriteInteraction = Literal["create", "update", "delete"]


class WritePermission:
    """The rights of one requester, on the transaction's connection."""

    def __init__(self, access: Access, connection: Connection) -> None:
        self._access = access
        self._connection = connection

    def check_except_enrolment(
        self, interaction: WriteInteraction, record: Record, *, holds: bool = False
    ) -> None:
        """Check write permission except enrolment, which this transaction may itself create."""
        self.check(
            interaction,
            record,
            joined=True,
            manages=all(self._manages_account(patient) for patient in record.patients),
            holds=holds,
        )

    def check_stored(self, interaction: WriteInteraction, record: Record) -> None:
        """Check the same by a stored version: it may name another patient, or be a hold."""
        self.check_except_enrolment(interaction, record, holds=self._is_hold(record))

    def check(
        self,
        interaction: WriteInteraction,
        record: Record,
        *,
        joined: bool,
        manages: bool,
        holds: bool = False,
    ) -> None:
        """Raise Forbidden unless the requester may write a record; see `may_write`."""
        requester = self._access.requester
        decision = may_write(
            requester, interaction, record, joined, True, manages=manages, holds=holds
        )
        if decision.reason == "scope":
            # The scope is there, but for the token's own patient alone.
            raise InsufficientScope(_REFUSALS["scope"])
        if not decision.permit:
            raise Forbidden(_REFUSALS.get(decision.reason, _REFUSALS["role"]))

    def takes_deposits(self, patient: str) -> bool:
        """Say whether a patient's account takes deposits from the requester's organisation."""
        requester = self._access.requester
        joined = deposit_predicate(requester.organization, self._access.now_ms)
        return self._is_true(joined.sql, {"patient": patient, **joined.params})

    def check_acts(self, record: Record, acts: Collection[Act]) -> bool:
        """Refuse acts that the requester has no right to; say whether one needs a review."""
        if record.ruled_type in load_roles().writers:
            return False
        if record.clinical_consent and self._access.requester.role in _DECIDERS:
            return False  # `may_write` lets them change what no organisation wrote
        if record.own_entry and not self.is_platform_service:
            return self._check_acts_on_own_entry(acts)
        rights = {
            act: right_to_change(self._access.requester, record.author, act) for act in sorted(acts)
        }
        for act, right in rights.items():
            if right in ("no", "operation"):
                raise Forbidden(_REFUSED_ACTS[act])
        return "proposal" in rights.values()

    def check_limits_of_carers(
        self, before: Sequence[RuleRow] = (), after: Sequence[RuleRow] = ()
    ) -> None:
        """Refuse a carer who changes what carers may do or see, though they decide otherwise.

        The patient limits their carers, by a power and by what is closed to them; a carer who could
        lift that would not be limited. More may be closed to carers, and a carer resigns by an
        operation.
        """
        if self._access.requester.role != "carer":
            return
        if any(row.table == "consent_carer" for row in (*before, *after)) or any(
            row.values.get("actor_kind") == "carer"
            or (
                row.values.get("actor_kind") == "person"
                and self._is_carer(str(row.values["actor_value"]))
            )
            for row in before
            if row.table == "consent_restriction"
        ):
            raise Forbidden("What carers may do and see is the patient's to say.")

    def _is_carer(self, person: str) -> bool:
        """Say whether a person is, or was, anybody's carer."""
        condition = (
            "EXISTS (SELECT 1 FROM consent_opening WHERE kind = 'consent_carer'"
            " AND organization = :person)"
        )
        return person == self._access.requester.person or self._is_true(
            condition, {"person": person}
        )

    def _check_acts_on_own_entry(self, acts: Collection[Act]) -> bool:
        """Refuse acts on what a patient wrote down, which is theirs to correct and take back."""
        role = self._access.requester.role
        if role not in ("patient", "carer"):
            raise Forbidden("What a patient wrote down is the patient's to change.")
        if refused := sorted(set(acts) - _ACTS_ON_OWN_ENTRIES):
            raise Forbidden(_REFUSED_ACTS[refused[0]])
        return False

    def is_author(self, author: str | None) -> bool:
        """Say whether the requester writes for the organisation that is a record's author."""
        return self._access.author is not None and self._access.author == author

    def may_loosen(self, author: str | None) -> bool:
        """Say whether the requester may loosen what the versions of an author's record state.

        The author may, and a steward; of what a patient wrote, the patient and who acts for them.
        """
        requester = self._access.requester
        if requester.role in ("steward", "administrator"):
            return True
        if requester.role in ("patient", "carer"):
            return author is None
        return self.is_author(author)

    def corrects_person(self, kind: str) -> bool:
        """Say whether the requester corrects a person's data by the papers at the counter.

        A steward does, with no sight of charts.
        """
        return kind == "Patient" and self._access.requester.role == "steward"

    def may_choose_id(self, record: Record, identity: str) -> bool:
        """Say whether the requester may create a record under an id of its choice.

        Entries of the directory that everybody sees have no hidden ids. For all else, an
        organisation's systems choose ids that only the organisation gives: nobody hides those from
        them. With the setting `client_ids = any` they choose every id but those that another
        organisation gives.
        """
        if self.is_platform_service:
            return True
        if record.directory and record.type not in load_roles().directory_readers:
            return True
        requester = self._access.requester
        if requester.role != "system":
            return False
        giver = giver_of_id(identity)
        if giver is not None and giver == requester.organization:
            return True
        return not self._access.own_ids_only and not self._is_organization(giver)

    def absent_text(self, kind: str) -> str:
        """Return what a PUT is told under an id that is absent, hidden or not the requester's."""
        text = f"There is no {kind} with this id."
        requester = self._access.requester
        if requester.role != "system" or requester.organization is None:
            return text
        return (
            f"{text} A program may always choose an id of its organisation's: it begins with"
            f" {requester.organization}. and has no dot after that. It may also POST, or update by"
            " criteria such as an identifier."
        )

    def _is_organization(self, name: str | None) -> bool:
        condition = "EXISTS (SELECT 1 FROM resource WHERE type = 'Organization' AND id = :id)"
        return name is not None and self._is_true(condition, {"id": name})

    @property
    def is_platform_service(self) -> bool:
        """Whether the requester is one of the platform's own systems.

        They store records that they may not read, such as consents.
        """
        requester = self._access.requester
        return requester.role == "system" and requester.organization == load_roles().platform

    def _manages_account(self, patient: str) -> bool:
        if self._access.requester.role != "carer":
            return False
        condition = (
            "EXISTS (SELECT 1 FROM consent_carer WHERE patient = :patient AND person = :person"
            " AND can_manage = 1 AND since <= :now AND (until IS NULL OR :now < until))"
        )
        person, now = self._access.requester.person, self._access.now_ms
        return self._is_true(condition, {"patient": patient, "person": person, "now": now})

    def _is_hold(self, record: Record) -> bool:
        """Say whether a stored record is a Consent that holds results back from the patient."""
        condition = "EXISTS (SELECT 1 FROM consent_hold WHERE consent = :id)"
        return record.type == "Consent" and self._is_true(condition, {"id": record.id})

    def _is_true(self, condition: str, params: Mapping[str, object]) -> bool:
        return bool(self._connection.execute(f"SELECT {condition}", params).fetchone()[0])


def giver_of_id(identity: str) -> str | None:
    """Return the organisation whose systems give an id, None if its form names none.

    Such an id is the organisation's, a dot and a name without one, so that it is of one alone.

    >>> giver_of_id("clinic.b.4711"), giver_of_id("4711")
    ('clinic.b', None)
    """
    giver, _, name = identity.rpartition(".")
    return giver if giver and name else None


_REFUSED_ACTS: Mapping[Act, str] = {
    "correct": "Only those who treat the patient change a clinical record.",
    "loosen": "Only the author, the patient or a steward changes what the rules go by.",
    "empty": (
        "This version takes away what the record says, which only the organisation that wrote it"
        " does. Change an element, or ask the author."
    ),
    "mark-wrong": (
        "Only the organisation that wrote a record marks it as entered in error, or takes it back."
    ),
    "delete": (
        "Only the organisation that wrote a record deletes it; a steward does so on request."
    ),
    "restore": "Only the organisation that wrote a record brings it back.",
    "move": "Only the organisation that wrote a record, or a steward, changes whose record it is.",
    "directory-change": "Only the organisation that wrote a directory entry first changes it.",
    "directory-delete": "Only the organisation that wrote a directory entry first deletes it.",
    "person-details": "The requester's role may not change a person's data.",
    "person-identity": "The requester's role may not change by what a person is recognised.",
    "person-link": "Accounts of one person are linked by $merge, which takes two stewards.",
    "person-inactive": "Only a steward and the platform set whether a person's record is in use.",
    "person-delete": "A person's record is deleted by the platform alone, as an erasure.",
}
# Nothing is deleted: a slip is marked as entered in error, and the history keeps it.
_ACTS_ON_OWN_ENTRIES: frozenset[Act] = frozenset({"correct", "mark-wrong"})
# Who writes Consents for the patient.
_DECIDERS = frozenset({"patient", "carer", "steward"})
_REFUSALS = {
    "scope": "The token's scopes do not cover this interaction on this record.",
    "role": "The requester's role may not write this kind of record.",
    "not-joined": "The patient's account takes no deposits from this organisation.",
    "not-own": "A patient may write this for their own record only.",
    "no-power": "The power to act for this patient is not in force.",
    "held": "A result that is held back is for those who hold it, not for the patient, to release.",
}
