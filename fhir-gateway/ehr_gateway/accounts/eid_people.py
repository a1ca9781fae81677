"""People enrolled with the simulated electronic identity: identity numbers, PINs and subjects.

For demonstrations and tests only. A real provider keeps these, and the gateway never sees them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass

from ehr_fhir.errors import Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.database import Connection, Database
from ehr_gateway.tokens.secret_hashes import hash_secret, verify_secret

# The gateway's client id at the simulator.
CLIENT_ID = "ehr-commons"
_PIN = re.compile(r"^\d{6}$")


@dataclass(frozen=True)
class Enrolment:
    """A person ready to be enrolled: the PIN is hashed already."""

    hkid: str
    pin: str


def prepare_enrolment(hkid: str, pin: str) -> Enrolment:
    """Check and hash the PIN. Slow by design, so not inside a transaction."""
    if not _PIN.match(pin):
        raise Unprocessable("The PIN of the simulated eID has six digits.")
    return Enrolment(JURISDICTION.person_identifier.normalize(hkid), hash_secret(pin))


def enrol_person(connection: Connection, enrolment: Enrolment) -> str:
    """Enrol a person, or replace their PIN; return their subject for the gateway."""
    row = connection.execute(
        "SELECT subject FROM eid_person WHERE hkid = ?", (enrolment.hkid,)
    ).fetchone()
    person_subject = row[0] if row else uuid.uuid4().hex
    connection.execute(
        "INSERT INTO eid_person (hkid, pin, subject) VALUES (?, ?, ?) ON CONFLICT (hkid)"
        " DO UPDATE SET pin = excluded.pin, subject = excluded.subject",
        (enrolment.hkid, enrolment.pin, person_subject),
    )
    return pairwise_subject(person_subject, CLIENT_ID)


def has_enrolments(database: Database) -> bool:
    """Say whether anybody is enrolled; the log-in page offers the simulator only then."""
    with database.read_transaction() as connection:
        return connection.execute("SELECT 1 FROM eid_person LIMIT 1").fetchone() is not None


def find_subjects_by_number(connection: Connection, identity_number: str) -> list[str]:
    """Return the subjects, as accounts have them, of an identity number however it is written."""
    number = JURISDICTION.person_identifier.normalize(identity_number)
    rows = connection.execute("SELECT subject FROM eid_person WHERE hkid = ?", (number,))
    return [pairwise_subject(str(row["subject"]), CLIENT_ID) for row in rows]


def identify_person(
    database: Database, hkid: str, pin: str, service: str = CLIENT_ID
) -> str | None:
    """Return a person's subject for a service if the PIN is right, or None."""
    with database.read_transaction() as connection:
        row = connection.execute(
            "SELECT pin, subject FROM eid_person WHERE hkid = ?",
            (JURISDICTION.person_identifier.normalize(hkid),),
        ).fetchone()
    is_right = verify_secret(row[0] if row else None, pin)
    return pairwise_subject(row[1], service) if is_right else None


def pairwise_subject(person_subject: str, service: str) -> str:
    """Return the subject of a person for one service (OpenID Connect Core §8.1, pairwise).

    Two services get different ones, so that they cannot match their users.

    >>> pairwise_subject("x", "a") == pairwise_subject("x", "b")
    False
    """
    return hmac.new(person_subject.encode(), service.encode(), hashlib.sha256).hexdigest()[:32]
