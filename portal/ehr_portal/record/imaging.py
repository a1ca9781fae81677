"""Imaging examinations: a report with its pictures and study, or a study that has no report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.display import Text, text_of_record
from ehr_portal.record.rows import RecordRow, build_row

# Diagnostic service sections (HL7 v2-0074) of imaging, and LOINC's and US Core's class of it.
IMAGING_CATEGORIES = (
    "RAD", "IMG", "CT", "CTH", "CUS", "IMM", "NMR", "NMS", "OUS", "RUS", "RX", "VUS", "XRC",
    "LP29684-5", "imaging",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One picture of the record: where its file is served, and what it shows."""

    # The id of the Media.
    media_id: str
    # What the report says of it; empty where it says nothing.
    comment: Text


@dataclass(frozen=True)
class Examination:
    """One examination by imaging."""

    row: RecordRow
    # What the report concludes; empty where it is a study without a report.
    conclusion: Text
    pictures: tuple[Picture, ...]
    has_report: bool


def build_examinations(
    reports: Iterable[Resource],
    studies: Iterable[Resource],
    included: Mapping[str, Resource],
    language: str,
    now: datetime,
) -> list[Examination]:
    """Return reports with their pictures, and studies that no report names, the newest first."""
    found = [_build_report(report, included, language, now) for report in reports]
    named = {
        str(reference.get("reference"))
        for examination in found
        for reference in examination.row.resource.get("imagingStudy", ())
    }
    found += [
        Examination(build_row(study, {}, language, now), Text("", language), (), has_report=False)
        for study in studies
        if f"ImagingStudy/{study['id']}" not in named
    ]
    return sorted(found, key=lambda e: fhir_timestamp(e.row.start), reverse=True)


def _build_report(
    report: Resource, included: Mapping[str, Resource], language: str, now: datetime
) -> Examination:
    pictures = []
    for media in report.get("media", ()):
        reference = str(media.get("link", {}).get("reference", ""))
        content = included.get(reference, {}).get("content", {})
        if str(content.get("contentType", "")).startswith("image/"):
            comment = text_of_record(str(media.get("comment", "")))
            pictures.append(Picture(reference.partition("/")[2], comment))
    return Examination(
        row=build_row(report, included, language, now),
        conclusion=text_of_record(str(report.get("conclusion", ""))),
        pictures=tuple(pictures),
        has_report=True,
    )
