"""Keep a change of a person's identity as a proposal, which a steward approves or refuses.

By name, birth date, sex and identity documents a person is recognised, and other records are found
and merged. So a change of them is decided by a steward, whoever writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_fhir.json_text import serialize
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.ids import new_id
from ehr_gateway.store.store import Version

__all__ = ["PROPOSAL_KIND", "keep_proposal", "proposal_outcome"]

# The kind of such rows in `access_request`.
PROPOSAL_KIND = "identity"
# A proposal does not expire: its base version decides whether it is still current.
_NEVER_MS = 253_402_300_799_000  # 9999-12-31T23:59:59Z


def keep_proposal(
    connection: Connection, access: Access, base: Version, resource: Mapping[str, Any]
) -> str:
    """Keep the next version of a Patient as a proposal on its base version; return its id.

    What a feed sends again and again is one proposal.
    """
    requester = access.requester
    details = serialize({"base": base.version, "resource": resource}).decode()
    values: dict[str, Any] = {
        "kind": PROPOSAL_KIND,
        "patient": base.id,
        "person": requester.person,
        "organization": requester.organization,
        "details": details,
    }
    row = connection.execute(
        "SELECT id FROM access_request WHERE kind = :kind AND patient = :patient"
        " AND person = :person AND state = 'proposed' AND details = :details"
        " AND COALESCE(organization, '') = COALESCE(:organization, '')",
        values,
    ).fetchone()
    if row is not None:
        return str(row["id"])
    values |= {
        "id": new_id(),
        "state": "proposed",
        "display": _display(connection, requester.person),
        "profession": requester.profession,
        "asked": access.now_ms,
        "expires": _NEVER_MS,
    }
    connection.execute(
        "INSERT INTO access_request (id, kind, state, patient, person, display, organization,"
        " profession, reason, domains, details, hours, tries, asked_ms, expires_ms) VALUES"
        " (:id, :kind, :state, :patient, :person, :display, :organization, :profession, '', '[]',"
        " :details, 0, 0, :asked, :expires)",
        values,
    )
    return str(values["id"])


def proposal_outcome(proposal: str) -> dict[str, Any]:
    """Return the OperationOutcome of a change that is kept as a proposal."""
    text = (
        f"Nothing is changed yet: the change of name, birth date, sex or identity document is"
        f" kept as proposal {proposal} until a steward approves or refuses it."
    )
    issue = {"severity": "information", "code": "informational", "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _display(connection: Connection, person: str) -> str:
    row = connection.execute(
        "SELECT display FROM account WHERE login = ? OR person = ?", (person, person)
    ).fetchone()
    return str(row["display"]) if row else person
