"""Role checks of access requests: who may take a step, and about which patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Forbidden, NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.accounts.accounts import list_names_of_person
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.store.stored_facts import read_current_body

__all__ = [
    "NO_PATIENT",
    "Clinician",
    "can_decide",
    "can_manage",
    "find_visible_patients",
    "read_patient",
    "require_clinician",
    "require_decider",
    "require_other_person",
    "require_patient_self",
    "require_role",
    "require_visible_patient",
]

NO_PATIENT = "There is no Patient with this id."


@dataclass(frozen=True)
class Clinician:
    """A clinician as the access token has them: one organisation, one profession."""

    id: str
    display: str
    organization: str
    profession: str

    @property
    def actor(self) -> dict[str, Any]:
        """The person as an actor of a Consent."""
        return {"id": self.id, "display": self.display}


def require_role(context: RequestContext, roles: frozenset[str]) -> None:
    """Raise Forbidden unless the caller has one of the roles."""
    if context.access.requester.role not in roles:
        raise Forbidden(f"This is for {', '.join(sorted(roles))}.")


def require_other_person(
    connection: Connection, context: RequestContext, person: str, refusal: str
) -> None:
    """Raise Forbidden if the caller is the person who asked; two accounts of one are one."""
    names = list_names_of_person(connection, context.caller.subject.login)
    if person in {context.access.requester.person, *names}:
        raise Forbidden(refusal)


def require_clinician(context: RequestContext) -> Clinician:
    """Return the calling clinician; Forbidden for programs and other roles."""
    requester, subject = context.access.requester, context.caller.subject
    # A program has no profession and gives no reason, so it never gets more than its scopes.
    if requester.role != "clinician" or not requester.organization or not requester.profession:
        raise Forbidden("This is for a clinician in person.")
    return Clinician(
        requester.person, subject.display, requester.organization, requester.profession
    )


def find_visible_patients(
    connection: Connection, access: Access, patients: Sequence[str]
) -> set[str]:
    """Return those of the Patients that the requester may see."""
    if not patients:
        return set()
    visible = access.read_predicate
    ids = {f"patient_{number}": patient for number, patient in enumerate(patients)}
    placeholders = ", ".join(f":{name}" for name in ids)
    rows = connection.execute(
        f"SELECT r.id FROM resource r WHERE r.type = 'Patient' AND r.id IN ({placeholders})"  # noqa: S608
        f" AND r.current = 1 AND r.deleted = 0 AND ({visible.sql})",
        {**ids, **visible.params},
    )
    return {str(row[0]) for row in rows}


def require_visible_patient(connection: Connection, access: Access, patient: str) -> None:
    """Raise NotFound unless the requester may see the Patient; hidden and absent look the same."""
    if not find_visible_patients(connection, access, [patient]):
        raise NotFound(NO_PATIENT)


def require_patient_self(context: RequestContext, patient: str) -> None:
    """Raise NotFound unless the caller is the patient in person."""
    requester = context.access.requester
    if requester.role != "patient" or requester.patient != patient:
        raise NotFound(NO_PATIENT)


def can_manage(connection: Connection, access: Access, patient: str) -> bool:
    """Say whether the requester is a carer with the power to manage for the patient now."""
    if access.requester.role != "carer":
        return False
    row = connection.execute(
        "SELECT 1 FROM consent_carer WHERE patient = ? AND person = ? AND can_manage = 1"
        " AND since <= ? AND (until IS NULL OR ? < until)",
        (patient, access.requester.person, access.now_ms, access.now_ms),
    ).fetchone()
    return row is not None


def can_decide(connection: Connection, access: Access, patient: str) -> bool:
    """Say whether the requester is the patient in person, or a carer who manages for them now."""
    requester = access.requester
    is_patient = requester.role == "patient" and requester.patient == patient
    return is_patient or can_manage(connection, access, patient)


def require_decider(connection: Connection, access: Access, patient: str) -> None:
    """Raise NotFound unless the requester may decide for the patient."""
    if not can_decide(connection, access, patient):
        raise NotFound(NO_PATIENT)


def read_patient(connection: Connection, patient: str) -> dict[str, Any]:
    """Return the stored Patient, without permission: for the server's own decisions."""
    body = read_current_body(connection, "Patient", patient)
    return parse(body) if body is not None else {}
