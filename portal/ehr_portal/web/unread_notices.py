"""How many notices are new, for the head of every page of a patient or carer."""

from __future__ import annotations

from ehr_fhir.errors import EhrError
from ehr_portal.gateway.operations import parse_values
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AnyRequest

__all__ = ["load_unread_notices", "remember_unread_notices"]

# Chosen: a notice shows within a minute, and a person who turns pages quickly asks once.
_FRESH_SECONDS = 60


async def load_unread_notices(request: AnyRequest) -> None:
    """Keep the number in the session, asked for at most once a minute; a fault hides no page."""
    session = request.session_or_none
    if (
        session is None
        or session.user is None
        or session.user.role not in ("patient", "carer")
        or request.http_request.method != "GET"
    ):
        return
    now = request.now.timestamp()
    if 0 <= now - session.unread_asked < _FRESH_SECONDS:
        return
    try:
        values = parse_values(await request.gateway.invoke_by_get("$unread-notices"))
    except EhrError:
        # Whatever it is, the page itself meets it too, and says so.
        return
    remember_unread_notices(request, int("".join(values.get("unread", [])) or 0))


def remember_unread_notices(request: PortalRequest, number: int) -> None:
    """Show this number on the pages of the next minute."""
    request.session.unread = number
    request.session.unread_asked = request.now.timestamp()
