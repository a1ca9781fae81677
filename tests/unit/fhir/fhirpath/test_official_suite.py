"""HL7's official R4 suite passes but for the cases listed with a reason."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.lib import fhirpath_suite

KNOWN = tomllib.loads((Path(__file__).parent / "known_failures.toml").read_text("utf-8"))


def test_the_official_suite_fails_in_exactly_the_listed_cases(shared_data: Path) -> None:
    folder = shared_data / "fhirpath-r4"

    cases = list(fhirpath_suite.cases(folder))
    failing = {
        case.name: reason for case in cases if (reason := fhirpath_suite.failure(case, folder))
    }

    assert len(cases) == KNOWN["cases"]
    assert failing.keys() == KNOWN["failing"].keys(), failing


def test_every_listed_failure_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in KNOWN["failing"].values())
