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
from ehr_cli.sample.added_records import build_added_records, read_added_records
from ehr_cli.sample.details import SOCIAL
from ehr_cli.sample.hong_kong import HKID, read_setting
from ehr_cli.sample.overlay import sample_patients, sample_resources, write_sample
from ehr_cli.sample.placement import FIRST_PATIENT
from ehr_cli.sample.sample_accounts import CARER
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


def test_the_sample_grew_by_little() -> None:
    folder = synthea_source.FOLDER.parent
    files = [*folder.glob("*.toml"), *(folder / "attachments").iterdir()]

    assert sum(path.stat().st_size for path in files) < 40_000


def test_every_order_says_how_the_medicine_is_taken(resources: list[Resource]) -> None:
    orders = _of(resources, "MedicationRequest")
    dosages = [dosage for order in orders for dosage in order["dosageInstruction"]]

    assert len(orders) == 717
    for dosage in dosages:
        dose = dosage["doseAndRate"][0]["doseQuantity"]
        assert dose["value"] > 0 and dose["unit"] and dose["code"]
        route = dosage["route"]
        assert route.get("text") or route["coding"][0]["system"].endswith("RouteOfAdministration")
        needed = dosage.get("asNeededBoolean") or "asNeededCodeableConcept" in dosage
        assert "maxDosePerPeriod" in dosage if needed else dosage["timing"]["repeat"]
    assert all("requester" in order for order in orders)
    reasons = [order for order in orders if {"reasonCode", "reasonReference"} & set(order)]
    assert len(reasons) > 0.8 * len(orders)


def test_results_have_a_range_and_a_flag_that_agrees_with_it(resources: list[Resource]) -> None:
    flags: Counter[str] = Counter()
    for result in _of(resources, "Observation"):
        if "interpretation" not in result:
            continue
        flag = result["interpretation"][0]["coding"][0]["code"]
        (limits,) = result["referenceRange"]
        value = result["valueQuantity"]["value"]
        low, high = (limits.get(end, {}).get("value") for end in ("low", "high"))
        assert (low is not None and value < low) == (flag in ("L", "LL"))
        assert (high is not None and value > high) == (flag in ("H", "HH"))
        flags[flag] += 1

    assert {"N", "L", "H", "LL", "HH"} == set(flags)


def test_severe_reactions_of_drugs_and_food_are_there(resources: list[Resource]) -> None:
    severe = [
        allergy
        for allergy in _of(resources, "AllergyIntolerance")
        for reaction in allergy.get("reaction", ())
        if reaction.get("severity") == "severe" and reaction["manifestation"]
    ]

    assert {"medication", "food"} <= {c for allergy in severe for c in allergy["category"]}
    # One whose criticality says less than its reaction.
    assert any(allergy["criticality"] == "low" for allergy in severe)


def test_appointments_are_past_and_to_come(resources: list[Resource]) -> None:
    today = read_added_records()["today"]
    hers = [
        a for a in _of(resources, "Appointment") if synthea_source.patient_of(a) == FIRST_PATIENT
    ]

    states = {(a["status"], a["start"][:10] < today) for a in hers}
    assert {
        ("fulfilled", True),
        ("noshow", True),
        ("booked", False),
        ("cancelled", False),
    } <= states


def test_the_ward_has_complete_and_incomplete_rounds(resources: list[Resource]) -> None:
    stays = {
        f"Encounter/{e['id']}": e
        for e in _of(resources, "Encounter")
        if e["status"] == "in-progress"
    }
    rounds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sign in _of(resources, "Observation"):
        stay = sign.get("encounter", {}).get("reference")
        if stay in stays and sign["category"][0]["coding"][0]["code"] == "vital-signs":
            rounds[stay, sign["effectiveDateTime"]].add(sign["code"]["coding"][0]["code"])

    whole = {"9279-1", "59408-5", "3151-8", "85354-9", "8867-4", "8310-5", "67775-7"}
    assert len(stays) == 6
    assert len({stay for stay, _ in rounds}) == 6
    assert sum(found == whole for found in rounds.values()) >= 6
    assert sum(found < whole for found in rounds.values()) >= 2


def test_the_patient_of_the_demo_has_what_the_pages_show(resources: list[Resource]) -> None:
    hers = [r for r in resources if synthea_source.patient_of(r) == FIRST_PATIENT]
    kinds = {r["resourceType"] for r in hers}
    authors = {r["meta"]["source"].rpartition("/")[2] for r in hers}

    assert {"Appointment", "CarePlan", "Goal", "ImagingStudy", "Media"} <= kinds
    assert len(authors - {"ehr-commons"}) >= 3
    documents = {
        content["attachment"]["contentType"].partition(";")[0]
        for r in hers
        if r["resourceType"] == "DocumentReference"
        for content in r["content"]
    }
    assert {"application/pdf", "text/markdown", "text/plain"} <= documents


def test_the_picture_and_the_pdf_are_whole(resources: list[Resource]) -> None:
    (media,) = _of(resources, "Media")
    picture = base64.b64decode(media["content"]["data"])
    width, height = (int.from_bytes(picture[i : i + 4]) for i in (16, 20))

    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and picture.endswith(b"IEND\xaeB`\x82")
    assert (width, height) == (media["width"], media["height"])
    pdf = (synthea_source.FOLDER.parent / "attachments" / "letter.pdf").read_bytes()
    place = int(pdf.rstrip().split(b"\n")[-2])
    assert pdf.startswith(b"%PDF-1.4") and pdf[place : place + 4] == b"xref"
    for number in range(1, 6):
        offset = int(pdf[place:].splitlines()[2 + number].split()[0])
        assert pdf[offset:].startswith(b"%d 0 obj" % number)


def test_children_have_carers_and_one_has_an_account(resources: list[Resource]) -> None:
    carers = _of(resources, "RelatedPerson")
    powers = [c for c in _of(resources, "Consent") if c["id"].startswith("carer-")]
    births = {p["id"]: p["birthDate"] for p in _of(resources, "Patient")}

    assert len(carers) >= 3
    assert all(births[synthea_source.patient_of(c)] > "2010" for c in carers)
    (account,) = [p["provision"]["actor"][0]["reference"]["identifier"] for p in powers]
    assert account["value"] == CARER.login


def test_circumstances_of_life_are_marked(resources: list[Resource]) -> None:
    social = {c["code"]["text"] for c in _of(resources, "Condition") if SOCIAL in c["category"]}

    assert "Full-time employment (finding)" in social
    assert not {text for text in social if text.endswith("(disorder)")}


def test_the_added_records_are_valid(resources: list[Resource]) -> None:
    added = list(build_added_records([patient.id for patient in sample_patients()]))

    assert len(added) > 100
    for resource in added:
        validate(resource)


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
        # A picture or a PDF is no text; what could be read of it is still looked at.
        yield key, base64.b64decode(value).decode(errors="replace") if key == "data" else value
