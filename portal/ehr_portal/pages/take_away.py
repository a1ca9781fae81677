"""Take away a copy: the summary as a page, a PDF and a file of FHIR, and the whole record."""

from __future__ import annotations

import anyio.to_thread
import orjson
from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from ehr_portal.i18n import N_
from ehr_portal.record.patient_summary import PatientSummary, parse_summary
from ehr_portal.record.record_archive import read_first_page, stream_archive
from ehr_portal.record.summary_pdf import PAGE_NUMBER, render_pdf
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import RecordReaderRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/take-away", N_("Take a copy"), 55),
    NavigationLink("carer", "/take-away", N_("Take a copy"), 55, lambda u: u.reads_for_patient),
)
_README = N_(
    "A copy of a health record from eHR Commons, made on %(day)s.\n"
    "It holds what the person who made it may see of the record. Keep it as safe as the record.\n\n"
    "record/: one file for each type of record, one record in each line (FHIR R4, NDJSON).\n"
    "referred-to/: the hospitals, people and medicines that the records name.\n"
    "attachments/: documents and pictures.\n"
    "contents.json: how many records each file has, and how many attachments are not here. "
    "Without it the copy is not whole.\n"
)


@router.get("/take-away")
async def show_copies(request: RecordReaderRequest) -> Response:
    """Show what can be taken away."""
    return request.render("take_away.html")


@router.get("/take-away/summary")
async def show_summary(request: RecordReaderRequest) -> Response:
    """Show the summary as a page."""
    return request.render("patient_summary.html", summary=await _fetch_summary(request))


@router.get("/take-away/summary.pdf")
async def download_pdf(request: RecordReaderRequest) -> Response:
    """Answer with the summary as a PDF."""
    summary = await _fetch_summary(request)
    instant = request.localizer.format_instant(summary.at)
    notes = (
        request.translate(N_("Made by eHR Commons on %(time)s."), time=instant),
        request.translate(
            N_("It may lack what nobody recorded, and what this reader may not see.")
        ),
    )
    foot = request.translate(N_("Page %(number)s"), number=PAGE_NUMBER)
    box_note = request.translate(
        N_("A box stands for a character that this file cannot show. The summary as a page can.")
    )
    content = await anyio.to_thread.run_sync(
        render_pdf, summary, request.language, request.now, notes, box_note, f"eHR Commons · {foot}"
    )
    return _file(content, "application/pdf", "patient-summary.pdf")


@router.get("/take-away/summary.json")
async def download_json(request: RecordReaderRequest) -> Response:
    """Answer with the summary as a FHIR document, as the gateway made it."""
    content = await _read_summary(request)
    return _file(content, "application/fhir+json", "patient-summary.json")


@router.post("/take-away/record")
async def download_record(request: RecordReaderRequest, form: PatientForm) -> Response:
    """Answer with everything: the records and their attachments."""
    # Before the answer begins, so that a refusal is a page.
    first = await read_first_page(request.gateway, request.patient)
    day = request.localizer.format_day(request.now)
    readme = request.translate(_README, day=day)
    return StreamingResponse(
        stream_archive(request.gateway, first, readme, request.now),
        media_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="health-record.zip"'},
    )


async def _fetch_summary(request: PortalRequest) -> PatientSummary:
    return parse_summary(orjson.loads(await _read_summary(request)))


async def _read_summary(request: PortalRequest) -> bytes:
    address = f"Patient/{request.patient}/$summary"
    return await request.gateway.read_as_written(address, request.language)


def _file(content: bytes, media_type: str, name: str) -> Response:
    disposition = f'attachment; filename="{name}"'
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})
