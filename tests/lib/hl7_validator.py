"""HL7's Java validator as a process, fetched once by Maven into the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.json_text import serialize
from tests.lib.us_core import UsCore

_SOURCE = Path(__file__).parents[1] / "data" / "hl7-validator"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
_FOLDER = _CACHE / "ehr-commons" / "hl7-validator-7.4.5"
_MINUTES = 15

# Of one message: severity, its id in HL7's validator, the place and the text.
Message = Mapping[str, str]


def run_hl7_validator(
    us_core: UsCore, resources: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, list[Message]]:
    """Return the messages on each resource by its name; skip where there is no Java or Maven."""
    classes = _fetch()
    definitions = folder / "definitions"
    definitions.mkdir()
    for index, one in enumerate(_definitions(us_core)):
        name = f"{one['resourceType']}-{index}.json"
        (definitions / name).write_bytes(serialize(one))
    names = {}
    for index, (name, resource) in enumerate(resources.items()):
        path = folder / f"{index}.json"
        path.write_bytes(serialize(resource))
        names[str(path)] = name
    listing = folder / "files.txt"
    listing.write_text("\n".join(names), encoding="utf-8")
    command = ["java", "-Xmx2g", "-cp", classes, "Validate", str(definitions), str(listing)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=_MINUTES * 60)
    answers = (json.loads(line) for line in done.stdout.splitlines())
    return {names[answer["file"]]: answer["messages"] for answer in answers}


def _definitions(us_core: UsCore) -> Iterable[Mapping[str, Any]]:
    return (*us_core.structures.values(), *us_core.terminology.values())


def _fetch() -> str:
    """Return the class path; fetch the artifacts and compile the program where it is not there."""
    if not all(shutil.which(program) for program in ("java", "javac", "mvn")):
        pytest.skip("HL7's validator needs java, javac and mvn")
    classes = f"{_FOLDER}/lib/*:{_FOLDER}/classes"
    if not (_FOLDER / "lib").is_dir():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        fetch = ["mvn", "-q", "-B", "-f", str(_SOURCE / "pom.xml"), "dependency:copy-dependencies"]
        target = f"-DoutputDirectory={_FOLDER / 'fetching'}"
        if subprocess.run([*fetch, target], capture_output=True, check=False).returncode:
            pytest.skip("HL7's validator could not be fetched from Maven Central")
        (_FOLDER / "fetching").rename(_FOLDER / "lib")
    compile_it = ["javac", "-cp", classes, "-d", str(_FOLDER / "classes")]
    subprocess.run([*compile_it, str(_SOURCE / "Validate.java")], capture_output=True, check=True)
    return classes
