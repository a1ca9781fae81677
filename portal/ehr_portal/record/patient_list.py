"""A clinician's list of patients: who they are, where they lie, alerts, newest critical result.

A row holds what the gateway shows this reader at this moment; of a patient who is closed to them
there is no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ehr_fhir.encounters import find_current_place
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
from ehr_portal.record.rows import RecordRow, build_row, event_period
from ehr_portal.record.trends import RECENT_CRITICAL

# Patients of one list, as the gateway cuts it: what the page says.
MAX_PATIENTS = 60
# Rounds of this time are fetched for the score; which of them count is the score's own rule.
_VITAL_SIGNS_PERIOD = timedelta(hours=24)
# The lists, by the gateway's names.
MARKED, OPENED, WARD = "marked", "opened", "ward"


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


@dataclass(frozen=True)
class PatientList:
    """A list as the gateway shows it to this reader at this moment."""

    rows: Sequence[ListedPatient]
    # Whom it is about: those who are closed to the reader now are among them.
    patients: Sequence[str]
    # Whom the reader marked as their own.
    marked: frozenset[str]
    # Sent with the next question for this list: while it shows the same patients and kinds of
    # data, nobody is put on record anew.
    shown: str


async def fetch_patient_list(
    gateway: GatewayClient, which: str, language: str, now: datetime, shown: str = ""
) -> PatientList:
    """Return a list's rows in its order, by one request, however many patients there are."""
    params = {
        "list": which,
        "code": CONTEXT_CODES,
        "vital-signs-from": _format_instant(now - _VITAL_SIGNS_PERIOD),
        "laboratory-from": _format_instant(now - RECENT_CRITICAL),
        **({"shown": shown} if shown else {}),
    }
    answer = await gateway.invoke_by_query("Patient/$patient-list", params.items())
    records: dict[str, list[Resource]] = defaultdict(list)
    listed: list[str] = []
    shown = ""
    for parameter in answer.get("parameter", ()):
        if "resource" in parameter:
            records[parameter["name"]].append(parameter["resource"])
        elif parameter["name"] == "listed":
            listed.append(str(parameter["valueId"]))
        elif parameter["name"] == "shown":
            shown = str(parameter["valueString"])
    marked = frozenset(filter(None, map(patient_of, records["mark"])))
    rows = _build_rows(listed, records, language, now)
    return PatientList(rows, listed, marked, shown)


def _build_rows(
    patients: Sequence[str],
    records: Mapping[str, Sequence[Resource]],
    language: str,
    now: datetime,
) -> list[ListedPatient]:
    by_id = {str(patient["id"]): patient for patient in records["patient"]}
    stays_of, problems_of = map(_group_by_patient, (records["stay"], records["problem"]))
    signs, results = records["vital-signs"], records["laboratory"]
    signs_of = _group_by_patient(_drop_repeated([*signs, *records["context"]]))
    alerts_of = _group_by_patient(
        [
            # R4 has no search by a Flag's status.
            *(flag for flag in records["flag"] if flag.get("status") == "active"),
            *(allergy for allergy in records["allergy"] if is_dangerous(allergy)),
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
        for patient in patients
        if patient in by_id
    ]


def bed_of(stay: Resource) -> Text:
    """Return where a patient lies, by the stay's newest place that is in use.

    >>> bed_of({"location": [{"status": "active", "location": {"display": "Ward, bed 4"}}]}).text
    'Ward, bed 4'
    """
    return text_of_record(find_current_place(stay))


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


def _format_instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
