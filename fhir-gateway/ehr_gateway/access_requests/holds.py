"""Holds: a clinician holds a result back from the patient until a date, with a reason.

The patient sees a stub: the type, who holds it, until when. A hold expires, or is released early by
the organisation that placed it or by a steward.
"""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.request_rows import AccessRequest, insert_request, select_requests
from ehr_gateway.access_requests.role_checks import Clinician
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.store.visible import read_on
from ehr_privacy.consent import Predicate, compile_predicate

__all__ = ["HELD_TYPES", "hold_result", "list_hold_stubs", "release_hold"]

# Results of examinations, and documents; a list of medicines is not held back.
HELD_TYPES = frozenset(
    {"Composition", "DiagnosticReport", "DocumentReference", "ImagingStudy", "Media", "Observation"}
)
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


def hold_result(
    context: RequestContext,
    clinician: Clinician,
    kind: str,
    identity: str,
    *,
    reason: str,
    until_ms: int,
) -> AccessRequest:
    """Hold back one result of the clinician's organisation from the patient.

    Raises NotFound for a record that the clinician may not see, Forbidden for one of another
    organisation, Unprocessable for a term that is over or too long, Conflict if it is held already.
    """
    now, limits = context.access.now_ms, context.gateway.settings.limits
    if kind not in HELD_TYPES:
        raise Unprocessable("Only results and documents are held back.")
    if not now < until_ms <= now + limits.hold_days * _DAY_MS:
        raise Unprocessable(
            f"A hold ends in {limits.hold_days} days at most.", expression="Parameters.parameter"
        )
    record = f"{kind}/{identity}"
    with step_transaction(context, "$hold") as step:
        connection = step.connection
        version = read_on(connection, context.access, kind, identity)
        if version.author != clinician.organization:
            raise Forbidden("Only the organisation that wrote a result holds it back.")
        patients = [
            str(row[0])
            for row in connection.execute(
                "SELECT patient FROM record_patient WHERE pk = ? ORDER BY patient", (version.pk,)
            )
        ]
        if len(patients) != 1:
            raise Unprocessable("Only a record about one patient is held back.")
        if _is_held(connection, record, now):
            raise Conflict("It is held back already.")
        request = AccessRequest(
            id=new_id(),
            kind="hold",
            state="active",
            patient=patients[0],
            person=clinician.id,
            display=clinician.display,
            organization=clinician.organization,
            profession=clinician.profession,
            reason=reason,
            details={"record": record},
            asked_ms=now,
            expires_ms=until_ms,
            until_ms=until_ms,
            decided_ms=now,
            decided_by=clinician.id,
            hours=-(-(until_ms - now) // _HOUR_MS),
        )
        consent = consents.build_hold_consent(
            request.id,
            request.patient,
            now,
            until_ms,
            record=record,
            organization=clinician.organization,
        )
        request = replace(request, consent=step.create_consent(consent))
        insert_request(connection, request)
        step.patients.append(request.patient)
    return request


def release_hold(context: RequestContext, identity: str) -> None:
    """Release a hold early: by a clinician of the organisation that placed it, or a steward."""
    requester, now = context.access.requester, context.access.now_ms
    with step_transaction(context, "$release-hold") as step:
        requests = select_requests(
            step.connection, "id = :id AND kind = 'hold' AND state = 'active'", id=identity
        )
        releasable = [
            request
            for request in requests
            if requester.role == "steward"
            or (requester.role == "clinician" and request.organization == requester.organization)
        ]
        if not releasable:
            raise NotFound("There is no such hold.")
        step.connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ?, decided_by = ? WHERE id = ?",
            (now, requester.person, identity),
        )
        step.update_consent(str(releasable[0].consent), status="inactive")
        step.patients.append(releasable[0].patient)


def list_hold_stubs(
    connection: Connection, context: RequestContext, patient: str
) -> list[AccessRequest]:
    """Return the holds on a patient's records; to a clinician those of their own organisation.

    A record that is closed to the reader for another reason than the hold has no stub.
    """
    requester, now = context.access.requester, context.access.now_ms
    in_force = (
        "kind = 'hold' AND state = 'active' AND until_ms > :now"
        " AND consent IN (SELECT h.consent FROM consent_hold h WHERE h.patient = :patient)"
    )
    requests = list(select_requests(connection, in_force, patient=patient, now=now))
    if requester.role == "clinician":
        requests = [
            request for request in requests if request.organization == requester.organization
        ]
    if requester.role == "steward":
        return requests
    open_but_held = compile_predicate(
        requester, "read", now, lifted=frozenset({"held"}), prefix="held"
    )
    return [
        request
        for request in requests
        if _is_visible(connection, str(request.details["record"]), patient, open_but_held)
    ]


def _is_visible(connection: Connection, record: str, patient: str, visible: Predicate) -> bool:
    # After a merge of patients the record may be another patient's than the hold names.
    kind, _, identity = record.partition("/")
    row = connection.execute(
        "SELECT 1 FROM resource r WHERE r.type = :kind AND r.id = :id AND r.current = 1"  # noqa: S608
        " AND EXISTS (SELECT 1 FROM record_patient p WHERE p.pk = r.pk AND p.patient = :patient)"
        f" AND r.deleted = 0 AND ({visible.sql})",
        {"kind": kind, "id": identity, "patient": patient, **visible.params},
    ).fetchone()
    return row is not None


def _is_held(connection: Connection, record: str, now_ms: int) -> bool:
    kind, _, identity = record.partition("/")
    row = connection.execute(
        "SELECT 1 FROM consent_hold WHERE record_type = ? AND record_id = ?"
        " AND since <= ? AND (until IS NULL OR ? < until)",
        (kind, identity, now_ms, now_ms),
    ).fetchone()
    return row is not None
