"""A clinician's list of patients: who they are, where they lie, alerts, newest critical result.

A row holds what the gateway shows this reader at this moment; of a patient who is closed to them
there is no row.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.allergies import worst_severity
from ehr_portal.record.display import NO_TEXT, Phrase, Text, text_of_record
from ehr_portal.record.interpretations import CRITICAL
from ehr_portal.record.news2_observations import (
    CONTEXT_CODES,
    News2Assessment,
    assess_news2,
)
from ehr_portal.record.record import none_if_forbidden
from ehr_portal.record.rows import RecordRow, build_row, event_period
from ehr_portal.record.trends import RECENT_CRITICAL

# Patients of one list. Chosen: two large wards; more would make each question to the gateway slow.
MAX_PATIENTS = 60
_PAGE_SIZE = "500"
# Observations of one list. Chosen: a ward's rounds of a day, and its results of a week.
_MAX_OBSERVATIONS = 3000
# Rounds of this time are fetched for the score; which of them count is the score's own rule.
_VITAL_SIGNS_PERIOD = timedelta(hours=24)
# CareTeams that say whose patients a clinician counts as their own have an identifier of this
# system: the ids of the Practitioner and of the Patient.
MARK_SYSTEM = f"{JURISDICTION.base}/identifier/my-patients"


@dataclass(frozen=True)
class ListedPatient:
    """One row of the list."""

    patient: Resource
    # Ward and bed of the stay; empty without one.
    place: Phrase | Text
    # Alerts that are in force, and allergies with a high risk or a severe reaction.
    alert_count: int
    # The newest critical result of the last days, if any.
    critical: RecordRow | None
    news2: News2Assessment

    @property
    def id(self) -> str:
        """Return the patient's id."""
        return str(self.patient["id"])


async def fetch_marked(gateway: GatewayClient, practitioner: str) -> list[str]:
    """Return the ids of the patients whom a clinician marked as their own."""
    if not practitioner:
        return []
    params = {"participant": f"Practitioner/{practitioner}", "status": "active", "_count": "200"}
    results = await gateway.search("CareTeam", params)
    marked = [
        patient_of(team)
        for team in results.matches
        if any(name.get("system") == MARK_SYSTEM for name in team.get("identifier", ()))
    ]
    return list(filter(None, dict.fromkeys(marked)))


async def fetch_ward(gateway: GatewayClient, organization: str) -> list[str]:
    """Return the ids of the patients who stay at an organisation now."""
    params = {
        "status": "in-progress",
        "class": "IMP,ACUTE,NONAC,EMER,OBSENC,SS",
        "service-provider": f"Organization/{organization}",
        "_count": "200",
    }
    results = await gateway.search("Encounter", params)
    stays = sorted(results.matches, key=lambda stay: bed_of(stay).text)
    return list(filter(None, dict.fromkeys(patient_of(stay) for stay in stays)))


