"""The steps of the tour: load, consent, lake, study, model, and the sharing switch."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any

from ehr_cli.commands import lake as lake_commands
from ehr_cli.commands.lake_access import now_ms, open_lake, read_deid_key
from ehr_cli.data_folder import gateway_settings
from ehr_cli.demo.http_client import DemoClient
from ehr_cli.demo.tour_state import StepResult, Tour
from ehr_cli.sample import overlay, sample_accounts, synthea_source
from ehr_cli.sample.consents import build_consent, restriction_provision, sharing_consent
from ehr_cli.sample.overlay import sample_patients
from ehr_fhir.errors import Fault
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files import load as loader

# The sample's people were last in acute care years apart, and a score is made only in the weeks
# after a discharge. So the demo scores as of a day of the sample's past: chosen since several had
# just been discharged, the patient of the tutorial among them.
REFERENCE_DAY = date(2025, 9, 10)
# A published set of hospital stays, and its mapping.
HOSPITAL_DATA = "readmission-diabetes130"
# What a doctor reads first; the switch is shown on these.
COUNTED_TYPES = ("Condition", "MedicationRequest", "Encounter", "Observation", "AllergyIntolerance")


def place_sample(tour: Tour) -> StepResult:
    """Place the committed Synthea patients in the sample's setting, as files of four providers."""
    count = overlay.write_sample(tour.settings.data / "sample")
    output = f"{count:,} resources of {len(sample_patients())} patients, 4 providers"
    return StepResult(f"Synthea NDJSON, {len(synthea_source.resource_types())} types", output)


def load_sample(tour: Tour) -> StepResult:
    """Load the files into the store, and add the log-ins."""
    gateway = gateway_settings(tour.settings)
    store = Store(gateway.database, tour.settings.data)
    store.attach_journal(gateway.journal_folder, gateway.keys)
    try:
        report = loader.load(
            store,
            [tour.settings.data / "sample"],
            "ehr-commons",
            lambda done: None,
        )
        logins = sample_accounts.add_accounts(store)
    finally:
        store.close()
    if report.rejected:
        first = report.rejects[0]
        raise Fault(
            f"{report.rejected} resources of the sample were refused, the first at "
            f"{first.file}:{first.line}: {first.reason}"
        )
    rate = report.accepted / report.seconds
    output = f"{report.accepted:,} stored ({rate:,.0f} a second), {logins} log-ins"
    return StepResult(f"{report.accepted + report.rejected:,} resources", output)


def write_consents(tour: Tour) -> StepResult:
    """Let two patients decide over HTTP: one shares with a hospital, one closes a document."""
    first, second = sample_accounts.featured_patients()[:2]
    sharing = sharing_consent(second.id, "st-gabriel", {"start": "2026-01-05"})
    _patient_client(tour, second.id).post(_without_meta(sharing))
    first_client = _patient_client(tour, first.id)
    note = first_client.first_id("DocumentReference", patient=first.id)
    data = {"meaning": "instance", "reference": {"reference": f"DocumentReference/{note}"}}
    restriction = build_consent("restriction", first.id, restriction_provision(data=[data]))
    first_client.post(_without_meta(restriction))
    output = "st-gabriel added by one patient, a document closed by another"
    return StepResult("2 patients' choices over HTTP", output)


def update_lake(tour: Tour) -> StepResult:
    """Bring the lake up to date from the gateway's feed."""
    report = lake_commands.run_pipeline(tour.settings, tour.base_url, tour.print_progress)
    tour.lake_report = report
    return StepResult(
        f"{report.landed:,} changes of the feed", lake_commands.summarize_rows(report)
    )


def send_quality(tour: Tour) -> StepResult:
    """Send the results of the quality gate back to the gateway."""
    if tour.lake_report is None:
        raise Fault("The lake did not run.")
    checks = sum(len(table.results) for table in tour.lake_report.quality)
    sent = lake_commands.send_quality(tour.settings, tour.base_url, tour.lake_report.quality)
    return StepResult(f"{checks} expectations", f"{sent} MeasureReports for the steward")


def run_study(tour: Tour) -> StepResult:
    """Run an approved study on its project's views, and release what passes the airlock."""
    from ehr_analytics.demo import run_approved_study
    from ehr_analytics.withheld import find_withheld_people
    from ehr_cli.research_people import open_changes

    people = {member.login: member.person for member in sample_accounts.sample_staff()}
    with open_changes(tour.settings.data) as changed:
        withheld = find_withheld_people(tour.settings.data, changed)
    report = run_approved_study(
        tour.spark,
        tour.settings.data,
        withheld=withheld,
        # As tokens name them, so that they find the project in the portal.
        applicant=people["researcher.lau"],
        approvers=(people["steward.ng"], people["auditor.tse"]),
        on_progress=tour.print_progress,
    )
    output = (
        f"{len(report.files)} files released, {report.cells_hidden} of {report.cells} cells "
        f"hidden: {report.folder}"
    )
    return StepResult(f"{report.rows:,} rows of {len(report.tables)} approved views", output)


