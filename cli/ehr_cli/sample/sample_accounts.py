"""The accounts of the sample: staff, patients and a carer."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_cli.sample.hong_kong import Name, invent_hkid, read_setting
from ehr_cli.sample.overlay import SamplePatient, sample_patients
from ehr_gateway.accounts import accounts
from ehr_gateway.store.store import Store

PIN = "246810"
# Patients whose log-ins the demo prints; the first is "the patient".
FEATURED_PATIENTS = (
    "42de611e-269f-4c0d-079f-88e83a562ad4",
    "bd95fae8-82d8-3ce5-14ec-4653189a52c3",
    "d519e2ba-4d7c-bb5d-843c-573de0cce7eb",
)


# A carer whom a patient of the demo invites; not a patient of the sample.
CARER = accounts.Account("c.chan", "carer", "CHAN Mei Ling 陳美玲")


@dataclass(frozen=True)
class StaffMember:
    """A member of staff with a log-in; the password is for the demo alone."""

    login: str
    name: Name
    role: str
    profession: str | None
    organization: str

    @property
    def password(self) -> str:
        """Return the demo's password."""
        return f"demo-{self.login}"

    @property
    def person(self) -> str:
        """Return the id of the Practitioner."""
        return self.login.replace(".", "-")


def sample_staff() -> tuple[StaffMember, ...]:
    """Return the staff of the sample who log in."""
    return tuple(
        StaffMember(
            login=row["login"],
            name=Name(*row["name"], *row["name_zh"]),
            role=row["role"],
            profession=row.get("profession"),
            organization=row["organization"],
        )
        for row in read_setting()["staff"]
    )


def featured_patients() -> tuple[SamplePatient, ...]:
    """Return the patients whose log-ins the demo prints."""
    by_id = {patient.id: patient for patient in sample_patients()}
    return tuple(by_id[identity] for identity in FEATURED_PATIENTS)


def carer_hkid() -> str:
    """Return the carer's identity card number, which no real card bears."""
    return invent_hkid(CARER.login)


def add_accounts(store: Store) -> int:
    """Add an account for each member of staff, each patient and a carer; return how many."""
    for member in sample_staff():
        accounts.add_account(store, _staff_account(member), member.password)
    for patient in sample_patients():
        account = accounts.Account(
            f"p.{patient.id}", "patient", patient.name.text, patient=patient.id
        )
        accounts.add_account(store, account, identity_number=patient.hkid, pin=PIN)
    accounts.add_account(store, CARER, identity_number=carer_hkid(), pin=PIN)
    return len(sample_staff()) + len(sample_patients()) + 1


def _staff_account(member: StaffMember) -> accounts.Account:
    title = "Dr " if member.profession == "doctor" else ""
    return accounts.Account(
        login=member.login,
        role=member.role,
        display=title + member.name.both,
        organization=member.organization,
        profession=member.profession,
        person=member.person,
        # So that the demo can be looked at without an authenticator app.
        exempt=True,
    )
