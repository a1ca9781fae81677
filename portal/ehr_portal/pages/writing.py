"""What the forms share by which a clinician writes into a record; no page of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ehr_fhir.errors import Forbidden, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.pages.record_views import PatientSummary, fetch_person
from ehr_portal.record.new_entries import ENTRY_SYSTEM, EntryAuthor, says_the_same
from ehr_portal.web.forms import FieldError
from ehr_portal.web.request import PortalRequest

# What the gateway may answer to an entry that it does not take.
REFUSALS = (Forbidden, Invalid, Unprocessable)
# The field that holds the form's token: the same form sent again makes no second record.
ENTRY_FIELD = "entry"
_SHORTEST_TOKEN = 16


class FormSentBefore(Exception):
    """A form made an entry before, and was changed and sent again: with the way back, say."""

    def __init__(self, stored: Resource) -> None:
        super().__init__()
        self.stored = stored


async def require_person(request: PortalRequest, patient: str) -> PatientSummary:
    """Return who the form is about; NotFound where nothing of them is open to the reader."""
    person = await fetch_person(request, patient)
    if person is None:
        raise NotFound("There is no such patient, or nothing of them is shared.")
    return person


def entry_author(request: PortalRequest) -> EntryAuthor:
    """Return the clinician who is logged in, as the author of an entry."""
    user = request.user
    name = f"{user.latin} {user.han}".strip()
    return EntryAuthor(user.login, user.organization or "", name)


def new_token() -> str:
    """Return the token of a form that is shown for the first time."""
    return secrets.token_urlsafe(18)


def token_of(form: Mapping[str, str]) -> str:
    """Return the token of a form; a new one in place of what is none."""
    token = form.get(ENTRY_FIELD, "")
    is_token = len(token) >= _SHORTEST_TOKEN and token.replace("-", "a").replace("_", "a").isalnum()
    return token if is_token and token.isascii() and len(token) < 64 else new_token()


async def create_once(request: PortalRequest, entry: Resource) -> Resource:
    """Create an entry, or return the one that the same form made before.

    Raises FormSentBefore where that one says something else: the form was changed since.
    """
    token = entry["identifier"][0]["value"]
    stored = await request.gateway.create(entry, if_none_exist=f"identifier={ENTRY_SYSTEM}|{token}")
    if not says_the_same(stored, entry):
        raise FormSentBefore(stored)
    return stored


def transaction_entry(resource: Resource) -> dict[str, Any]:
    """Return an entry of a transaction Bundle that creates a resource once."""
    token = resource["identifier"][0]["value"]
    criteria = f"identifier={ENTRY_SYSTEM}|{token}"
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": criteria}
    return {"resource": resource, "request": request}


def sent_before_error(field: str) -> FieldError:
    """Return what a form says that was saved before with other content; its token is a new one."""
    return FieldError(
        field,
        N_(
            "You saved this form before, and what it said then is in the record. What you changed"
            " is not saved yet. Save it again to add it as a second entry, and mark the first as"
            " wrong if it was."
        ),
    )


def refusal_error(field: str) -> FieldError:
    """Return what a form says when the gateway does not take the entry."""
    return FieldError(
        field,
        N_(
            "This was not accepted, and nothing was saved. You may not write into this record,"
            " or a value is not possible."
        ),
    )
