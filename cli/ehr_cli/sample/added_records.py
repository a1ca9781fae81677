"""The sample's own records beside Synthea's, read from added_records.toml; always the same."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from ehr_cli.sample.consents import build_consent
from ehr_cli.sample.details import (
    interpretation,
    interpretation_concept,
    quantity,
    reference_range,
)
from ehr_cli.sample.hong_kong import SYSTEM, Name
from ehr_cli.sample.placement import location_id
from ehr_cli.sample.resource_builders import (
    ACT_CODE,
    LOINC,
    TERMINOLOGY,
    Resource,
    build,
    build_concept,
    organization_reference,
    reference_to,
    staff_reference,
)
from ehr_cli.sample.ward import build_ward

Row = dict[str, Any]

LABORATORY = build_concept(f"{TERMINOLOGY}/observation-category", "laboratory", "Laboratory")
SERVICE = f"{TERMINOLOGY}/v2-0074"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
ACCOUNT = f"{SYSTEM}/fhir/sid/account"
# The Digital X-Ray Image Storage of DICOM PS3.4.
XRAY_CLASS = "urn:oid:1.2.840.10008.5.1.4.1.1.1.1"


@cache
def read_added_records() -> Row:
    """Read added_records.toml."""
    text = resources.files(__package__).joinpath("added_records.toml").read_text("utf-8")
    return tomllib.loads(text)


def build_added_records(patients: Sequence[str]) -> Iterator[Resource]:
    """Yield the sample's own records, the target of a reference before its source."""
    rows = read_added_records()
    visits: dict[str, Resource] = {}
    for row in rows["visit"]:
        visits[row["key"]] = _build_visit(row, patients[row["patient"]])
    yield from visits.values()
    stays: dict[str, Resource] = {}
    for resource in build_ward(rows["inpatient"], patients):
        if resource["resourceType"] == "Encounter":
            stays[resource["subject"]["reference"]] = resource
        yield resource
    for row in rows["report"]:
        patient = patients[row["patient"]]
        visit = visits[row["visit"]] if "visit" in row else stays[f"Patient/{patient}"]
        yield from _build_report(row, patient, visit)
    for row in rows["allergy"]:
        yield _build_allergy(row, patients[row["patient"]])
    for row in rows["appointment"]:
        yield _build_appointment(row, patients[row["patient"]])
    for row in rows["plan"]:
        yield from _build_plan(row, patients[row["patient"]])
    for row in rows["document"]:
        yield _build_document(row, patients[row["patient"]], visits)
    for row in rows["imaging"]:
        yield from _build_imaging(row, patients[row["patient"]], visits[row["visit"]])
    for row in rows["carer"]:
        yield from _build_carer(row, patients[row["patient"]])


def _build_visit(row: Row, patient: str) -> Resource:
    organization = row["organization"]
    performer = build_concept(f"{TERMINOLOGY}/v3-ParticipationType", "PPRF", "primary performer")
    elements = {
        "status": "finished",
        "class": {"system": ACT_CODE, "code": "AMB", "display": "ambulatory"},
        "type": [{"text": row["type"]}],
        "participant": [{"type": [performer], "individual": staff_reference(row["doctor"])}],
        "period": {"start": row["start"], "end": row["end"]},
        "location": [{"location": _location(organization)}],
        "serviceProvider": organization_reference(organization),
    }
    return build("Encounter", row["key"], organization, elements, patient)


def _build_report(row: Row, patient: str, visit: Resource) -> Iterator[Resource]:
    organization = row["organization"]
    issued = {"effectiveDateTime": row["at"], "issued": row["at"]}
    results = []
    for code, value in row["results"]:
        display, unit = read_added_records()["test"][code]
        elements = {
            "status": "final",
            "category": [LABORATORY],
            "code": build_concept(LOINC, code, display),
            "encounter": reference_to(visit),
            **issued,
            "performer": [organization_reference(organization)],
            "valueQuantity": quantity(value, unit, unit),
            "interpretation": [interpretation_concept(interpretation(code, value))],
            "referenceRange": [reference_range(code, unit)],
        }
        key = f"{row['key']}|{code}"
        results.append(build("Observation", key, organization, elements, patient))
    yield from results
    elements = {
        "status": "final",
        "category": [build_concept(SERVICE, "LAB", "Laboratory")],
        "code": build_concept(LOINC, *row["code"]),
        "encounter": reference_to(visit),
        **issued,
        "performer": [organization_reference(organization)],
        "result": [reference_to(result) for result in results],
        "conclusion": row["conclusion"],
    }
    yield build("DiagnosticReport", row["key"], organization, elements, patient)


