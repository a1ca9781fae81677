"""A steward's corrections of a record: what it is judged by, whose it is, that it was a mistake.

A steward acts on request, with a reason that is kept, and sees no chart: no operation answers with
what a record says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any

from ehr_fhir.errors import Forbidden, Gone, NotFound, Unprocessable
from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_fhir.resource_links import CONTAINERS, list_references, replace_references
from ehr_gateway.access_requests.record_changes import record_correction
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.store.stored_facts import FactCorrection, StoredFacts, read_stored_facts
from ehr_privacy.consent import DOMAINS, load_domains, move_container
from ehr_privacy.consent.acts import mark_entered_in_error
from ehr_privacy.consent.labels import LABELS

__all__ = ["FACT_KINDS", "WITHDRAWALS", "correct_record_facts", "move_record", "withdraw_record"]

FACT_KINDS = ("label", "domain", "episode", "date")
WITHDRAWALS = ("deleted", "entered-in-error")
_CORRECTION = "Parameters.parameter"


def correct_record_facts(
    context: RequestContext,
    resource_type: str,
    logical_id: str,
    correction: FactCorrection,
    reason: str,
) -> None:
    """Correct one fact of a record; raise NotFound for one that is not there."""
    _require_steward(context)
    _check_value(correction)
    with step_transaction(context, "$correct-facts") as step:
        stored = _read_clinical_record(step, resource_type, logical_id)
        step.correct_facts(resource_type, logical_id, correction)
        record = f"{resource_type}/{logical_id}"
        _finish(context, step, "loosen", record, stored.record.patients, reason)


def move_record(
    context: RequestContext,
    resource_type: str,
    logical_id: str,
    patient: str,
    moved_from: str | None,
    reason: str,
) -> None:
    """Store the record's next version with another patient in the place of one.

    A Bundle or Parameters kept as data stays as it is inside; its `meta` says whose it is.
    `moved_from` is needed for a record of several patients. Raises NotFound for a record that is
    not there, Unprocessable for a patient who is not.
    """
    _require_steward(context)
    with step_transaction(context, "$move", "system/*.cru") as step:
        stored = _read_clinical_record(step, resource_type, logical_id)
        patients = stored.record.patients
        leaving = moved_from or (next(iter(patients)) if len(patients) == 1 else None)
        is_container = resource_type in CONTAINERS
        if leaving not in patients and not (is_container and not patients):
            raise Unprocessable(
                "Say from which of its patients the record is moved.", expression=_CORRECTION
            )
        if patient in patients:
            raise Unprocessable("It is this patient's record already.", expression=_CORRECTION)

        def rename(resource: dict[str, Any]) -> None:
            if is_container:
                moved = move_container(resource, leaving, patient)
                if moved is None:
                    raise Unprocessable("What it holds names the patient, and stays as it is.")
                resource["meta"] = moved["meta"]
                return
            names = {
                named: f"Patient/{patient}"
                for _, named in list_references(resource)
                if (target := local_target(named)) and str(target) == f"Patient/{leaving}"
            }
            replace_references(resource, names)

        _store_next_version(step, resource_type, logical_id, rename)
        record = f"{resource_type}/{logical_id}"
        _finish(context, step, "move", record, {*patients, patient}, reason)


def withdraw_record(
    context: RequestContext, resource_type: str, logical_id: str, how: str, reason: str
) -> None:
    """Delete a clinical record, or mark it as entered in error.

    Raises Forbidden for a person's record and for the directory, Unprocessable where the type has
    no such mark.
    """
    _require_steward(context)
    if resource_type == "Patient":
        raise Forbidden("A person's record is deleted by the platform alone, as an erasure.")
    with step_transaction(context, "$withdraw", "system/*.crud") as step:
        stored = _read_clinical_record(step, resource_type, logical_id)
        if how == "deleted":
            step.delete(resource_type, logical_id)
        else:
            _store_next_version(step, resource_type, logical_id, _mark)
        record = f"{resource_type}/{logical_id}"
        _finish(context, step, "delete", record, stored.record.patients, reason)


def _require_steward(context: RequestContext) -> None:
    if context.access.requester.role != "steward":
        raise Forbidden("Only a steward corrects what others wrote, on request.")


def _read_clinical_record(step: StepTransaction, kind: str, identity: str) -> StoredFacts:
    absent = f"There is no {kind} with this id."
    stored = read_stored_facts(step.connection, kind, identity)
    if stored is None:
        raise NotFound(absent)
    is_rule_or_event = stored.record.ruled_type in ("Consent", "AuditEvent")
    if is_rule_or_event or kind in load_domains().directory:
        raise Forbidden("This is for clinical records.")
    if step.read(kind, identity) is None:
        raise Gone(f"This {kind} was deleted.")
    return stored


def _store_next_version(
    step: StepTransaction, kind: str, identity: str, change: Callable[[dict[str, Any]], None]
) -> None:
    body = step.read(kind, identity)
    if body is None:
        raise NotFound(f"There is no {kind} with this id.")
    resource = parse(body)
    change(resource)
    step.update(resource)


def _mark(resource: dict[str, Any]) -> None:
    if not mark_entered_in_error(resource):
        raise Unprocessable("This type has no mark for a mistake: delete it.")


def _finish(
    context: RequestContext,
    step: StepTransaction,
    act: str,
    record: str,
    patients: frozenset[str] | set[str],
    reason: str,
) -> None:
    """Keep the reason, tell the patients, and put the record's name on record."""
    record_correction(
        step.connection, context, act=act, record=record, patients=patients, reason=reason
    )
    step.patients += sorted(patients)
    step.entities.append(record)


def _check_value(correction: FactCorrection) -> None:
    value = correction.value
    is_known = True
    if correction.kind == "label":
        is_known = value in LABELS
    elif correction.kind == "domain":
        is_known = value in DOMAINS
    elif correction.kind == "date":
        is_known = False
        with suppress(ValueError):
            is_known = date.fromisoformat(value).isoformat() == value
    if not is_known:
        text = f"This is no {correction.kind} of this server."
        raise Unprocessable(text, expression=_CORRECTION)
