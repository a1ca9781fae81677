"""Carers of a patient: list them, end one, and list the patients a carer represents.

How somebody becomes a carer is in `invitations`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ehr_fhir.errors import NotFound
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    require_decider,
)
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection, Row
from ehr_gateway.http.authentication import RequestContext

__all__ = ["end_carer", "list_carers", "list_represented_patients"]


def end_carer(context: RequestContext, identity: str) -> None:
    """End a carer's power, or withdraw an invitation: by the patient, the carer or a steward."""
    requester, now = context.access.requester, context.access.now_ms
    with step_transaction(context, "$end-carer") as step:
        connection = step.connection
        requests = select_requests(
            connection,
            "id = :id AND kind IN ('carer', 'substitute') AND state IN ('proposed', 'active')",
            id=identity,
        )
        if not requests or not _may_end(context, requests[0]):
            raise NotFound("There is no such carer.")
        request = requests[0]
        connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ?, decided_by = ?, code = NULL"
            " WHERE id = ?",
            (now, requester.person, identity),
        )
        for consent in (request.consent, request.details.get("limit")):
            if consent:
                step.update_consent(str(consent), status="inactive")
        step.patients.append(request.patient)


def list_carers(
    connection: Connection, context: RequestContext, patient: str
) -> Sequence[AccessRequest]:
    """Return a patient's carers and open invitations, to the patient, their carers or a steward."""
    if context.access.requester.role != "steward":
        require_decider(connection, context.access, patient)
    return select_requests(
        connection,
        "kind IN ('carer', 'substitute') AND patient = :patient"
        " AND ((state = 'proposed' AND expires_ms > :now)"
        " OR (state = 'active' AND (until_ms IS NULL OR until_ms > :now)"
        " AND EXISTS (SELECT 1 FROM consent_carer c WHERE c.consent = access_request.consent)))",
        patient=patient,
        now=context.access.now_ms,
    )


def list_represented_patients(connection: Connection, context: RequestContext) -> list[Row]:
    """Return the patients whom the calling carer represents now, with the powers."""
    now = context.access.now_ms
    return connection.execute(
        "SELECT patient, MAX(can_view) AS can_view, MAX(can_manage) AS can_manage"
        " FROM consent_carer WHERE person = ? AND since <= ? AND (until IS NULL OR ? < until)"
        " GROUP BY patient ORDER BY patient",
        (context.access.requester.person, now, now),
    ).fetchall()


def _may_end(context: RequestContext, request: AccessRequest) -> bool:
    requester = context.access.requester
    if requester.role == "carer":
        return request.person == requester.person
    # A patient may end their own carers, not a substitute who was recorded to decide for them.
    is_patient = requester.role == "patient" and requester.patient == request.patient
    return requester.role == "steward" or (is_patient and request.kind == "carer")