def _build_allergy(row: Row, patient: str) -> Resource:
    reactions = [
        {
            "manifestation": [{"text": sign} for sign in signs],
            "onset": onset,
            "severity": severity,
        }
        for severity, onset, *signs in row["reactions"]
    ]
    elements = {
        "clinicalStatus": build_concept(
            f"{TERMINOLOGY}/allergyintolerance-clinical", "active", "Active"
        ),
        "verificationStatus": build_concept(
            f"{TERMINOLOGY}/allergyintolerance-verification", "confirmed", "Confirmed"
        ),
        "type": "allergy",
        "category": [row["category"]],
        "criticality": row["criticality"],
        "code": {"text": row["substance"]},
        "patient": {"reference": f"Patient/{patient}"},
        "recordedDate": row["recorded"],
        "reaction": reactions,
    }
    key = f"{patient}|{row['substance']}"
    return build("AllergyIntolerance", key, row["organization"], elements)


def _build_appointment(row: Row, patient: str) -> Resource:
    start = datetime.fromisoformat(row["start"])
    actors = (
        {"reference": f"Patient/{patient}"},
        staff_reference(row["doctor"]),
        _location(row["organization"]),
    )
    elements = {
        "status": row["status"],
        "serviceType": [{"text": row["service"]}],
        "appointmentType": build_concept(f"{TERMINOLOGY}/v2-0276", *row["type"]),
        "reasonCode": [{"text": row["reason"]}],
        "start": row["start"],
        "end": (start + timedelta(minutes=row["minutes"])).isoformat(),
        "participant": [{"actor": actor, "status": "accepted"} for actor in actors],
    }
    if "instruction" in row:
        elements["patientInstruction"] = row["instruction"]
    if "cancelled" in row:
        elements["cancelationReason"] = {"text": row["cancelled"]}
    return build("Appointment", f"{patient}|{row['start']}", row["organization"], elements)


def _build_plan(row: Row, patient: str) -> Iterator[Resource]:
    organization = row["organization"]
    goals = []
    for text, code, high, unit, due in row["goals"]:
        target = {
            "measure": build_concept(LOINC, code, "Systolic blood pressure"),
            "detailRange": {"high": quantity(high, unit, unit)},
            "dueDate": due,
        }
        elements = {
            "lifecycleStatus": "active",
            "description": {"text": text},
            "startDate": row["start"],
            "target": [target],
        }
        goals.append(build("Goal", f"{patient}|{text}", organization, elements, patient))
    yield from goals
    category = {
        "system": "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
        "code": "assess-plan",
    }
    elements = {
        "status": "active",
        "intent": "plan",
        "category": [{"coding": [category]}],
        "title": row["title"],
        "period": {"start": row["start"], "end": row["end"]},
        "created": row["start"],
        "author": staff_reference(row["doctor"]),
        "goal": [reference_to(goal) for goal in goals],
        "activity": [
            {"detail": {"code": {"text": text}, "status": status}}
            for status, text in row["activities"]
        ],
    }
    yield build("CarePlan", f"{patient}|{row['title']}", organization, elements, patient)


def _build_document(row: Row, patient: str, visits: Mapping[str, Resource]) -> Resource:
    elements: Resource = {
        "status": "current",
        "docStatus": "final",
        "type": build_concept(LOINC, *row["type"]),
        "date": row["at"],
        "author": [staff_reference(row["doctor"])],
        "custodian": organization_reference(row["organization"]),
        "description": row["title"],
        "content": [
            {"attachment": _attachment(row["file"], row["media"], row["title"], row["at"])}
        ],
    }
    if "visit" in row:
        elements["context"] = {"encounter": [reference_to(visits[row["visit"]])]}
    return build("DocumentReference", row["file"], row["organization"], elements, patient)


