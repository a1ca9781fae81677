"""Check and signature of a prescription: what was found, what was not checked, why it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound, PreconditionFailed
from ehr_portal.gateway.client import Resource, SearchResults
from ehr_portal.gateway.operations import WithheldMarker, fetch_withheld_marker
from ehr_portal.i18n import N_
from ehr_portal.pages.writing import REFUSALS, entry_author, refusal_error, require_person
from ehr_portal.record.describe import Describer
from ehr_portal.record.display import Phrase, Text
from ehr_portal.record.dosage import dosage_lines
from ehr_portal.record.medicine_rules import MedicineCheck, MedicineFinding, check_medicines
from ehr_portal.record.medicine_texts import finding_sentence
from ehr_portal.record.new_entries import is_made_here
from ehr_portal.record.new_prescriptions import (
    digest_findings,
    findings_about,
    is_draft_of_portal,
    sign_prescription,
)
from ehr_portal.record.record import MAX_SECTION_ROWS, PAGE_SIZE, none_if_forbidden
from ehr_portal.web.forms import FieldError, VerifiedForm, read_version
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import ClinicianRequest

router = APIRouter()
# Data domains without which a check is not whole.
_CHECKED_DOMAINS = frozenset({"medication", "allergy"})
_SHORTEST_REASON = 3


@dataclass(frozen=True)
class CheckedDraft:
    """A draft with what the check says of it at this moment."""

    draft: Resource
    check: MedicineCheck
    # Those that concern the draft, the most serious first.
    findings: tuple[MedicineFinding, ...]
    included: dict[str, Resource]
    withheld_marker: WithheldMarker
    # The reader's token covers medicines and allergies, and all of them were fetched.
    is_whole: bool

    @property
    def is_recognised(self) -> bool:
        """Return whether the check knows the draft's medicine."""
        return all(order.get("id") != self.draft["id"] for order in self.check.unrecognised)

    @property
    def other_unrecognised(self) -> list[Resource]:
        """Return the other orders whose medicine the check does not know."""
        return [order for order in self.check.unrecognised if order["id"] != self.draft["id"]]

    @property
    def may_be_withheld(self) -> bool:
        """Return whether medicines or allergies may be withheld from the reader."""
        marker = self.withheld_marker
        return marker.hidden or not _CHECKED_DOMAINS.isdisjoint(marker.domains)

    @property
    def digest(self) -> str:
        """Return the digest of what the page says."""
        unchecked = [*self.check.unrecognised, *self.check.unrecognised_allergies]
        return digest_findings(self.findings, unchecked)


@router.get("/patients/{patient}/write/prescription/{draft_id}")
async def show_check(request: ClinicianRequest, patient: str, draft_id: str) -> Response:
    """Show a draft in words with the findings, and the form to sign it."""
    checked = await _check_draft(request, patient, draft_id)
    return await _render_check(request, patient, checked, [])


@router.post("/patients/{patient}/write/prescription/{draft_id}")
async def sign(
    request: ClinicianRequest, patient: str, draft_id: str, form: VerifiedForm
) -> Response:
    """Put the prescription in force, if what was found is what the reader saw."""
    stored = await _read_own(request, patient, draft_id)
    if stored.get("status") == "active":
        # The button was pressed twice: it is signed, and the page of it says so.
        return request.redirect(f"/patients/{patient}/item/MedicationRequest/{draft_id}")
    checked = await _check_draft(request, patient, draft_id)
    reason = form.get("reason", "").strip()
    errors = []
    if form.get("seen") != checked.digest:
        errors = [FieldError("findings", N_("The check says something else now. Read it again."))]
    elif checked.findings and len(reason) < _SHORTEST_REASON:
        errors = [FieldError("reason", N_("Say why you prescribe it all the same."))]
    if errors:
        return await _render_check(request, patient, checked, errors, reason)
    overridden = ""
    if checked.findings:
        sentences = "; ".join(finding_sentence(f, "en").text for f in checked.findings)
        overridden = f"Signed although the check said: {sentences}. Reason: {reason}"
    signed = sign_prescription(checked.draft, entry_author(request), overridden, request.now)
    version = read_version(form, checked.draft)
    signed["meta"] = {**checked.draft["meta"], "versionId": version}
    try:
        await request.gateway.update(signed)
    except PreconditionFailed:
        request.flash_problem(N_("It was changed meanwhile. Look at it again."))
        return request.redirect(f"/patients/{patient}/write/prescription/{draft_id}")
    except REFUSALS:
        error = refusal_error("findings")
        return await _render_check(request, patient, checked, [error], reason)
    request.flash(N_("The prescription is signed and in force."))
    return request.redirect(f"/patients/{patient}/item/MedicationRequest/{draft_id}")


