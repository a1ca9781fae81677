"""Who may open a page: the type of its `request` parameter checks the role of the logged-in person.

This spares a refused request to the gateway, which checks every right by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends

from ehr_fhir.errors import Forbidden
from ehr_portal.web.request import PortalRequest, portal_request

# Of anybody, logged in or not.
AnyRequest = Annotated[PortalRequest, Depends(portal_request)]


def _require_login(request: AnyRequest) -> PortalRequest:
    # `user` raises Unauthorized.
    _ = request.user
    return request


def _require_patient(request: AnyRequest) -> PortalRequest:
    is_patient = request.user.role == "patient" and request.user.patient
    if not is_patient and not request.user.acts_for_patient:
        raise Forbidden("This page is for patients, and for carers who said for whom they act.")
    return request


def _require_record_reader(request: AnyRequest) -> PortalRequest:
    # A carer who only decides about sharing is shown nothing of the record: an empty page of it
    # would tell them that nothing is recorded.
    if not _require_patient(request).user.may_read_record:
        raise Forbidden("This page is for who sees the record.")
    return request


def _require_decider(request: AnyRequest) -> PortalRequest:
    if not _require_patient(request).user.may_decide:
        raise Forbidden("This page is for who decides about the record.")
    return request


def _require_record_giver(request: AnyRequest) -> PortalRequest:
    # Who may hand the record on has to see it, and to decide about it.
    user = _require_patient(request).user
    if not (user.may_read_record and user.may_decide):
        raise Forbidden("This page is for who sees the record and decides about it.")
    return request


def require_role(*roles: str) -> Callable[[PortalRequest], PortalRequest]:
    """Return the dependency that refuses a person of any other role."""

    def check_role(request: AnyRequest) -> PortalRequest:
        if request.user.role not in roles:
            raise Forbidden(f"This page is for the role {' or '.join(roles)}.")
        return request

    return check_role


LoggedInRequest = Annotated[PortalRequest, Depends(_require_login)]
# Of the patient, or of a carer who chose for whom to act: `request.patient` is the patient's id.
PatientRequest = Annotated[PortalRequest, Depends(_require_patient)]
# The same, of who sees the record and not only decides about it; and of who decides.
RecordReaderRequest = Annotated[PortalRequest, Depends(_require_record_reader)]
DeciderRequest = Annotated[PortalRequest, Depends(_require_decider)]
RecordGiverRequest = Annotated[PortalRequest, Depends(_require_record_giver)]
CarerRequest = Annotated[PortalRequest, Depends(require_role("carer"))]
# Of whom the platform sends notices to.
NoticeReaderRequest = Annotated[PortalRequest, Depends(require_role("patient", "carer"))]
# Of those to whom apps of others may be offered.
AppUserRequest = Annotated[PortalRequest, Depends(require_role("patient", "carer", "clinician"))]
ClinicianRequest = Annotated[PortalRequest, Depends(require_role("clinician"))]
StewardRequest = Annotated[PortalRequest, Depends(require_role("steward"))]
# Those who keep the platform in order, and among them who suspends access and who reads the log.
OVERSEER_ROLES = ("steward", "auditor", "administrator")
CONTAINMENT_ROLES = ("steward", "administrator")
AUDIT_READER_ROLES = ("steward", "auditor")
OverseerRequest = Annotated[PortalRequest, Depends(require_role(*OVERSEER_ROLES))]
ContainmentRequest = Annotated[PortalRequest, Depends(require_role(*CONTAINMENT_ROLES))]
AuditReaderRequest = Annotated[PortalRequest, Depends(require_role(*AUDIT_READER_ROLES))]
# Of the clinicians who answer requests for corrections, and of the steward who watches them.
CorrectionReaderRequest = Annotated[PortalRequest, Depends(require_role("clinician", "steward"))]
