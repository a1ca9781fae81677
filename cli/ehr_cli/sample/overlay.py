"""Place the Synthea sample in Hong Kong: the same input always gives the same output.

It changes who and where: names, identity numbers, addresses, organisations, staff. It does not
touch what happened: codes, values and dates are Synthea's. It fills in what Synthea leaves out
(details.py), and adds a few records of the sample's own (added_records.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from ehr_cli.sample import synthea_source
from ehr_cli.sample.added_records import build_added_records
from ehr_cli.sample.consents import sample_consents
from ehr_cli.sample.details import fill_in_details
from ehr_cli.sample.directory import build_organizations, build_practitioners, build_sites
from ehr_cli.sample.hong_kong import (
    HKID,
    Name,
    invent_address,
    invent_hkid,
    invent_name,
    invent_phone,
)
from ehr_cli.sample.placement import place_records
from ehr_cli.sample.rewrite import Rewriter, with_source
from ehr_cli.sample.ward import build_consciousness_codes

Resource = dict[str, Any]


@dataclass(frozen=True)
class SamplePatient:
    """A patient of the sample, as the demo and its checks need to know them."""

    id: str
    hkid: str
    name: Name
    phone: str
    lines: tuple[str, ...]

    def identifiers(self) -> frozenset[str]:
        """Return the values that must never be found in a de-identified file."""
        bare = self.hkid.replace("(", "").replace(")", "")
        names = (self.name.text, self.name.text_zh)
        return frozenset({self.id, self.hkid, bare, self.phone, *names, *self.lines})


@cache
def sample_patients() -> tuple[SamplePatient, ...]:
    """Return the patients; the first is "the patient" of the demo."""
    gender = {
        patient["id"]: patient["gender"] for patient in synthea_source.read_resources("Patient")
    }
    return tuple(
        SamplePatient(
            p,
            invent_hkid(p),
            invent_name(p, gender[p]),
            invent_phone(p),
            tuple(invent_address(p)["line"]),
        )
        for p in place_records().patients
    )


def sample_resources() -> Iterator[Resource]:
    """Yield every resource of the sample, the target of a reference before its source."""
    placement = place_records()
    rewriter = Rewriter(placement)
    yield from build_organizations()
    yield from build_sites()
    yield with_source(build_consciousness_codes(), "ehr-commons")
    medicines = {}
    for medication in synthea_source.read_resources("Medication"):
        medicines[f"Medication/{medication['id']}"] = medication["code"]["text"]
        yield with_source(medication, "ehr-commons")
    births = {}
    for patient in synthea_source.read_resources("Patient"):
        births[patient["id"]] = patient["birthDate"]
        yield with_source(_build_patient(patient), placement.main[patient["id"]])
    notes = {
        synthea_source.patient_of(note): f"DocumentReference/{note['id']}"
        for note in synthea_source.read_resources("DocumentReference")
    }
    yield from sample_consents(placement.patients, notes)
    records = [
        resource_type
        for resource_type in synthea_source.resource_types()
        if resource_type not in synthea_source.DIRECTORY_TYPES | {"Patient"}
    ]
    for resource_type in sorted(
        records, key=lambda resource_type: (resource_type != "Encounter", resource_type)
    ):
        for resource in synthea_source.read_resources(resource_type):
            if resource_type == "Provenance":
                yield from rewriter.split_provenance(resource)
            else:
                born = births[synthea_source.patient_of(resource)]
                yield fill_in_details(rewriter.rewrite(resource), born, medicines)
    # The records before decide which of them are needed.
    yield from build_practitioners(rewriter.practitioners_at)
    yield from build_added_records(placement.patients)


def write_sample(out: Path) -> int:
    """Write the sample as NDJSON, one file for each type; return the number of resources."""
    out.mkdir(parents=True, exist_ok=True)
    by_type: dict[str, list[bytes]] = {}
    for resource in sample_resources():
        by_type.setdefault(resource["resourceType"], []).append(orjson.dumps(resource))
    for resource_type, lines in by_type.items():
        (out / f"{resource_type}.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    return sum(map(len, by_type.values()))


def _build_patient(patient: Resource) -> Resource:
    patient_id = patient["id"]
    kept = ("gender", "birthDate", "deceasedDateTime", "maritalStatus")
    births = ("multipleBirthBoolean", "multipleBirthInteger")
    return {
        "resourceType": "Patient",
        "id": patient_id,
        "identifier": [{"use": "official", "system": HKID, "value": invent_hkid(patient_id)}],
        "active": True,
        "name": invent_name(patient_id, patient["gender"]).fhir(),
        "telecom": [{"system": "phone", "value": invent_phone(patient_id), "use": "mobile"}],
        **{key: patient[key] for key in (*kept, *births) if key in patient},
        "address": [invent_address(patient_id)],
        "communication": [{"language": _cantonese(), "preferred": True}],
    }


def _cantonese() -> Resource:
    coding = {"system": "urn:ietf:bcp:47", "code": "zh-HK", "display": "Chinese (Hong Kong)"}
    return {"coding": [coding], "text": "Cantonese"}
