"""Inherited facts: a record bears the labels and episodes of what it names, at any depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.index.rows import extract_rows
from ehr_fhir.resource_links import CONTAINERS, list_references
from ehr_gateway.store.inheritance import unindexed_references
from ehr_inbound.bulk_files import store_batches
from ehr_inbound.bulk_files.load import load
from ehr_privacy.consent import Record
from ehr_privacy.consent.inherited_facts import fact_targets, gives_facts
from tests.lib.gateway import (
    House,
    Session,
    condition,
    encounter,
    must,
    observation,
    restriction,
)
from tests.lib.references import naming, reference_paths

Json = dict[str, Any]

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
HIV: Json = {"security": [{"system": ACT_CODE, "code": "HIV"}]}
# Buprenorphine: the rules label it by its code.
OPIOID = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1819"}]}
RELATED = {"meaning": "related", "reference": {"reference": "Encounter/stay"}}


def medication(label: Json | None = None, **elements: Any) -> Json:
    meta = {"meta": label} if label else {}
    return {"resourceType": "Medication", "id": "a-med", **meta, **elements}


def prescription(name: str = "rx", **elements: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/pat-1"},
        "medicationReference": {"reference": "Medication/a-med"},
        **elements,
    }


def dispense(name: str = "given") -> Json:
    return {
        "resourceType": "MedicationDispense",
        "id": name,
        "status": "completed",
        "subject": {"reference": "Patient/pat-1"},
        "medicationCodeableConcept": {"text": "as prescribed"},
        "authorizingPrescription": [{"reference": "MedicationRequest/rx"}],
    }


@pytest.fixture
def ward(furnished: House) -> House:
    """A house whose first patient shares with clinic-c and hides HIV, ETH and a stay from it."""
    furnished.system("ehr-commons").store({"resourceType": "Organization", "id": "clinic-c"})
    furnished.share("clinic-c")
    hospital(furnished).store(encounter("stay"))
    patient = furnished.login("p.pat-1")
    for name, selector in (
        ("hide-hiv", {"securityLabel": HIV["security"]}),
        ("hide-eth", {"securityLabel": [{"system": ACT_CODE, "code": "ETH"}]}),
        ("hide-stay", {"data": [RELATED]}),
    ):
        patient.store(restriction(name, against="Organization/clinic-c", **selector))
    return furnished


def hospital(house: House) -> Session:
    return house.system("hospital-a")


def reads(house: House, address: str) -> int:
    """Return how clinic-c's read of a record is answered."""
    return int(house.system("clinic-c").get(address).status_code)


@pytest.mark.parametrize("labelled", [medication(HIV), medication(code=OPIOID)])
def test_a_prescription_bears_the_labels_of_its_medication(ward: House, labelled: Json) -> None:
    hospital(ward).store(labelled)
    hospital(ward).store(prescription())
    hospital(ward).store(dispense())

    assert reads(ward, "MedicationRequest/rx") == 404
    assert reads(ward, "MedicationDispense/given") == 404
    found = ward.system("clinic-c").ids(
        "MedicationRequest?patient=pat-1&_include=MedicationRequest:medication"
    )
    assert found == []
    assert hospital(ward).get("MedicationRequest/rx").status_code == 200


def test_labels_follow_when_the_medication_changes(ward: House) -> None:
    for body in (medication(), prescription(), dispense()):
        hospital(ward).store(body)
    addresses = ("MedicationRequest/rx", "MedicationDispense/given")
    assert [reads(ward, address) for address in addresses] == [200, 200]

    hospital(ward).store(medication(HIV))
    assert [reads(ward, address) for address in addresses] == [404, 404]

    hospital(ward).store(medication())
    assert [reads(ward, address) for address in addresses] == [200, 200]


def test_labels_end_with_the_reference(ward: House) -> None:
    for body in (medication(HIV), prescription(), dispense()):
        hospital(ward).store(body)
    elsewhere = prescription(medicationReference=None)
    del elsewhere["medicationReference"]
    hospital(ward).store({**elsewhere, "medicationCodeableConcept": {"text": "aspirin"}})

    assert reads(ward, "MedicationRequest/rx") == 200
    assert reads(ward, "MedicationDispense/given") == 200


