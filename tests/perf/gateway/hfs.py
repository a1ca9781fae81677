"""The reference server, helios-hfs: built once from its crate, and the definitions it reads."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import orjson

__all__ = ["VERSION", "program", "write_definitions"]

VERSION = "0.2.7"
_PLACE = Path.home() / ".cache" / "ehr-commons" / f"helios-hfs-{VERSION}"


def program() -> Path:
    """Return the server: HELIOS, or the one built before, or build it."""
    named = os.environ.get("HELIOS")
    found = Path(named) if named else _PLACE / "bin" / "hfs"
    if found.exists():
        return found.resolve()
    if named:
        raise SystemExit(f"HELIOS names no file: {named}")
    if shutil.which("cargo") is None:
        raise SystemExit("The reference server is built by cargo (rustup.rs), which is missing.")
    sys.stderr.write(f"Building helios-hfs {VERSION}: about 27 minutes on two cores, once.\n")
    subprocess.run(
        [
            *("cargo", "install", "helios-hfs", "--version", VERSION, "--locked"),
            *("--no-default-features", "--features", "R4,sqlite", "--root", str(_PLACE)),
        ],
        check=True,
    )
    return found


def write_definitions(folder: Path) -> None:
    """Write the official search parameters and the patient's compartment as it wants them."""
    folder.mkdir(parents=True)
    official = resources.files("ehr_fhir.definitions")
    parameters = gzip.decompress((official / "search-parameters.json.gz").read_bytes())
    (folder / "search-parameters-r4.json").write_bytes(parameters)
    patient = orjson.loads((official / "patient-compartment.json").read_bytes())
    definition = {
        "resourceType": "CompartmentDefinition",
        "id": "patient",
        "url": "http://hl7.org/fhir/CompartmentDefinition/patient",
        "name": "Patient",
        "status": "draft",
        "code": "Patient",
        "search": True,
        "resource": [{"code": kind, "param": codes} for kind, codes in patient.items()],
    }
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": definition}]}
    (folder / "compartment-definitions-r4.json").write_bytes(orjson.dumps(bundle))
