"""Forms: the check against cross-site request forgery, versions, and what is wrong with a field."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Depends

from ehr_fhir.errors import Conflict, Forbidden
from ehr_portal.gateway.client import Resource
from ehr_portal.record.form_fields import FormFault
from ehr_portal.web.request import ACTING_FIELD, PortalRequest
from ehr_portal.web.roles import LoggedInRequest, PatientRequest


class OtherPatientForm(Conflict):
    """The form was opened while its reader acted for another patient than now."""


@dataclass(frozen=True)
class FieldError:
    """What has to be put right in a form."""

    # The field's name, which is its id in the page too.
    field: str
    # Marked with N_, translated where it is shown.
    text: str


async def _verify_form(request: LoggedInRequest) -> Mapping[str, str]:
    # The token is bound to session and form; the origin check catches what would replay it.
    form = await request.http_request.form()
    sent_token = str(form.get("csrf", ""))
    expected_token = request.session.csrf_token(request.path)
    origin = request.http_request.headers.get("origin")
    own_origins = {
        request.portal.settings.base_url,
        str(request.http_request.base_url).rstrip("/"),
    }
    has_token = hmac.compare_digest(sent_token.encode(), expected_token.encode())
    if not has_token or (origin and origin not in own_origins):
        raise Forbidden("The form did not come from this page.")
    # Browsers count a line's end as one character (maxlength) and send it as two.
    return {
        name: value.replace("\r\n", "\n") for name, value in form.items() if isinstance(value, str)
    }


async def _verify_patient_form(
    request: PatientRequest, form: Annotated[Mapping[str, str], Depends(_verify_form)]
) -> Mapping[str, str]:
    # A carer's browser has several windows and one session: in a window that was opened for one
    # person a form must not be sent for another, who was chosen in a second window since.
    if request.user.role == "carer" and form.get(ACTING_FIELD) != request.patient:
        raise OtherPatientForm("The form was opened for another person.")
    return form


async def read_ticked(request: PortalRequest, name: str) -> list[str]:
    """Return the values of all boxes of a name that were ticked: a form keeps only the last."""
    form = await request.http_request.form()
    return [str(value) for value in form.getlist(name)]


async def _ticked_domains(request: LoggedInRequest) -> list[str]:
    return await read_ticked(request, "domain")


# The fields of a form that was sent from a page of this session.
VerifiedForm = Annotated[Mapping[str, str], Depends(_verify_form)]
# The same of a patient's own pages: it was opened for the patient for whom it is sent.
PatientForm = Annotated[Mapping[str, str], Depends(_verify_patient_form)]
# The values of the checkboxes `domain`; for a route with a VerifiedForm too.
TickedDomains = Annotated[list[str], Depends(_ticked_domains)]


def read_version(form: Mapping[str, str], stored: Resource) -> str:
    """Return the version that a form was filled in for, so that a later one is not overwritten."""
    return form.get("version", "") or str(stored["meta"]["versionId"])


def translate_faults(request: PortalRequest, faults: Iterable[FormFault]) -> list[FieldError]:
    """Return the faults of a form's fields in the reader's language."""
    return [
        FieldError(fault.field, request.translate(fault.text, **fault.values)) for fault in faults
    ]


def is_day(text: str) -> bool:
    """Return whether a text is a day as a date field sends it.

    >>> is_day("2026-11-22"), is_day("2026-11"), is_day("20261122"), is_day("2026-02-30")
    (True, False, False, False)
    """
    try:
        return len(text) == len("2026-01-01") and bool(date.fromisoformat(text))
    except ValueError:
        return False