def test_a_label_in_a_circle_ends_with_what_stated_it(ward: House) -> None:
    """Three records name each other; one of them names the labelled one, until it does not."""
    lab = observation("one", "vital-signs")
    hospital(ward).store(medication(HIV))
    hospital(ward).store(lab)
    hospital(ward).store({**lab, "id": "two", "derivedFrom": [{"reference": "Observation/one"}]})
    hospital(ward).store({**lab, "id": "three", "derivedFrom": [{"reference": "Observation/two"}]})
    circle = {"derivedFrom": [{"reference": "Observation/three"}]}
    extension = [
        {"url": "http://example.org/x", "valueReference": {"reference": "Medication/a-med"}}
    ]
    names = ("Observation/one", "Observation/two", "Observation/three")

    hospital(ward).store({**lab, **circle, "extension": extension})
    assert [reads(ward, name) for name in names] == [404, 404, 404]

    hospital(ward).store({**lab, **circle})
    assert [reads(ward, name) for name in names] == [200, 200, 200]

    hospital(ward).store({**lab, **circle, "meta": HIV})
    assert [reads(ward, name) for name in names] == [404, 404, 404]

    hospital(ward).store({**lab, **circle})
    assert [reads(ward, name) for name in names] == [200, 200, 200]


def test_an_episode_is_the_stay_and_all_that_hangs_on_it(ward: House) -> None:
    part = {"partOf": {"reference": "Encounter/stay"}}
    hospital(ward).store({**encounter("ward"), **part})
    hospital(ward).store({**encounter("bed"), "partOf": {"reference": "Encounter/ward"}})
    hospital(ward).store(encounter("other"))
    for name in ("stay", "ward", "bed", "other"):
        hospital(ward).store(condition(f"on-{name}", name))
    several = observation("several", "vital-signs", encounter="other")
    extension = [{"url": "http://example.org/x", "valueReference": {"reference": "Encounter/bed"}}]
    hospital(ward).store({**several, "extension": extension})

    closed = [f"Encounter/{name}" for name in ("stay", "ward", "bed")]
    closed += [f"Condition/on-{name}" for name in ("stay", "ward", "bed")]
    assert [reads(ward, address) for address in (*closed, "Observation/several")] == [404] * 7
    assert [reads(ward, name) for name in ("Encounter/other", "Condition/on-other")] == [200, 200]

    hospital(ward).store({**encounter("ward")})
    opened = ["Encounter/ward", "Encounter/bed", "Condition/on-ward", "Condition/on-bed"]
    assert [reads(ward, address) for address in (*opened, "Observation/several")] == [200] * 5

    hospital(ward).store({**encounter("other"), **part})
    assert [reads(ward, name) for name in ("Encounter/other", "Condition/on-other")] == [404, 404]


