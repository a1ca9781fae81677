"""The patients whom a carer may represent now, by the carer Consents in force."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from ehr_fhir.errors import NotFound
from ehr_gateway.access import Access
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway
from ehr_gateway.store.visible import read_on
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import Requester, parse_scopes

__all__ = ["RepresentedPatient", "list_patients_of_carer"]


@dataclass(frozen=True)
class RepresentedPatient:
    """A patient whose record a carer may open."""

    patient: str
    name: str


def list_patients_of_carer(gateway: Gateway, account: Account) -> tuple[RepresentedPatient, ...]:
    """Return the patients a carer may represent, by name, without those the carer may not read."""
    if gateway.closure.is_closed_to(account.role):
        # The power may have ended since the backup, and a name is part of the record.
        return ()
    now = gateway.clock()
    person = account.person or account.login
    requester = Requester(
        account.role,
        person,
        purpose=load_roles()[account.role].purpose,
        scopes=parse_scopes("user/Patient.r"),
    )
    access = Access(requester, now, "choice")
    patients = []
    with gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT DISTINCT patient FROM consent_carer WHERE person = ? AND can_view = 1"
            " AND since <= ? AND (until IS NULL OR ? < until)",
            (person, now, now),
        ).fetchall()
        for (patient,) in rows:
            try:
                body = read_on(connection, access, "Patient", patient).body
            except NotFound:
                continue
            patients.append(
                RepresentedPatient(patient, _display_name(orjson.loads(body)) or patient)
            )
    return tuple(sorted(patients, key=lambda patient: (patient.name, patient.patient)))


def _display_name(patient: dict[str, object]) -> str:
    names = patient.get("name")
    first = names[0] if isinstance(names, list) and names else {}
    if text := first.get("text"):
        return str(text)
    return " ".join([*first.get("given", []), first.get("family", "")]).strip()