async def fetch_patient_list(
    gateway: GatewayClient, patients: Sequence[str], language: str, now: datetime
) -> list[ListedPatient]:
    """Return the rows of some patients in their order, without those who are closed to the reader.

    Eight searches, however many patients there are.
    """
    ids = ",".join(list(dict.fromkeys(patients))[:MAX_PATIENTS])
    if not ids:
        return []
    found, stays, flags, allergies, problems, decisions, signs, results = await asyncio.gather(
        _search(gateway, "Patient", {"_id": ids}),
        _search(gateway, "Encounter", {"patient": ids, "status": "in-progress"}),
        _search(gateway, "Flag", {"patient": ids}),
        _search(gateway, "AllergyIntolerance", {"patient": ids, "clinical-status": "active"}),
        _search(gateway, "Condition", {"patient": ids, "clinical-status": "active"}),
        _search(gateway, "Observation", {"patient": ids, "code": CONTEXT_CODES}),
        _search_observations(gateway, ids, "vital-signs", now - _VITAL_SIGNS_PERIOD),
        _search_observations(gateway, ids, "laboratory", now - RECENT_CRITICAL),
    )
    by_id = {str(patient["id"]): patient for patient in found}
    stays_of, problems_of = _group_by_patient(stays), _group_by_patient(problems)
    signs_of = _group_by_patient(_drop_repeated([*signs, *decisions]))
    alerts_of = _group_by_patient(
        [
            # R4 has no search by a Flag's status.
            *(flag for flag in flags if flag.get("status") == "active"),
            *(allergy for allergy in allergies if is_dangerous(allergy)),
        ]
    )
    critical_of = _newest_critical([*signs, *results], language, now)
    return [
        ListedPatient(
            patient=by_id[patient],
            place=next((bed for stay in stays_of[patient] if (bed := bed_of(stay)).text), NO_TEXT),
            alert_count=len(alerts_of[patient]),
            critical=critical_of.get(patient),
            news2=assess_news2(
                signs_of[patient],
                str(by_id[patient].get("birthDate", "")),
                now,
                problems_of[patient],
            ),
        )
        for patient in dict.fromkeys(patients)
        if patient in by_id
    ]


def bed_of(stay: Resource) -> Phrase | Text:
    """Return where a patient lies, by the stay's newest place that is in use.

    >>> bed_of({"location": [{"status": "active", "location": {"display": "Ward, bed 4"}}]}).text
    'Ward, bed 4'
    """
    places = [
        place.get("location", {}).get("display", "")
        for place in stay.get("location", ())
        if place.get("status", "active") == "active"
    ]
    return text_of_record(str(places[-1])) if places else NO_TEXT


def is_dangerous(allergy: Resource) -> bool:
    """Return whether an allergy counts as an alert: high risk, or a severe reaction before."""
    states = {c.get("code") for c in allergy.get("verificationStatus", {}).get("coding", ())}
    if states & {"entered-in-error", "refuted"}:
        return False
    return allergy.get("criticality") == "high" or worst_severity(allergy) == "severe"


def patient_of(resource: Resource) -> str:
    """Return the id of the patient a record is about, empty where it names none."""
    about = resource.get("subject") or resource.get("patient") or {}
    kind, _, patient = str(about.get("reference", "")).rpartition("/")
    return patient if kind == "Patient" or kind.endswith("/Patient") else ""


def _newest_critical(
    observations: Iterable[Resource], language: str, now: datetime
) -> Mapping[str, RecordRow]:
    newest_first = sorted(
        observations, key=lambda each: fhir_timestamp(event_period(each)[0]), reverse=True
    )
    critical: dict[str, RecordRow] = {}
    for observation in newest_first:
        patient = patient_of(observation)
        if patient in critical:
            continue
        row = build_row(observation, {}, language, now)
        if row.result and row.result.level == CRITICAL and not row.is_in_error:
            critical[patient] = row
    return critical


def _drop_repeated(resources: Iterable[Resource]) -> Iterable[Resource]:
    return {resource["id"]: resource for resource in resources}.values()


def _group_by_patient(resources: Iterable[Resource]) -> Mapping[str, list[Resource]]:
    groups: dict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        groups[patient_of(resource)].append(resource)
    return groups


async def _search_observations(
    gateway: GatewayClient, ids: str, category: str, since: datetime
) -> list[Resource]:
    start = since.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    params = {"patient": ids, "category": category, "date": f"ge{start}"}
    return await _search(gateway, "Observation", params)


async def _search(
    gateway: GatewayClient, resource_type: str, params: Mapping[str, str]
) -> list[Resource]:
    results = await none_if_forbidden(
        gateway.search_all(resource_type, {**params, "_count": _PAGE_SIZE}, limit=_MAX_OBSERVATIONS)
    )
    # Of records that the reader's token does not cover the column stays empty.
    return list(results.matches) if results else []
