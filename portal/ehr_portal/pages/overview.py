"""The home of the steward, the auditor and the administrator: what waits for them, as tiles."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.gateway.operations import parse_values
from ehr_portal.i18n import N_
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.roles import OVERSEER_ROLES, OverseerRequest

router = APIRouter()
NAVIGATION = tuple(NavigationLink(role, "/overview", N_("Home"), 1) for role in OVERSEER_ROLES)


@dataclass(frozen=True)
class Place:
    """One tile: a list to keep, and how much waits in it."""

    path: str
    icon: str
    # Titles and sentences are marked with N_, translated where they are shown.
    title: str
    sentence: str
    roles: tuple[str, ...]
    # The count of `$waiting`; empty where nothing is counted.
    count: str = ""


PLACES = (
    Place(
        "/reviews",
        "shield",
        N_("Reviews"),
        N_("Each emergency and each access by consent is looked at once, by you."),
        ("steward",),
        "reviews",
    ),
    Place(
        "/counter",
        "sharing",
        N_("At the counter"),
        N_("Record what a person decided on paper."),
        ("steward",),
    ),
    Place(
        "/unusual",
        "abnormal",
        N_("Unusual access"),
        N_("What a rule found worth a look."),
        ("steward", "auditor"),
        "unusual",
    ),
    Place(
        "/monitor",
        "withheld",
        N_("Access monitor"),
        N_("Who is suspended now, and whose records somebody reached."),
        OVERSEER_ROLES,
        "suspensions",
    ),
    Place(
        "/proposals",
        "account",
        N_("Identity"),
        N_("Names, dates of birth, sex and identity documents that somebody proposes to change."),
        ("steward",),
        "proposals",
    ),
    Place(
        "/duplicates",
        "people",
        N_("Duplicates"),
        N_("Records that may be one person's."),
        ("steward",),
        "duplicates",
    ),
    Place(
        "/merges",
        "people",
        N_("Joined records"),
        N_("Records of one person that another steward proposes to join or to take apart."),
        ("steward",),
        "merges",
    ),
    Place(
        "/corrections/to-answer",
        "document",
        N_("Corrections"),
        N_("Corrections of their record that patients asked for."),
        ("steward",),
        "corrections",
    ),
    Place(
        "/erasures",
        "withheld",
        N_("Erasures"),
        N_("Records that are to be erased for good: two people decide."),
        OVERSEER_ROLES,
        "erasures",
    ),
    Place(
        "/deliveries",
        "notice",
        N_("Notices sent"),
        N_("Notices that did not arrive yet."),
        ("steward",),
        "undelivered",
    ),
    Place(
        "/audit",
        "who-looked",
        N_("Audit log"),
        N_("Every access, searched by patient, person, hospital and day."),
        ("steward", "auditor"),
    ),
    Place(
        "/findings",
        "abnormal",
        N_("Faults in records"),
        N_("Records that break a rule of quality and wait for your decision."),
        ("steward",),
        "findings",
    ),
    Place(
        "/projects",
        "document",
        N_("Research projects"),
        N_("Applications for research that wait for two approvals."),
        ("steward", "auditor"),
        "projects",
    ),
    Place(
        "/releases",
        "document",
        N_("Releases"),
        N_("Research results that wait for two checks before they leave."),
        ("steward", "auditor"),
        "releases",
    ),
    Place(
        "/models",
        "trend",
        N_("Models"),
        N_("Which models score, how good they are, and what has changed."),
        ("steward", "auditor"),
        "models",
    ),
    Place(
        "/forecasts",
        "trend",
        N_("Forecasts"),
        N_("Attendances and beds that each hospital can expect in the next 28 days."),
        ("steward",),
    ),
    Place(
        "/quality",
        "trend",
        N_("Data quality"),
        N_("What the checks of the data found."),
        ("steward",),
        "failed-checks",
    ),
    Place(
        "/oauth/accounts",
        "people",
        N_("Accounts"),
        N_("Accounts of people: add, disable, enable, reset."),
        ("administrator",),
        "accounts",
    ),
)


@router.get("/overview")
async def show_overview(request: OverseerRequest) -> Response:
    """Show a tile for each list of the reader's role, with how much waits in it."""
    counts = parse_values(await request.gateway.invoke_by_get("$waiting"))
    numbers = {name: int(values[0]) for name, values in counts.items()}
    places = [place for place in PLACES if request.user.role in place.roles]
    return request.render(
        "overview.html",
        # What waits stands first; the order of the list holds within both.
        places=sorted(places, key=lambda place: not _waits(place, numbers)),
        numbers=numbers,
        waits=lambda place: _waits(place, numbers),
    )


def _waits(place: Place, numbers: dict[str, int]) -> bool:
    return place.count not in ("", "accounts") and numbers.get(place.count, 0) > 0
