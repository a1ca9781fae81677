"""HL7's own validator accepts a patient summary by the profiles of IPS 2.0.0."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import ROOT
from tests.lib.gateway import House, must, observation

pytestmark = pytest.mark.slow
TOOL = ROOT / "tests/clients/hl7_validator"
# The guide, and the extensions that its profiles name.
GUIDES = ("hl7.fhir.uv.ips@2.0.0", "hl7.fhir.uv.extensions.r4@5.3.0-ballot-tc1")


ACTIVE = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
            "code": "active",
        }
    ]
}


@pytest.fixture(scope="module")
def validator(request: pytest.FixtureRequest) -> list[str]:
    """Return the command of the validator, fetched once with the guide's package."""
    if not all(map(shutil.which, ("java", "mvn", "npm"))):
        pytest.skip("HL7's validator needs java, mvn and npm")
    folder = Path(request.config.cache.mkdir("hl7-validator"))
    if not (folder / GUIDES[-1]).is_dir():
        libraries = ["dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}"]
        run("mvn", "-q", "-B", "-f", str(TOOL / "pom.xml"), *libraries)
        for guide in GUIDES:
            pack = ("npm", "pack", "--json", "--pack-destination", str(folder), guide)
            (packed,) = orjson.loads(run(*pack))
            with tarfile.open(folder / packed["filename"]) as archive:
                archive.extractall(folder / guide, filter="data")
        keep_named(folder / GUIDES[1] / "package", folder / GUIDES[0] / "package")
    command = ["java", "-cp", f"{folder / 'lib'}/*", str(TOOL / "Validate.java")]
    return [*command, *(str(folder / guide / "package") for guide in GUIDES)]


def keep_named(package: Path, guide: Path) -> None:
    """Delete the definitions of a package that a guide does not name: there are hundreds."""
    texts = "".join(path.read_text("utf-8") for path in guide.glob("StructureDefinition-*.json"))
    for path in package.glob("*.json"):
        if f"{orjson.loads(path.read_bytes()).get('url')}|" not in texts:
            path.unlink()


def run(*command: str) -> str:
    """Return what a command prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def sparse(kind: str, **more: Any) -> dict[str, Any]:
    """Return a record with nothing but what R4 requires."""
    about = "patient" if kind in ("AllergyIntolerance", "Immunization") else "subject"
    return {
        "resourceType": kind,
        "id": f"sparse-{kind.lower()}",
        about: {"reference": "Patient/pat-1"},
        **more,
    }


def test_hl7s_validator_accepts_a_summary_of_full_and_of_sparse_records(
    furnished: House, validator: list[str], tmp_path: Path
) -> None:
    platform = furnished.system("ehr-commons")
    platform.store({"resourceType": "Medication", "id": "m"})
    platform.store({"resourceType": "Device", "id": "d", "patient": {"reference": "Patient/pat-1"}})
    medicine = {"medicationReference": {"reference": "Medication/m"}}
    for record in (
        # R4's ait-1 wants its state, and no absence of it is taken.
        sparse("AllergyIntolerance", clinicalStatus=ACTIVE),
        sparse("Procedure", status="completed"),
        sparse("MedicationStatement", status="active", **medicine),
        sparse("MedicationRequest", status="active", intent="order", **medicine),
        sparse("DiagnosticReport", status="final", code={"text": "blood count"}),
        sparse("DeviceUseStatement", status="active", device={"reference": "Device/d"}),
        sparse("Flag", status="active", code={"text": "falls"}),
        sparse(
            "Immunization", status="completed", vaccineCode={"text": "influenza"},
            occurrenceDateTime="2025-10-01",
        ),
        sparse("Condition"),
        sparse("CarePlan", status="active", intent="plan"),
        *(
            {
                **sparse("Observation", status="final"),
                "id": f"loinc-{code}",
                "category": observation("", "social-history")["category"],
                "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                "effectiveDateTime": "2026-02-01",
                **value,
            }
            for code, value in (
                ("72166-2", {"valueCodeableConcept": {"text": "never"}}),
                ("82810-3", {"valueCodeableConcept": {"text": "pregnant"}}),
                ("11778-8", {"valueDateTime": "2026-09-01"}),
            )
        ),
        {
            key: value
            for key, value in observation("bare-lab", "laboratory").items()
            if key not in ("valueQuantity", "effectiveDateTime")
        }
        | {"code": {"text": "another"}},
    ):  # fmt: skip
        platform.store(record)
    files = []
    for language in ("en", "zh-HK"):
        answer = must(
            furnished.login("p.pat-1").get(
                "Patient/pat-1/$summary", headers={"Accept-Language": language}
            )
        )
        files.append(tmp_path / f"{language}.json")
        files[-1].write_bytes(answer.content)
    # One without a section that is required is refused: the profiles are held.
    broken = orjson.loads(files[0].read_bytes())
    del broken["entry"][0]["resource"]["section"][0]
    files.append(tmp_path / "broken.json")
    files[-1].write_bytes(orjson.dumps(broken))

    lines = run(*validator, *map(str, files)).splitlines()

    told = [line.rpartition("/")[2] for line in lines if line.startswith("FILE")]
    assert told == ["en.json valid", "zh-HK.json valid", "broken.json faulty"], "\n".join(lines)
