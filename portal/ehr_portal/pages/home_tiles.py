"""What the tiles of the patient's home say, each fetched by itself; no page of its own.

A tile that the reader's token does not cover is None and is not shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.gateway.operations import fetch_access_requests, fetch_held_results
from ehr_portal.i18n import day_start, local_date
from ehr_portal.oversight.access_history import VISIT_GAP, Visit, VisitPage, parse_visits
from ehr_portal.record.providers import Provider
from ehr_portal.record.record import (
    fetch_consents,
    fetch_patient_or_none,
    fetch_providers,
    none_if_forbidden,
    sort_rows,
    usual_ranges,
)
from ehr_portal.record.rows import RecordRow, build_row
from ehr_portal.record.sections import SECTIONS
from ehr_portal.record.trends import Trend, group_into_trends
from ehr_portal.sharing.consents import has_joined
from ehr_portal.sharing.restrictions import active_restrictions
from ehr_portal.sharing.switches import sharing_switches
from ehr_portal.web.request import PortalRequest

# Chosen, so that a tile stays a glance: its page has the rest.
MAX_LINES = 3
# New entries that are counted; more are "more than". Chosen.
MAX_NEW_ON_TILE = 20
# The newest results that are read to find the newest few tests. Chosen: an admission's blood tests
# of some days, so that a critical one of this week is among them.
_RESULTS_READ = "40"
_MEDICINES_READ = "100"
# The newest visits, among which a carer's own are. Chosen.
_VISITS_READ = "10"
# The types whose entries are "new": those of the record's sections.
ENTRY_TYPES = tuple(
    sorted({search.resource_type for section in SECTIONS for search in section.searches})
)
_VOID = "entered-in-error"


@dataclass(frozen=True)
class NewEntries:
    """What entered the record since the reader last looked at it."""

    # The instant of the last access before this visit; empty where none is on record.
    since: str
    rows: tuple[RecordRow, ...] = ()
    has_more: bool = False


@dataclass(frozen=True)
class CurrentMedicines:
    """The medicines that hold now, one row for each thing that is said of one."""

    rows: tuple[RecordRow, ...]
    is_incomplete: bool


@dataclass(frozen=True)
class NewestResults:
    """The newest results, critical and recent ones first."""

    trends: tuple[Trend, ...]
    # How many are held back until somebody has talked with the patient.
    held: int
    is_critical: bool


@dataclass(frozen=True)
class RecentVisits:
    """The last visits of others than the reader."""

    visits: tuple[Visit, ...]
    # There are older visits, which were not read.
    is_incomplete: bool


@dataclass(frozen=True)
class SharingState:
    """With whom the record is shared."""

    has_joined: bool
    providers: tuple[Provider, ...]
    # How many restrictions are in force.
    closed: int


@dataclass(frozen=True)
class HomeTiles:
    """The tiles of one home; None for what this reader may not see."""

    new: NewEntries | None
    medicines: CurrentMedicines | None
    results: NewestResults | None
    appointments: tuple[RecordRow, ...] | None
    visits: RecentVisits | None
    sharing: SharingState | None
    # How many requests for access wait for an answer; None for who may not answer.
    waiting: int | None
    providers: dict[str, Provider]


async def fetch_home(request: PortalRequest) -> HomeTiles:
    """Fetch all tiles together."""
    gateway, patient = request.gateway, request.patient
    may_answer = request.user.may_decide
    of_record, of_access = await asyncio.gather(
        asyncio.gather(
            none_if_forbidden(fetch_new_entries(request, MAX_NEW_ON_TILE)),
            none_if_forbidden(_fetch_medicines(request)),
            none_if_forbidden(_fetch_results(request)),
            none_if_forbidden(_fetch_appointments(request)),
        ),
        asyncio.gather(
            none_if_forbidden(_fetch_newest_visits(gateway, patient)),
            none_if_forbidden(fetch_consents(gateway, patient)),
            none_if_forbidden(fetch_providers(gateway)),
            none_if_forbidden(_fetch_waiting(gateway, patient, may_answer)),
        ),
    )
    new, medicines, results, appointments = of_record
    visits, consents, found_providers, waiting = of_access
    providers = found_providers or {}
    return HomeTiles(
        new=new,
        medicines=medicines,
        results=results,
        appointments=appointments,
        visits=_visits_of_others(request, visits) if visits else None,
        sharing=None if consents is None else _sharing_state(providers, consents, request.now),
        waiting=waiting,
        providers=providers,
    )


async def fetch_new_entries(request: PortalRequest, count: int) -> NewEntries:
    """Return what was written or changed since the reader last looked, the newest first.

    When that was, the audit log says: the last access of this person before this visit began. The
    portal itself remembers no visit.
    """
    since = await _last_look(request)
    if not since:
        return NewEntries("")
    params = {
        "_type": ",".join(ENTRY_TYPES),
        "_lastUpdated": f"ge{since}",
        "_sort": "-_lastUpdated",
        "_include": "MedicationRequest:medication",
        "_count": str(count),
    }
    found = await request.gateway.search(f"Patient/{request.patient}/*", params)
    rows = tuple(
        build_row(resource, found.included, request.language, request.now)
        for resource in found.matches
    )
    return NewEntries(since, rows, found.next_link is not None)


async def _last_look(request: PortalRequest) -> str:
    """Return the instant of the reader's last access before this visit, empty without one.

    What lies less than VISIT_GAP before the log-in is this visit, as on the page "who looked".
    """
    began = datetime.fromtimestamp(request.session.created, UTC) - VISIT_GAP
    params = {
        "patient": request.patient,
        "date": f"lt{began.isoformat(timespec='milliseconds')}",
        "_count": "1",
    }
    # The patient's own accesses have a reason of their own; a carer is one of several.
    if request.user.role == "patient":
        params["reason"] = "own"
    else:
        params["agent"] = request.user.login
    events = await request.gateway.search("AuditEvent", params)
    return next((str(event["recorded"]) for event in events.matches), "")


async def _fetch_medicines(request: PortalRequest) -> CurrentMedicines:
    both = await asyncio.gather(
        *(
            request.gateway.search(
                resource_type,
                {
                    "patient": request.patient,
                    "status": statuses,
                    "_include": f"{resource_type}:medication",
                    "_count": _MEDICINES_READ,
                },
            )
            for resource_type, statuses in (
                ("MedicationRequest", "active,on-hold"),
                ("MedicationStatement", "active,on-hold,intended"),
            )
        )
    )
    rows = [
        build_row(resource, results.included, request.language, request.now)
        for results in both
        for resource in results.matches
    ]
    by_line: dict[str, RecordRow] = {}
    for row in sort_rows(row for row in rows if row.is_current):
        # Two orders of one medicine that say different things are two: both have to be taken.
        by_line.setdefault(row.line, row)
    return CurrentMedicines(tuple(by_line.values()), any(results.next_link for results in both))


async def _fetch_results(request: PortalRequest) -> NewestResults:
    params = {
        "patient": request.patient,
        "category": "laboratory",
        "_sort": "-date",
        "_count": _RESULTS_READ,
    }
    found, patient, held = await asyncio.gather(
        request.gateway.search("Observation", params),
        fetch_patient_or_none(request.gateway, request.patient),
        fetch_held_results(request.gateway, request.patient),
    )
    usual = usual_ranges(patient)
    trends = group_into_trends(found.matches, request.language, request.now, usual)
    told = tuple(trend for trend in trends if not trend.newest.is_void)
    critical = sum(trend.is_critical_now(request.now) for trend in told)
    return NewestResults(told[: max(MAX_LINES, critical)], len(held), critical > 0)


async def _fetch_appointments(request: PortalRequest) -> tuple[RecordRow, ...]:
    today = local_date(request.now)
    params = {
        "patient": request.patient,
        "date": f"ge{day_start(today)}",
        "_sort": "date",
        "_count": "10",
    }
    found = await request.gateway.search("Appointment", params)
    rows = (build_row(r, found.included, request.language, request.now) for r in found.matches)
    # One that was called off is told as well: who expects it has to know.
    return tuple(row for row in rows if row.status != _VOID)


async def _fetch_newest_visits(gateway: GatewayClient, patient: str) -> VisitPage:
    path = f"Patient/{patient}/$access-history"
    return parse_visits(await gateway.invoke_by_get(path, _count=_VISITS_READ))


async def _fetch_waiting(gateway: GatewayClient, patient: str, may_answer: bool) -> int | None:
    if not may_answer:
        return None
    access_requests = await fetch_access_requests(gateway, patient)
    return sum(access.open == "true" for access in access_requests)


def _visits_of_others(request: PortalRequest, page: VisitPage) -> RecentVisits:
    # The patient's own are not among them; a carer's are.
    is_carer = request.user.role == "carer"
    of_others = [v for v in page.visits if not (is_carer and _is_reader(request, v))]
    return RecentVisits(tuple(of_others[:MAX_LINES]), bool(page.next_cursor))


def _is_reader(request: PortalRequest, visit: Visit) -> bool:
    return bool(request.user.login) and visit.login == request.user.login


def _sharing_state(
    providers: dict[str, Provider], consents: Sequence[Resource], now: datetime
) -> SharingState:
    switches = sharing_switches(providers.values(), consents, now)
    return SharingState(
        has_joined(consents),
        tuple(switch.provider for switch in switches if switch.is_on),
        len(active_restrictions(consents)),
    )
