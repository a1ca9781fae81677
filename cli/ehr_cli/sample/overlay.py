"""Place the Synthea sample in Hong Kong: the same input always gives the same output.

It changes who and where: names, identity numbers, addresses, organisations, staff. It does not
touch what happened: codes, values and dates are Synthea's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from ehr_cli.sample import synthea_source
from ehr_cli.sample.consents import consents
from ehr_cli.sample.directory import organizations, practitioners, sites
from ehr_cli.sample.hong_kong import HKID, Name, address, hkid, person_name, phone
from ehr_cli.sample.placement import place
from ehr_cli.sample.rewrite import Rewriter, written_by

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
        """Return what must never be found in a de-identified file."""
        bare = self.hkid.replace("(", "").replace(")", "")
        names = (self.name.text, self.name.text_zh)
        return frozenset({self.id, self.hkid, bare, self.phone, *names, *self.lines})


@cache
def patients() -> tuple[SamplePatient, ...]:
    """Return the patients; the first is "the patient" of the demo."""
    gender = {patient["id"]: patient["gender"] for patient in synthea_source.read("Patient")}
    return tuple(
        SamplePatient(p, hkid(p), person_name(p, gender[p]), phone(p), tuple(address(p)["line"]))
        for p in place().patients
    )


def overlay() -> Iterator[Resource]:
    """Yield every resource of the sample, what is pointed to before what points."""
    placement = place()
    rewriter = Rewriter(placement)
    yield from organizations()
    yield from sites()
    for medication in synthea_source.read("Medication"):
        yield written_by(medication, "ehr-commons")
    for patient in synthea_source.read("Patient"):
        yield written_by(_patient(patient), placement.main[patient["id"]])
    notes = {
        synthea_source.patient_of(note): f"DocumentReference/{note['id']}"
        for note in synthea_source.read("DocumentReference")
    }
    yield from consents(placement.patients, notes)
    records = [
        kind
        for kind in synthea_source.types()
        if kind not in synthea_source.DIRECTORY | {"Patient"}
    ]
    for kind in sorted(records, key=lambda kind: (kind != "Encounter", kind)):
        for resource in synthea_source.read(kind):
            if kind == "Provenance":
                yield from rewriter.provenances(resource)
            else:
                yield rewriter.record(resource)
    # Last, because the records tell which of them are needed.
    yield from practitioners(rewriter.met)


def write_overlay(out: Path) -> int:
    """Write the sample as NDJSON, one file for each type; return the number of resources."""
    out.mkdir(parents=True, exist_ok=True)
    by_type: dict[str, list[bytes]] = {}
    for resource in overlay():
        by_type.setdefault(resource["resourceType"], []).append(orjson.dumps(resource))
    for kind, lines in by_type.items():
        (out / f"{kind}.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    return sum(map(len, by_type.values()))


def _patient(patient: Resource) -> Resource:
    identity = patient["id"]
    kept = ("gender", "birthDate", "deceasedDateTime", "maritalStatus")
    births = ("multipleBirthBoolean", "multipleBirthInteger")
    return {
        "resourceType": "Patient",
        "id": identity,
        "identifier": [{"use": "official", "system": HKID, "value": hkid(identity)}],
        "active": True,
        "name": person_name(identity, patient["gender"]).fhir(),
        "telecom": [{"system": "phone", "value": phone(identity), "use": "mobile"}],
        **{key: patient[key] for key in (*kept, *births) if key in patient},
        "address": [address(identity)],
        "communication": [{"language": _chinese(), "preferred": True}],
    }


def _chinese() -> Resource:
    coding = {"system": "urn:ietf:bcp:47", "code": "zh-HK", "display": "Chinese (Hong Kong)"}
    return {"coding": [coding], "text": "Cantonese"}
