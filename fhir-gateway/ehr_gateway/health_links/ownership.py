"""Who may give a record to somebody without an account, asked at each step of a link."""

from __future__ import annotations

from ehr_fhir.errors import NotFound
from ehr_gateway.access import Access
from ehr_gateway.access_requests.role_checks import NO_PATIENT
from ehr_gateway.database import Connection

__all__ = ["require_owner"]


def require_owner(connection: Connection, access: Access, patient: str) -> None:
    """Raise NotFound for anybody but the patient, and a carer who sees the record and decides."""
    requester, now = access.requester, access.now_ms
    if requester.role == "patient" and requester.patient == patient:
        return
    if requester.role == "carer":
        row = connection.execute(
            "SELECT MAX(can_view) AS can_view, MAX(can_manage) AS can_manage FROM consent_carer"
            " WHERE patient = ? AND person = ? AND since <= ? AND (until IS NULL OR ? < until)",
            (patient, requester.person, now, now),
        ).fetchone()
        if row["can_view"] and row["can_manage"]:
            return
    raise NotFound(NO_PATIENT)
