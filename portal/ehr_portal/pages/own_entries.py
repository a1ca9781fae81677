"""Own entries: what the patient measured and wrote down, with correcting and taking back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, NotFound, PreconditionFailed
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.own_entries import OWN_ENTRY_KINDS, OwnEntryKind, find_own_entry_kind
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.charts import draw_sparkline
from ehr_portal.record.form_fields import FormFault
from ehr_portal.record.new_entries import says_the_same
from ehr_portal.record.own_entries import (
    KIND_TITLES,
    PART_TITLES,
    form_values,
    parse_entry_form,
    same_entry_criteria,
)
from ehr_portal.record.providers import written_by_patient
from ehr_portal.record.record import MAX_SECTION_ROWS, PAGE_SIZE
from ehr_portal.record.trends import group_into_trends
from ehr_portal.web.forms import PatientForm, read_version, translate_faults
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import PatientRequest, RecordReaderRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/own-entries", N_("Own measurements"), 35),
    NavigationLink(
        "carer", "/own-entries", N_("Own measurements"), 65, lambda user: user.decides_for_patient
    ),
)
# The elements of an entry that somebody types.
_MEASURED = ("effectiveDateTime", "valueQuantity", "component", "note")
EntryId = Annotated[str, Path(max_length=64)]


@router.get("/own-entries")
async def show_own_entries(request: RecordReaderRequest) -> Response:
    """Show what was written down, by kind, newest first."""
    results = await request.gateway.search_all(
        "Observation",
        {
            "patient": request.patient,
            "performer": f"Patient/{request.patient}",
            "_count": PAGE_SIZE,
        },
        limit=MAX_SECTION_ROWS,
    )
    entries = [entry for entry in results.matches if written_by_patient(entry)]
    trends = group_into_trends(entries, request.language, request.now)
    kind_by_code = {kind.code: name for name, kind in OWN_ENTRY_KINDS.items()}
    return request.render(
        "own_entries.html",
        trends=[(kind_by_code.get(trend.code, ""), trend) for trend in trends],
        KIND_TITLES=KIND_TITLES,
        draw_sparkline=draw_sparkline,
    )


@router.get("/own-entries/add/{kind}")
async def show_entry_form(request: PatientRequest, kind: str) -> Response:
    """Show the form of one kind, empty but for the day and the time."""
    local = request.now.astimezone(JURISDICTION.zone)
    values = {"day": local.date().isoformat(), "time": f"{local:%H:%M}"}
    return _render_form(request, _find_kind(kind), values)


@router.post("/own-entries/add/{kind}")
async def add_entry(request: PatientRequest, kind: str, form: PatientForm) -> Response:
    """Write an entry down."""
    entry_kind = _find_kind(kind)
    entry, faults = parse_entry_form(entry_kind, request.patient, form, request.now)
    if entry is None:
        return _render_form(request, entry_kind, form, faults)
    try:
        await _create_once(request, entry)
    except (Forbidden, Invalid):
        return _render_form(request, entry_kind, form, [_REFUSED])
    request.flash(N_("It is written down. Those you share your record with can see it."))
    return request.redirect("/own-entries")


@router.get("/own-entries/{entry}")
async def show_correction_form(request: PatientRequest, entry: EntryId) -> Response:
    """Show an entry in its form, to be corrected or taken back."""
    stored, kind = await _read_entry(request, entry)
    return _render_form(request, kind, form_values(kind, stored), stored=stored)


@router.post("/own-entries/{entry}/correct")
async def correct_entry(request: PatientRequest, entry: EntryId, form: PatientForm) -> Response:
    """Store an entry anew, as the next version."""
    stored, kind = await _read_entry(request, entry)
    corrected, faults = parse_entry_form(kind, request.patient, form, request.now)
    if corrected is None:
        return _render_form(request, kind, form, faults, stored)
    meta = {**corrected["meta"], "versionId": read_version(form, stored)}
    changed = {**corrected, "id": stored["id"], "meta": meta, "status": "corrected"}
    return await _store_change(request, changed, N_("It is corrected. What stood before is kept."))


@router.post("/own-entries/{entry}/remove")
async def remove_entry(request: PatientRequest, entry: EntryId, form: PatientForm) -> Response:
    """Mark an entry as entered in error: it counts no more, and its history is kept."""
    stored, _ = await _read_entry(request, entry)
    meta = {**stored["meta"], "versionId": read_version(form, stored)}
    changed = {**stored, "meta": meta, "status": "entered-in-error"}
    return await _store_change(
        request, changed, N_("It is marked as a mistake and counts no more.")
    )


_REFUSED = FormFault("day", N_("This was not accepted. Check the numbers and the day."))


async def _read_entry(request: PortalRequest, entry_id: str) -> tuple[Resource, OwnEntryKind]:
    """Return an own entry of this patient; NotFound for any other record."""
    stored = await request.gateway.read("Observation", entry_id)
    kind = find_own_entry_kind(stored)
    is_own = stored.get("subject", {}).get("reference") == f"Patient/{request.patient}"
    if kind is None or not is_own or not written_by_patient(stored):
        raise NotFound("There is no such entry.")
    return stored, kind


async def _create_once(request: PortalRequest, entry: Resource) -> None:
    """Create an entry, unless the same one is there: a button that was pressed twice makes one."""
    try:
        stored = await request.gateway.create(entry, if_none_exist=same_entry_criteria(entry))
    except PreconditionFailed:
        # More than one, of a day without a time: each of them is another one.
        stored = {}
    if not says_the_same(stored, entry, _MEASURED):
        await request.gateway.create(entry)


async def _store_change(request: PortalRequest, entry: Resource, message: str) -> Response:
    try:
        await request.gateway.update(entry)
    except PreconditionFailed:
        request.flash_problem(N_("It was changed meanwhile. Look at it again."))
    except (Forbidden, Invalid):
        request.flash_problem(N_("This was not accepted."))
    else:
        request.flash(message)
    return request.redirect("/own-entries")


def _find_kind(name: str) -> OwnEntryKind:
    kind = OWN_ENTRY_KINDS.get(name)
    if kind is None:
        raise NotFound("There is no such kind of entry.")
    return kind


def _render_form(
    request: PortalRequest,
    kind: OwnEntryKind,
    values: Mapping[str, str],
    faults: list[FormFault] | None = None,
    stored: Resource | None = None,
) -> Response:
    return request.render(
        "own_entry.html",
        kind=kind,
        values=values,
        stored=stored,
        errors=translate_faults(request, faults or []),
        KIND_TITLES=KIND_TITLES,
        PART_TITLES=PART_TITLES,
    )
