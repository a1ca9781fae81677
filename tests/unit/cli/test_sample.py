"""The sample: chosen from a real export, placed in Hong Kong the same way each time."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ehr_cli.sample import synthea_source
from ehr_cli.sample.hong_kong import HKID, read_setting
from ehr_cli.sample.overlay import sample_patients, sample_resources, write_sample
from ehr_cli.sample.placement import FIRST_PATIENT
from ehr_cli.sample.select import select_lines
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.validation.validate import validate

Resource = dict[str, Any]
# Synthea marks each name with a number: "Isa815", "O'Keefe54".
SYNTHEA_WORD = re.compile(r"[^\W\d][\w'’-]*\d")


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return list(sample_resources())


def test_the_sample_keeps_all_24_types_of_the_export() -> None:
    assert len(synthea_source.resource_types()) == 24


def test_the_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in synthea_source.FOLDER.iterdir()) < 3_500_000


def test_the_committed_lines_are_those_of_the_export(shared_data: Path) -> None:
    chosen = select_lines(shared_data / "synthea-r4-bulk-47")

    assert sorted(chosen) == synthea_source.resource_types()
    for kind, lines in chosen.items():
        assert [orjson.loads(line) for line in lines] == list(synthea_source.read_resources(kind))


def test_the_overlay_is_the_same_each_time(tmp_path: Path, resources: list[Resource]) -> None:
    written = write_sample(tmp_path)

    again = hashlib.sha256()
    once = hashlib.sha256()
    by_type: dict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        by_type[resource["resourceType"]].append(resource)
    for kind in sorted(by_type):
        again.update((tmp_path / f"{kind}.ndjson").read_bytes())
        once.update(b"".join(orjson.dumps(resource) + b"\n" for resource in by_type[kind]))
    assert written == len(resources)
    assert again.hexdigest() == once.hexdigest()


def test_the_resources_of_the_overlay_are_valid(resources: list[Resource]) -> None:
    # One in ten of each type; the demo's load validates every one and refuses none.
    by_type: dict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        by_type[resource["resourceType"]].append(resource)
    for several in by_type.values():
        for resource in several[::10]:
            validate(resource)


def test_every_reference_of_the_overlay_leads_somewhere(resources: list[Resource]) -> None:
    there = {f"{resource['resourceType']}/{resource['id']}" for resource in resources}

    wanted = {
        value
        for resource in resources
        for key, value in _strings(resource)
        if key == "reference" and not value.startswith("#")
    }
    assert wanted <= there


def test_no_synthea_name_is_left(resources: list[Resource]) -> None:
    names = {
        word
        for kind in ("Patient", "Practitioner")
        for person in synthea_source.read_resources(kind)
        for name in person["name"]
        for word in (name["family"], *name.get("given", []))
    }

    found = {word for r in resources for word in SYNTHEA_WORD.findall(_text(r))}
    assert len(names) > 150
    assert not found & names


def test_nothing_american_is_left_of_people_and_places(resources: list[Resource]) -> None:
    american = re.compile(
        r"Massachusetts|hispanic|Medicare|Medicaid|Humana|us-npi|us-ssn|\?identifier="
    )

    found = [word for r in resources for word in american.findall(_text(r))]
    assert found == []


def test_every_patient_has_one_valid_identity_number(resources: list[Resource]) -> None:
    numbers = [
        identifier["value"]
        for resource in _of(resources, "Patient")
        for identifier in resource["identifier"]
        if identifier["system"] == HKID
    ]

    assert len(numbers) == len(set(numbers)) == len(_of(resources, "Patient")) >= 24
    for number in numbers:
        match = re.fullmatch(r"(ZQ\d{6})\(([0-9A])\)", number)
        assert match
        assert JURISDICTION.person_identifier.check_digit(match[1]) == match[2]


def test_every_patient_has_a_name_in_both_scripts_and_an_address_in_one_of_the_districts(
    resources: list[Resource],
) -> None:
    districts = {row["name"] for row in read_setting()["district"]}

    assert len(districts) == 18
    for patient in _of(resources, "Patient"):
        romanised, ideographic = patient["name"]
        assert romanised["text"].isascii()
        assert re.fullmatch(r"[\u4e00-\u9fff]{3}", ideographic["text"])
        assert patient["address"][0]["district"] in districts
        assert "postalCode" not in patient["address"][0]


def test_every_provider_wrote_a_fair_part(resources: list[Resource]) -> None:
    authors = Counter(
        resource["meta"]["source"].rpartition("/")[2] for resource in _of(resources, "Encounter")
    )

    assert sorted(authors) == ["ha-harbour", "ha-lion-rock", "kwun-fong", "st-gabriel"]
    assert min(authors.values()) > sum(authors.values()) / 10


def test_st_gabriel_wrote_nothing_of_the_patient_of_the_demo(resources: list[Resource]) -> None:
    hers = [r for r in resources if f"Patient/{FIRST_PATIENT}" in orjson.dumps(r).decode()]

    assert sample_patients()[0].id == FIRST_PATIENT
    assert len(hers) > 1000
    assert not [r for r in hers if r["meta"]["source"].endswith("st-gabriel")]


def test_there_are_acute_stays_enough_for_the_model(resources: list[Resource]) -> None:
    stays = [r for r in _of(resources, "Encounter") if r["class"]["code"] in ("IMP", "EMER")]

    assert len(stays) >= 100


def test_consents_cover_joining_sharing_research_and_each_kind_of_restriction(
    resources: list[Resource],
) -> None:
    consents = _of(resources, "Consent")
    kinds = Counter(c["category"][0]["coding"][0]["code"] for c in consents)
    selectors = {
        key
        for consent in consents
        if consent["id"].startswith("restriction")
        for key in consent["provision"]
    }

    assert kinds["joining"] == len(sample_patients()) - 2
    assert kinds["sharing"] > 20
    assert kinds["research"] == 1
    assert {"class", "actor", "data", "provision", "extension"} <= selectors


def test_public_hospitals_alone_are_deemed_to_share(resources: list[Resource]) -> None:
    deemed = [o["id"] for o in _of(resources, "Organization") if "extension" in o]

    assert deemed == ["ha-harbour", "ha-lion-rock"]


def _of(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["resourceType"] == kind]


def _text(resource: Resource) -> str:
    return "\n".join(value for _, value in _strings(resource))


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, str):
        yield key, base64.b64decode(value).decode() if key == "data" else value
