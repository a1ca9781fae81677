"""The steps of the tour. Each returns what went in and what came out, in a few words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ehr_cli.commands import lake as lake_commands
from ehr_cli.data_folder import gateway_settings
from ehr_cli.demo.http_client import DemoClient
from ehr_cli.sample import consents as forms
from ehr_cli.sample import overlay, sample_accounts, synthea_source
from ehr_cli.sample.overlay import sample_patients
from ehr_fhir.errors import Fault
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files import load as loader

if TYPE_CHECKING:
    from ehr_cli.demo.tour import Tour

# What a doctor looks at first; the switch is shown on these.
SHOWN_TYPES = ("Condition", "MedicationRequest", "Encounter", "Observation", "AllergyIntolerance")


def place_sample(tour: Tour) -> tuple[str, str]:
    """Place the committed Synthea patients in Hong Kong, as files of four providers."""
    written = overlay.write_sample(tour.settings.data / "sample")
    given = f"{written:,} resources of {len(sample_patients())} patients, 4 providers"
    return f"Synthea NDJSON, {len(synthea_source.resource_types())} types", given


def load_sample(tour: Tour) -> tuple[str, str]:
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
    given = f"{report.accepted:,} stored ({rate:,.0f} a second), {logins} log-ins"
    return f"{report.accepted + report.rejected:,} resources", given


def write_consents(tour: Tour) -> tuple[str, str]:
    """Let two patients decide over HTTP: one shares with a hospital, one closes a document."""
    first, second = sample_accounts.featured_patients()[:2]
    caller = _patient_client(tour, second.id)
    caller.post(
        _without_meta(forms.sharing_consent(second.id, "st-gabriel", {"start": "2026-01-05"}))
    )
    caller = _patient_client(tour, first.id)
    note = caller.first("DocumentReference", patient=first.id)
    data = {"meaning": "instance", "reference": {"reference": f"DocumentReference/{note}"}}
    caller.post(
        _without_meta(
            forms.build_consent("restriction", first.id, forms.restriction_provision(data=[data]))
        )
    )
    given = "st-gabriel added by one patient, a document closed by another"
    return "2 patients' choices over HTTP", given


def update_lake(tour: Tour) -> tuple[str, str]:
    """Bring the lake up to date from the gateway's feed."""
    report = lake_commands.run_pipeline(tour.settings, tour.spark, tour.base_url, tour.progress)
    tour.lake = report
    return f"{report.landed:,} changes of the feed", lake_commands.summarize_rows(report)


def send_quality(tour: Tour) -> tuple[str, str]:
    """Send the results of the quality gate back to the gateway."""
    if tour.lake is None:
        raise Fault("The lake did not run.")
    checks = sum(len(table.results) for table in tour.lake.quality)
    sent = lake_commands.send_quality(tour.settings, tour.base_url, tour.lake)
    return f"{checks} expectations", f"{sent} MeasureReports for the steward"


def run_study(tour: Tour) -> tuple[str, str]:
    """Run an approved study on its project's views, and release what passes the airlock."""
    from ehr_analytics.demo import run_approved_study

    report = run_approved_study(tour.spark, tour.settings.data, on_progress=tour.progress)
    given = (
        f"{len(report.files)} files released, {report.cells_hidden} of {report.cells} cells "
        f"hidden: {report.folder}"
    )
    return f"{report.rows:,} rows of {len(report.tables)} approved views", given


def train_model(tour: Tour) -> tuple[str, str]:
    """Train, register and score; the scores go back as RiskAssessments."""
    from ehr_etl.gold.tables import run_identified_views
    from ehr_models.demo import train_and_score
    from ehr_models.registry import list_tasks

    caller = DemoClient(tour.settings, client="models")
    views = run_identified_views(tour.spark, lake_commands.open_lake(tour.settings))
    reports = [
        train_and_score(
            task,
            tour.spark,
            tour.settings.data,
            views,
            caller.client,
            caller.token,
            on_progress=tour.progress,
        )
        for task in list_tasks()
    ]
    inputs = "; ".join(
        f"{report.stays} acute stays of {report.people} people" for report in reports
    )
    # The verdict's first words; the model's card has all of it.
    outputs = "; ".join(
        f"version {report.version} registered, {report.scored} RiskAssessments written back. "
        + report.verdict.partition(" (")[0].rstrip(".")
        for report in reports
    )
    return inputs, outputs


def turn_sharing_off_and_on(tour: Tour) -> tuple[str, str]:
    """Show the heart of it: the patient turns sharing off, the doctor sees nothing; on again."""
    identity = sample_patients()[0].id
    patient = _patient_client(tour, identity)
    doctor = DemoClient(tour.settings, user="dr.wong")
    consent = patient.read(f"Consent/sharing-{identity}-st-gabriel")

    before = _count_visible(doctor, identity)
    turned = time.monotonic()
    consent = patient.put(_without_meta({**consent, "status": "inactive"}))
    off = _count_visible(doctor, identity)
    took = (time.monotonic() - turned) * 1000
    patient.put(_without_meta({**consent, "status": "active"}))
    after = _count_visible(doctor, identity)

    if not before or off or after != before:
        raise Fault(f"The doctor saw {before} entries, then {off}, then {after}.")
    looked = patient.count("AuditEvent", patient=identity)
    given = f"doctor sees {before:,}; off: {off} (next request, {took:.0f} ms); on: {after:,}"
    return "1 sharing consent, off and on", f"{given}; {looked} looks in the patient's list"


def _patient_client(tour: Tour, identity: str) -> DemoClient:
    return DemoClient(tour.settings, user=f"p.{identity}")


def _count_visible(doctor: DemoClient, patient: str) -> int:
    found = sum(doctor.count(kind, patient=patient) for kind in SHOWN_TYPES)
    return found + doctor.count("Patient", _id=patient)


def _without_meta(consent: dict[str, Any]) -> dict[str, Any]:
    # The server writes meta; and what a patient writes has no author organisation.
    return {key: value for key, value in consent.items() if key != "meta"}
