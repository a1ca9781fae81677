"""A carer's powers as they are now: asked with every page, since they end at any moment."""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import EhrError
from ehr_portal.gateway.operations import fetch_acting_for
from ehr_portal.i18n import N_
from ehr_portal.web.roles import AnyRequest

__all__ = ["load_carer_powers"]


async def load_carer_powers(request: AnyRequest) -> None:
    """Bring what a carer may do up to date; who may do nothing any more acts for nobody.

    The gateway shows them nothing from then on, which no page may tell as "nothing is recorded".
    """
    user = request.user_or_none
    if user is None or not user.acts_for_patient:
        return
    try:
        people = await fetch_acting_for(request.gateway)
    except EhrError:
        # Whatever it is, the page itself meets it too, and says so.
        return
    powers = next((person for person in people if person.patient == user.patient), None)
    if powers is None:
        request.session.user = replace(
            user, patient=None, acting_latin="", acting_han="", manages=False, views=False
        )
        request.flash_problem(N_("You can no longer act for this person: it was ended."))
        return
    request.session.user = replace(
        user, manages=powers.manage == "true", views=powers.view == "true"
    )
