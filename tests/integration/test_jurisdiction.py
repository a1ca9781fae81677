"""The platform in a place that does not exist: its facts come from its file, in every part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def ruritania(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    place = ROOT / "tests" / "data" / "jurisdictions" / "ruritania.toml"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.lib.facts_of_place", str(tmp_path_factory.mktemp("data"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "EHR_JURISDICTION": str(place)},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    answers: dict[str, object] = json.loads(ran.stdout)
    return answers


def test_the_audit_log_s_origin_lies_below_the_base_of_the_place(
    ruritania: dict[str, object],
) -> None:
    assert ruritania["audit_origin"] == "records.ruritania.example/audit"


def test_the_author_is_read_from_the_place_s_own_address(ruritania: dict[str, object]) -> None:
    """A program of no organisation may not write for the hospital that `meta.source` names."""
    assert ruritania["written"] == 422
    assert "meta.source" in json.dumps(ruritania["outcome"])


def test_a_day_of_consent_is_a_day_of_the_place_s_zone(ruritania: dict[str, object]) -> None:
    # Midnight in Prague on 1 July is 22:00 UTC of 30 June.
    assert ruritania["since"] == 1_593_554_400_000
    assert ruritania["day"] == "2020-07-01T00:00:00+02:00"


def test_languages_regions_and_identity_numbers_are_the_place_s(
    ruritania: dict[str, object],
) -> None:
    assert ruritania["languages"] == ["en"]
    assert ruritania["region"] == "Highlands"
    assert ruritania["identifier"] is True


def test_no_part_names_a_fact_of_hong_kong() -> None:
    """The sample is a fictional Hong Kong and says so; no other part names the place."""
    facts = (
        "Asia/Hong_Kong",
        "+08:00",
        "ehr-commons.hk",
        "zh-Hant-HK",
        '"HK"',
        "Hong Kong",
        "HKID",
    )
    found = []
    for folder in ("fhir-gateway", "privacy", "etl", "analytics", "models", "portal", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "sample" in path.parts or path.name == "jurisdiction.py":
                continue
            found += [
                f"{path.relative_to(ROOT)}:{number}"
                for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
                if any(fact in line for fact in facts) and not _is_example(path, number)
            ]
    assert found == []


def _is_example(path: Path, number: int) -> bool:
    """Say whether a line is a doctest or what it answers; examples are of the place that ships."""
    lines = path.read_text("utf-8").splitlines()
    near = lines[max(0, number - 6) : number]
    return any(line.lstrip().startswith((">>>", "...")) for line in near)
