"""A simulator of the government's electronic identity, for demonstration and tests only.

It has the shape of the real thing: the person proves who they are to it, and it hands back a
token made for this service alone, never the HKID. A real provider replaces this file.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from ehr_fhir.errors import Unprocessable
from ehr_gateway.auth.secrets import hash_secret, verify_secret
from ehr_gateway.database import Connection, Database

_PIN = re.compile(r"^\d{6}$")


@dataclass(frozen=True)
class Enrolment:
    """A person ready to be enrolled: the PIN is hashed already."""

    hkid: str
    pin: str


def normalise(hkid: str) -> str:
    """Return an HKID in one form: capitals, no brackets or spaces.

    >>> normalise("a123456 (3)")
    'A1234563'
    """
    return re.sub(r"[^A-Z0-9]", "", hkid.upper())


def prepare(hkid: str, pin: str) -> Enrolment:
    """Check and hash, before any transaction is open."""
    if not _PIN.match(pin):
        raise Unprocessable("The PIN of the simulated eID has six digits.")
    return Enrolment(normalise(hkid), hash_secret(pin))


def enrol(connection: Connection, enrolment: Enrolment) -> str:
    """Enrol a person, or renew the PIN; return the token that stands for them here."""
    row = connection.execute(
        "SELECT subject FROM eid_person WHERE hkid = ?", (enrolment.hkid,)
    ).fetchone()
    subject = row[0] if row else uuid.uuid4().hex
    connection.execute(
        "INSERT INTO eid_person (hkid, pin, subject) VALUES (?, ?, ?) ON CONFLICT (hkid)"
        " DO UPDATE SET pin = excluded.pin, subject = excluded.subject",
        (enrolment.hkid, enrolment.pin, subject),
    )
    return str(subject)


def identify(database: Database, hkid: str, pin: str) -> str | None:
    """Return the token of the person whose HKID and PIN these are, or None."""
    with database.reading() as connection:
        row = connection.execute(
            "SELECT pin, subject FROM eid_person WHERE hkid = ?", (normalise(hkid),)
        ).fetchone()
    right = verify_secret(row[0] if row else None, pin)
    return str(row[1]) if right else None