def train_model(tour: Tour) -> StepResult:
    """Train, register and score; the scores go back as RiskAssessments."""
    from ehr_models.demo import train_and_score
    from ehr_models.identified_views import IdentifiedViews
    from ehr_models.registry import list_tasks
    from ehr_models.scored_people import read_scored_people

    client = DemoClient(tour.settings, client="models")
    lake = open_lake(tour.settings)
    people = read_scored_people(lake, read_deid_key(tour.settings.data), now_ms())
    views = IdentifiedViews(lake)
    reports = [
        train_and_score(
            task,
            tour.settings.data,
            views,
            client.http,
            client.token,
            people=people,
            as_of=REFERENCE_DAY,
            trainer=_find_trainer(tour),
            on_progress=tour.print_progress,
        )
        for task in list_tasks()
        if task.is_scored_in_batches
    ]
    inputs = "; ".join(
        f"{report.stays} acute stays of {report.people} people" for report in reports
    )
    # The verdict's first words; the model's card has all of it.
    outputs = "; ".join(
        f"version {report.version} saved. {report.verdict.partition(' (')[0].rstrip('.')}. "
        + (
            "It is not promoted, so nobody is scored and nothing is written about anybody"
            if report.scoring is None
            else f"Scored as of {REFERENCE_DAY}: {report.scoring.accepted} RiskAssessments"
        )
        for report in reports
    )
    return StepResult(inputs, outputs)


def judge_on_hospital_data(tour: Tour) -> StepResult:
    """Learn the same task from real hospital stays: enough of them for a verdict.

    The sample's people are too few for one. Of the published set every tenth person is taken, so
    that the tour stays short.
    """
    from ehr_models.evaluate import MODEL
    from ehr_models.imports.table_import import find_sample, import_table
    from ehr_models.registry import get_task
    from ehr_models.train import read_task_data, train_model

    data, task, now = tour.settings.data, get_task("readmission-28d"), datetime.now(UTC)
    sample = find_sample(HOSPITAL_DATA)
    if sample is None:
        raise Fault(f"The table {HOSPITAL_DATA} did not come with the platform.")
    tour.print_progress("model learns from every tenth person of a published set of hospital stays")
    about = import_table(
        sample, HOSPITAL_DATA, task, "diabetes130", data, now, one_in=10, replace=True
    )
    own, tables = read_task_data(task, data, "diabetes130")
    training = train_model(own, tables, data, now, trainer=_find_trainer(tour))
    auroc = training.evaluation.performance[MODEL].auroc
    return StepResult(
        f"{about['rows']:,} real stays of {about['people']:,} people ({about['licence']})",
        f"{own.name}, which scores nobody: AUROC {auroc}. {training.evaluation.verdict}",
    )


def turn_sharing_off_and_on(tour: Tour) -> StepResult:
    """Turn sharing off, so that the doctor's next request finds nothing, and on again."""
    patient_id = sample_patients()[0].id
    patient = _patient_client(tour, patient_id)
    doctor = DemoClient(tour.settings, user="dr.wong")
    consent = patient.read(f"Consent/sharing-{patient_id}-st-gabriel")

    seen_before = _count_visible(doctor, patient_id)
    started = time.monotonic()
    consent = patient.put(_without_meta({**consent, "status": "inactive"}))
    seen_when_off = _count_visible(doctor, patient_id)
    milliseconds = (time.monotonic() - started) * 1000
    patient.put(_without_meta({**consent, "status": "active"}))
    seen_after = _count_visible(doctor, patient_id)

    if not seen_before or seen_when_off or seen_after != seen_before:
        raise Fault(
            f"The doctor saw {seen_before} entries, then {seen_when_off}, then {seen_after}."
        )
    events = patient.count("AuditEvent", patient=patient_id)
    output = (
        f"doctor sees {seen_before:,}; off: {seen_when_off} (next request, "
        f"{milliseconds:.0f} ms); on: {seen_after:,}; {events} looks in the patient's list"
    )
    return StepResult("1 sharing consent, off and on", output)


def _find_trainer(tour: Tour) -> frozenset[str]:
    """Return the names of who trains models in the tour: a researcher, who promotes none."""
    from ehr_analytics.people import APPLICANT_ROLES
    from ehr_cli.research_people import find_person

    return find_person(tour.settings.data, "researcher.lau", APPLICANT_ROLES).all_names


def _patient_client(tour: Tour, patient_id: str) -> DemoClient:
    return DemoClient(tour.settings, user=f"p.{patient_id}")


def _count_visible(doctor: DemoClient, patient_id: str) -> int:
    records = sum(
        doctor.count(resource_type, patient=patient_id) for resource_type in COUNTED_TYPES
    )
    return records + doctor.count("Patient", _id=patient_id)


def _without_meta(consent: dict[str, Any]) -> dict[str, Any]:
    # The server writes meta; and what a patient writes has no author organisation.
    return {key: value for key, value in consent.items() if key != "meta"}