def _build_imaging(row: Row, patient: str, visit: Resource) -> Iterator[Resource]:
    """Yield the study, its picture as Media, and the report that shows it."""
    organization = row["organization"]
    encounter = {"encounter": reference_to(visit)}
    modality = {"system": DICOM, "code": "DX", "display": "Digital Radiography"}
    instance = {
        "uid": "2.25.101",
        "sopClass": {"system": "urn:ietf:rfc:3986", "code": XRAY_CLASS},
        "number": 1,
    }
    series = {"uid": "2.25.100", "number": 1, "modality": modality, "instance": [instance]}
    elements = {
        "status": "available",
        **encounter,
        "started": row["at"],
        "numberOfSeries": 1,
        "numberOfInstances": 1,
        "procedureCode": [build_concept(LOINC, *row["code"])],
        "series": [series],
    }
    study = build("ImagingStudy", row["picture"], organization, elements, patient)
    yield study
    kind = {"system": f"{TERMINOLOGY}/media-type", "code": "image", "display": "Image"}
    elements = {
        "status": "completed",
        "type": {"coding": [kind]},
        "modality": {"coding": [modality]},
        **encounter,
        "createdDateTime": row["at"],
        "bodySite": {"text": row["body"]},
        "operator": staff_reference(row["doctor"]),
        "height": 176,
        "width": 160,
        "content": _attachment(row["picture"], "image/png", row["code"][1], row["at"]),
    }
    media = build("Media", row["picture"], organization, elements, patient)
    yield media
    elements = {
        "status": "final",
        "category": [build_concept(SERVICE, "RAD", "Radiology")],
        "code": build_concept(LOINC, *row["code"]),
        **encounter,
        "effectiveDateTime": row["at"],
        "issued": row["at"],
        "performer": [organization_reference(organization)],
        "resultsInterpreter": [staff_reference(row["doctor"])],
        "imagingStudy": [reference_to(study)],
        "media": [{"comment": row["conclusion"], "link": reference_to(media)}],
        "conclusion": row["conclusion"],
    }
    yield build("DiagnosticReport", row["picture"], organization, elements, patient)


def _build_carer(row: Row, patient: str) -> Iterator[Resource]:
    """Yield the RelatedPerson, and the power of attorney of one who has an account."""
    elements: Resource = {
        "active": True,
        "patient": {"reference": f"Patient/{patient}"},
        "relationship": [build_concept(f"{TERMINOLOGY}/v3-RoleCode", *row["relationship"])],
        "name": Name(*row["name"]).fhir(),
    }
    yield build("RelatedPerson", f"carer|{patient}", "ehr-commons", elements)
    if "login" not in row:
        return
    recipient = build_concept(
        f"{TERMINOLOGY}/v3-ParticipationType", "IRCP", "information recipient"
    )
    account = {"system": ACCOUNT, "value": row["login"]}
    power = f"{SYSTEM}/fhir/CodeSystem/carer-power"
    provision = {
        "type": "permit",
        "period": {"start": "2025-12-01"},
        "actor": [{"role": recipient, "reference": {"identifier": account}}],
        "action": [{"coding": [{"system": power, "code": code}]} for code in ("view", "manage")],
    }
    yield build_consent("carer", patient, provision)


def _attachment(file: str, media: str, title: str, at: str) -> Resource:
    content = resources.files(__package__).joinpath("attachments", file).read_bytes()
    return {
        "contentType": media,
        "data": base64.b64encode(content).decode(),
        "size": len(content),
        "title": title,
        "creation": at,
    }


def _location(organization: str) -> Resource:
    return {
        "reference": f"Location/{location_id(organization, 'outpatient')}",
        "display": organization_reference(organization)["display"],
    }
