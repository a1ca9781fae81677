"""A carer's powers as they are now: asked with every page, since they end at any moment."""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import EhrError
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.gateway.operations import MultiPartParameter, fetch_acting_for
from ehr_portal.i18n import N_
from ehr_portal.web.roles import AnyRequest
from ehr_portal.web.sessions import User

__all__ = ["act_for_nobody", "fetch_powers", "load_carer_powers", "set_powers"]


async def fetch_powers(gateway: GatewayClient, patient: str | None) -> MultiPartParameter | None:
    """Return what the logged-in carer may do for a patient; None where they may do nothing."""
    people = await fetch_acting_for(gateway)
    return next((person for person in people if person.patient == patient), None)


def set_powers(user: User, powers: MultiPartParameter) -> User:
    """Return a carer with the powers that the gateway states."""
    return replace(user, manages=powers.manage == "true", views=powers.view == "true")


def act_for_nobody(user: User) -> User:
    """Return a carer without a patient to act for."""
    return replace(user, patient=None, acting_latin="", acting_han="", manages=False, views=False)


async def load_carer_powers(request: AnyRequest) -> None:
    """Bring what a carer may do up to date; who may do nothing any more acts for nobody.

    The gateway shows them nothing from then on, which no page may tell as "nothing is recorded".
    """
    user = request.user_or_none
    if user is None or not user.acts_for_patient:
        return
    try:
        powers = await fetch_powers(request.gateway, user.patient)
    except EhrError:
        # Whatever it is, the page itself meets it too, and says so.
        return
    if powers is None:
        request.session.user = act_for_nobody(user)
        request.flash_problem(N_("You can no longer act for this person: it was ended."))
        return
    request.session.user = set_powers(user, powers)