@router.post("/patients/{patient}/write/prescription/{draft_id}/discard")
async def discard(
    request: ClinicianRequest, patient: str, draft_id: str, form: VerifiedForm
) -> Response:
    """Cancel a draft: it was never in force."""
    draft = await _read_draft(request, patient, draft_id)
    meta = {**draft["meta"], "versionId": read_version(form, draft)}
    await request.gateway.update({**draft, "meta": meta, "status": "cancelled"})
    request.flash(N_("The draft is thrown away. Nothing was prescribed."))
    return request.redirect(f"/patients/{patient}")


async def _check_draft(request: PortalRequest, patient: str, draft_id: str) -> CheckedDraft:
    """Check a draft against everything of the patient that the reader may see now."""
    draft, orders, statements, allergies, marker = await asyncio.gather(
        _read_draft(request, patient, draft_id),
        _search(request, "MedicationRequest", patient),
        _search(request, "MedicationStatement", patient),
        _search(request, "AllergyIntolerance", patient),
        fetch_withheld_marker(request.gateway, patient),
    )
    found = [results for results in (orders, statements) if results is not None]
    # The draft as it was read: the search may know an older version of it.
    others = [r for results in found for r in results.matches if r["id"] != draft["id"]]
    included = {key: r for results in found for key, r in results.included.items()}
    known_allergies: Sequence[Resource] = allergies.matches if allergies else ()
    check = check_medicines([draft, *others], known_allergies, included, request.now)
    answers = (orders, statements, allergies)
    return CheckedDraft(
        draft=draft,
        check=check,
        findings=tuple(findings_about(check, draft)),
        included=included,
        withheld_marker=marker,
        is_whole=all(results is not None and not results.next_link for results in answers),
    )


async def _read_draft(request: PortalRequest, patient: str, draft_id: str) -> Resource:
    """Return a draft that this portal made for the patient; NotFound for any other record."""
    draft = await _read_own(request, patient, draft_id)
    if not is_draft_of_portal(draft):
        raise NotFound("There is no such draft.")
    return draft


async def _read_own(request: PortalRequest, patient: str, identity: str) -> Resource:
    """Return a prescription that this portal made for the patient, in whatever state."""
    stored = await request.gateway.read("MedicationRequest", identity)
    is_theirs = stored.get("subject", {}).get("reference") == f"Patient/{patient}"
    if not is_made_here(stored) or not is_theirs:
        raise NotFound("There is no such draft.")
    return stored


async def _search(request: PortalRequest, resource_type: str, patient: str) -> SearchResults | None:
    params = {"patient": patient, "_count": PAGE_SIZE}
    if resource_type != "AllergyIntolerance":
        params["_include"] = f"{resource_type}:medication"
    return await none_if_forbidden(
        request.gateway.search_all(resource_type, params, limit=MAX_SECTION_ROWS)
    )


async def _render_check(
    request: PortalRequest,
    patient: str,
    checked: CheckedDraft,
    errors: list[FieldError],
    reason: str = "",
) -> Response:
    language = request.language
    describer = Describer(language, for_clinician=True)

    def title_of(resource: Resource) -> Phrase | Text:
        return describer.title({**resource, **_with_medication(resource, checked.included)})

    return request.render(
        "sign_prescription.html",
        patient=patient,
        person=await require_person(request, patient),
        checked=checked,
        title_of=title_of,
        dosage=dosage_lines(checked.draft.get("dosageInstruction", ()), language),
        findings=[(finding, finding_sentence(finding, language)) for finding in checked.findings],
        reason=reason,
        errors=errors,
    )


def _with_medication(order: Resource, included: dict[str, Resource]) -> Resource:
    """Return the medicine of an order that refers to a Medication, as its own code."""
    reference = order.get("medicationReference", {}).get("reference", "")
    medication = included.get(reference, {})
    return {"medicationCodeableConcept": medication["code"]} if "code" in medication else {}
