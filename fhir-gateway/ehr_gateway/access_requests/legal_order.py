"""Who decides for a patient who cannot: the basis, and the legal order of relations.

The lists are data (`ehr_privacy.substitutes`); here they are applied to the substitutes on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    read_patient,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction
from ehr_gateway.database import Connection
from ehr_privacy.substitutes import decision_right, substitution_basis


def check_age_basis(connection: Connection, request: AccessRequest) -> None:
    """Raise Unprocessable if the basis is "minor" but the recorded birth date says otherwise."""
    birth_date = str(read_patient(connection, request.patient).get("birthDate", ""))
    if request.details["basis"] != "minor" or not birth_date:
        return
    # Of a partial date the latest day counts: the person may be as young as that.
    latest = _local_date(date_interval(birth_date)[1] - 1)
    if substitution_basis(latest, _local_date(request.asked_ms), incapable=False) != "minor":
        raise Unprocessable(
            "This patient is not a child any more by the date of birth on record.",
            expression="Parameters.parameter",
        )


def _local_date(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, JURISDICTION.zone).date()


def check_legal_order(connection: Connection, request: AccessRequest, now_ms: int) -> None:
    """Raise Unprocessable if a substitute of higher rank decides, or the relation never may."""
    basis, relation = request.details["basis"], request.details["relation"]
    substitutes = _list_substitutes(connection, request.patient, now_ms)
    others = [substitute.details["relation"] for substitute in substitutes]
    if not decision_right(basis, relation, others).may:
        raise Unprocessable(
            "Somebody who comes before in the order of the law decides for this patient, or a"
            " person of this relation never does.",
            expression="Parameters.parameter",
        )


def _list_substitutes(connection: Connection, patient: str, now_ms: int) -> Sequence[AccessRequest]:
    return select_requests(
        connection,
        "kind = 'substitute' AND state = 'active' AND patient = :patient"
        " AND (until_ms IS NULL OR until_ms > :now)"
        " AND EXISTS (SELECT 1 FROM consent_carer c WHERE c.consent = access_request.consent)",
        patient=patient,
        now=now_ms,
    )


def end_lower_ranked_substitutes(
    step: StepTransaction, request: AccessRequest, now_ms: int
) -> None:
    """End the substitutes who rank below the new one in the legal order."""
    relation = request.details["relation"]
    for other in _list_substitutes(step.connection, request.patient, now_ms):
        basis, other_relation = other.details["basis"], other.details["relation"]
        if other.id == request.id or decision_right(basis, other_relation, [relation]).may:
            continue
        step.connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ? WHERE id = ?",
            (now_ms, other.id),
        )
        step.update_consent(str(other.consent), status="inactive")