def test_a_transaction_inherits_among_its_entries_in_any_order(ward: House) -> None:
    names = {"rx": "urn:uuid:00000000-0000-4000-8000-000000000001",
             "med": "urn:uuid:00000000-0000-4000-8000-000000000002"}  # fmt: skip
    bodies = {
        "rx": prescription(medicationReference={"reference": names["med"]}),
        "med": medication(HIV),
    }
    entries = [
        {
            "fullUrl": names[name],
            "resource": {key: value for key, value in bodies[name].items() if key != "id"},
            "request": {"method": "POST", "url": bodies[name]["resourceType"]},
        }
        for name in ("rx", "med")
    ]

    answer = must(
        hospital(ward).post(
            "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        )
    ).json()

    address = answer["entry"][0]["response"]["location"].split("/_history")[0]
    address = "/".join(address.split("/")[-2:])
    assert reads(ward, address) == 404


def test_a_third_partys_label_is_handed_on(ward: House) -> None:
    """What another organisation adds closes what names the record, and stays."""
    ward.share("hospital-b")
    lab = observation("one", "vital-signs")
    hospital(ward).store(lab)
    hospital(ward).store({**lab, "id": "two", "derivedFrom": [{"reference": "Observation/one"}]})

    must(ward.system("hospital-b").put({**lab, "meta": HIV}))
    assert reads(ward, "Observation/two") == 404
    must(ward.system("hospital-b").put(lab))
    assert reads(ward, "Observation/two") == 404

    must(hospital(ward).put(lab))
    assert reads(ward, "Observation/two") == 200


NAMING: dict[str, tuple[list[Json], Json, Json]] = {
    "the medicine in words": (
        [medication(HIV)],
        prescription(),
        {**prescription(), "medicationCodeableConcept": {"text": "x"}, "medicationReference": None},
    ),
    "another medicine": (
        [medication(HIV), {**medication(), "id": "b-med"}],
        prescription(),
        prescription(medicationReference={"reference": "Medication/b-med"}),
    ),
    "no stay": (
        [{**encounter("bed"), "partOf": {"reference": "Encounter/stay"}}],
        condition("rec", "bed"),
        {**condition("rec", "bed"), "encounter": None},
    ),
    "another stay": (
        [{**encounter("bed"), "partOf": {"reference": "Encounter/stay"}}],
        condition("rec", "bed"),
        condition("rec", "enc-1"),
    ),
    "nothing that it is derived from": (
        [{**observation("source", "laboratory"), "meta": HIV}],
        {
            **observation("rec", "laboratory"),
            "derivedFrom": [{"reference": "Observation/source"}],
        },
        observation("rec", "laboratory"),
    ),
}


@pytest.mark.parametrize("change", NAMING)
def test_who_drops_a_reference_to_what_closes_anothers_record_does_not_open_it(
    ward: House, change: str
) -> None:
    named, before, after = NAMING[change]
    after = {key: value for key, value in after.items() if value is not None}
    for record in (*named, before):
        hospital(ward).store(record)
    ward.share("hospital-b")
    address = f"{before['resourceType']}/{before['id']}"
    assert reads(ward, address) == 404

    must(ward.system("hospital-b").put(after))

    assert reads(ward, address) == 404
    # Nor does a second version; the author's own does.
    must(ward.system("hospital-b").put({**after, "language": "en"}))
    assert reads(ward, address) == 404
    must(hospital(ward).put(after))
    assert reads(ward, address) == 200


def test_labels_follow_what_a_contained_resource_names(ward: House) -> None:
    hospital(ward).store(medication())
    asked = {**prescription("asked"), "intent": "proposal"}
    record = {**observation("rec", "laboratory"), "contained": [asked]}
    hospital(ward).store({**record, "basedOn": [{"reference": "#asked"}]})
    assert reads(ward, "Observation/rec") == 200

    for label, status in ((HIV, 404), (None, 200)):
        must(hospital(ward).put(medication(label)))
        assert reads(ward, "Observation/rec") == status


def test_every_element_of_every_type_leads_to_its_target() -> None:
    """A record is found by what it names: by a search parameter's rows, or by one beside."""
    count = 0
    for kind in sorted(definitions.resource_types()):
        if kind in CONTAINERS or not gives_facts(kind):
            continue
        for path in reference_paths(kind):
            resource = naming(kind, "new", path, "Encounter/e")
            references = list_references(resource)
            rows = extract_rows(resource)
            rows += unindexed_references(kind, [name for _, name in references], rows)
            targets = {row.values[:2] for row in rows if row.kind == "reference"}

            record = Record(kind, "new", frozenset(), clinical_consent=kind == "Consent")
            assert fact_targets(record, references).records == {("Encounter", "e")}, (kind, path)
            assert ("Encounter", "e") in targets, (kind, path)
            count += 1
    assert count > 600


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_load_inherits_across_its_batches_in_any_order(
    ward: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[int, ...],
    rows: int,
) -> None:
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", rows)
    bodies = (medication(HIV), prescription(), dispense())
    load_bodies(ward, tmp_path / "first.ndjson", [bodies[place] for place in order])

    assert reads(ward, "MedicationRequest/rx") == 404
    assert reads(ward, "MedicationDispense/given") == 404

    load_bodies(ward, tmp_path / "second.ndjson", [medication()])
    assert reads(ward, "MedicationDispense/given") == 200


def test_a_load_that_was_interrupted_inherits_when_it_is_run_again(
    ward: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", 1)
    bodies = [dispense(), prescription(), medication(HIV)]
    clock = iter([1, 2])
    with pytest.raises(RuntimeError):
        load_bodies(ward, tmp_path / "all.ndjson", bodies, lambda: next(clock))

    load_bodies(ward, tmp_path / "all.ndjson", bodies)

    assert reads(ward, "MedicationRequest/rx") == 404
    assert reads(ward, "MedicationDispense/given") == 404


def test_a_load_of_another_organisation_takes_nothing_away(ward: House, tmp_path: Path) -> None:
    lab = observation("one", "vital-signs")
    hospital(ward).store({**lab, "meta": HIV})

    load_bodies(ward, tmp_path / "b.ndjson", [lab], organization="hospital-b")
    assert reads(ward, "Observation/one") == 404
    assert hospital(ward).get("Observation/one").status_code == 200
    assert ward.system("hospital-b").get("Observation/one").status_code == 404

    load_bodies(ward, tmp_path / "a.ndjson", [lab])
    assert reads(ward, "Observation/one") == 200


def load_bodies(
    house: House,
    file: Path,
    bodies: list[Json],
    clock: Callable[[], int] | None = None,
    organization: str = "hospital-a",
) -> None:
    """Load a file of resources; a clock that stops breaks it off."""
    file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    store = house.gateway.store

    def tick() -> int:
        try:
            return clock() if clock else house.clock()
        except StopIteration:
            raise RuntimeError("interrupted") from None

    report = load(store, [file], organization, workers=1, clock=tick)
    assert not report.rejects
