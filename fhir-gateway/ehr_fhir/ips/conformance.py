"""Our own check of a summary against IPS 2.0.0: what its Bundle and Composition profiles say.

Written from the package hl7.fhir.uv.ips 2.0.0; the profiles of single records are held by the
elements that they require. HL7's validator is asked in a slow test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_fhir.ips.required_elements import REQUIRED, is_there
from ehr_fhir.ips.sections import SECTIONS
from ehr_fhir.narrative import find_narrative_fault

__all__ = ["find_summary_faults"]

Json = Mapping[str, Any]  # FHIR JSON of every shape
_FORBIDDEN_IN_ENTRY = ("search", "request", "response")
_TYPES_BY_CODE = {section.code: (*section.types, "DocumentReference") for section in SECTIONS}
_REQUIRED_CODES = {section.code for section in SECTIONS if section.is_required}
_TYPES_BY_CODE["18776-5"] += ("ImmunizationRecommendation",)
_TYPES_BY_CODE["10160-0"] += ("MedicationAdministration", "MedicationDispense")


def find_summary_faults(bundle: Json) -> list[str]:
    """Return what of a document is against the guide, each with its place; empty if nothing is."""
    return [*_bundle_faults(bundle), *_record_faults(bundle)]


def _bundle_faults(bundle: Json) -> Iterator[str]:
    if bundle.get("type") != "document":
        yield "Bundle.type: must be document"
    for name in ("identifier", "timestamp"):
        if not bundle.get(name):
            yield f"Bundle.{name}: is required"
    entries = bundle.get("entry") or []
    kinds = [str(one.get("resource", {}).get("resourceType")) for one in entries]
    if len(entries) < 2 or kinds[:1] != ["Composition"]:
        yield "Bundle.entry: at least two, the Composition first"
        return
    for kind in ("Composition", "Patient"):
        if kinds.count(kind) != 1:
            yield f"Bundle.entry: one {kind}"
    urls = [str(one.get("fullUrl", "")) for one in entries]
    if "" in urls or len(set(urls)) < len(urls):
        yield "Bundle.entry.fullUrl: one for each entry"
    for name in _FORBIDDEN_IN_ENTRY:
        if any(name in one for one in entries):
            yield f"Bundle.entry.{name}: is not allowed"
    yield from _composition_faults(entries[0], dict(zip(urls, kinds, strict=True)))


def _composition_faults(entry: Json, kinds: Mapping[str, str]) -> Iterator[str]:
    composition, url = entry["resource"], str(entry.get("fullUrl"))
    codes = [coding.get("code") for coding in composition.get("type", {}).get("coding", ())]
    if "60591-5" not in codes:
        yield "Composition.type: must be LOINC 60591-5"
    for name in ("status", "subject", "date", "author", "title"):
        if not composition.get(name):
            yield f"Composition.{name}: is required"
    subject = _resolve(composition.get("subject", {}), url)
    if kinds.get(subject) != "Patient":
        yield "Composition.subject: must be the Patient of the document"
    found: list[str] = []
    for number, section in enumerate(composition.get("section") or ()):
        place = f"Composition.section[{number}]"
        code = next(
            (
                str(coding.get("code"))
                for coding in section.get("code", {}).get("coding", ())
                if coding.get("system") == "http://loinc.org"
            ),
            "",
        )
        found.append(code)
        yield from _section_faults(section, code, place, url, kinds)
    for code in _REQUIRED_CODES - set(found):
        yield f"Composition.section: {code} is required"
    for code in {code for code in found if code in _TYPES_BY_CODE and found.count(code) > 1}:
        yield f"Composition.section: {code} is there once"


def _section_faults(
    section: Json, code: str, place: str, url: str, kinds: Mapping[str, str]
) -> Iterator[str]:
    for name in ("title", "code", "text"):
        if not section.get(name):
            yield f"{place}.{name}: is required"
    if section.get("section"):
        yield f"{place}.section: is not allowed"
    fault = find_narrative_fault(str(section.get("text", {}).get("div", "")))
    if fault is not None:
        yield f"{place}.text: {fault}"
    entries = section.get("entry") or []
    if code in _REQUIRED_CODES and not entries and not section.get("emptyReason"):
        yield f"{place}: an entry or an emptyReason (ips-comp-1)"
    if entries and section.get("emptyReason"):
        yield f"{place}: an emptyReason only without entries (cmp-2)"
    for number, entry in enumerate(entries):
        kind = kinds.get(_resolve(entry, url))
        if kind is None:
            yield f"{place}.entry[{number}]: must be in the document"
        elif kind not in _TYPES_BY_CODE.get(code, (kind,)):
            yield f"{place}.entry[{number}]: a {kind} does not belong here"


def _resolve(reference: Json, url: str) -> str:
    """Return the fullUrl that a reference means in an entry with this fullUrl (R4 §3.1.6.1)."""
    text = str(reference.get("reference", ""))
    if ":" in text:
        return text
    return f"{'/'.join(url.split('/')[:-2])}/{text}"


def _record_faults(bundle: Json) -> Iterator[str]:
    for number, entry in enumerate(bundle.get("entry") or ()):
        resource = entry.get("resource", {})
        for element in REQUIRED.get(str(resource.get("resourceType")), {}):
            if not is_there(resource, element):
                yield f"Bundle.entry[{number}].resource.{element}: is required"
