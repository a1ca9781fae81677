"""Whose notices an operation is about."""

from __future__ import annotations

from ehr_fhir.errors import Forbidden
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.notices.outbox import patient_reader


def notice_reader(context: RequestContext) -> str:
    """Return the key of the caller among the readers of notices: a patient or a carer."""
    requester = context.access.requester
    if requester.role == "patient" and requester.patient:
        return patient_reader(requester.patient)
    if requester.role == "carer":
        return f"person/{requester.person}"
    raise Forbidden("Notices are for patients and carers.")
