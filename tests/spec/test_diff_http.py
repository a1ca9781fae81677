"""`$diff`: the patch between two versions or two resources, of what the reader may see alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must, observation, restriction


def operations(answer: Any) -> list[dict[str, Any]]:
    """Return each operation as name -> value of its parts."""
    return [
        {
            part["name"]: next(value for key, value in part.items() if key != "name")
            for part in operation["part"]
        }
        for operation in must(answer).json().get("parameter", [])
    ]


@pytest.fixture
def changed(furnished: House) -> House:
    """Return a house in which the value of lab-1 was changed, and then its status."""
    hospital = furnished.system("hospital-a")
    for change in (
        {"valueQuantity": {"value": 14.5, "unit": "g/dL"}},
        {"valueQuantity": {"value": 14.5, "unit": "g/dL"}, "status": "amended"},
    ):
        body = observation("lab-1", "laboratory", encounter="enc-1")
        must(hospital.put({**body, **change}))
    return furnished


STATUS = {"type": "replace", "path": "Observation.status", "value": "amended"}
VALUE = {"type": "replace", "path": "Observation.value.value", "value": 14.5}


def test_the_last_change_of_a_resource_and_all_since_a_version(changed: House) -> None:
    hospital = changed.system("hospital-a")
    address = "Observation/lab-1/$diff"

    assert operations(hospital.get(address)) == [STATUS]
    assert operations(hospital.get(f"{address}?fromVersion=1")) == [STATUS, VALUE]
    assert operations(hospital.get(f"{address}?fromVersion=3")) == []


def test_meta_is_compared_when_it_is_asked_for(changed: House) -> None:
    hospital = changed.system("hospital-a")
    paths = {
        one["path"] for one in operations(hospital.get("Observation/lab-1/$diff?includeMeta=true"))
    }
    assert {"Observation.meta.versionId", "Observation.status"} <= paths


def test_two_resources_or_versions_by_their_addresses(changed: House) -> None:
    hospital = changed.system("hospital-a")
    versions = "from=Observation/lab-1/_history/1&to=Observation/lab-1/_history/2"
    assert operations(hospital.get(f"$diff?{versions}")) == [VALUE]

    sent = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "from", "valueUri": "Observation/lab-2"},
            {"name": "to", "valueUri": "Observation/lab-1/_history/1"},
        ],
    }
    added = {"type": "add", "path": "Observation", "name": "encounter"}
    assert operations(hospital.post("$diff", sent)) == [
        {**added, "value": {"reference": "Encounter/enc-1"}}
    ]


def test_the_answer_is_a_patch_that_a_patch_takes(changed: House) -> None:
    hospital = changed.system("hospital-a")
    current = must(hospital.get("Observation/lab-1")).json()
    back = "from=Observation/lab-1&to=Observation/lab-1/_history/1"
    patch = must(hospital.get(f"$diff?{back}")).json()
    media = {"Content-Type": "application/fhir+json"}
    must(hospital.request("PATCH", "Observation/lab-1", json=patch, headers=media))

    first = must(hospital.get("Observation/lab-1/_history/1")).json()
    now = must(hospital.get("Observation/lab-1")).json()
    assert {**now, "meta": {}} == {**first, "meta": {}} != {**current, "meta": {}}


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("Observation/lab-2/$diff", 404),
        ("Observation/lab-1/$diff?fromVersion=9", 404),
        ("Observation/lab-1/$diff?fromVersion=0", 404),
        ("Observation/lab-1/$diff?fromVersion=-1", 400),
        ("Observation/none/$diff", 404),
        ("$diff?from=Observation/lab-1", 400),
        ("$diff?from=Observation/lab-1&to=Encounter/enc-1", 400),
        ("$diff?from=Observation/lab-1&to=Observation/lab-2/_history/x", 400),
        ("$diff?from=Observation/lab-1&to=Observation", 400),
        ("$diff?from=Observation/lab-1&to=https://elsewhere.example/Observation/1", 400),
        ("Observation/lab-1/$diff?includeMeta=perhaps", 400),
    ],
)
def test_what_cannot_be_compared_is_refused(changed: House, address: str, status: int) -> None:
    answer = changed.system("hospital-a").get(address)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


def test_a_hidden_side_is_answered_like_one_that_is_not_there(changed: House) -> None:
    changed.share()
    changed.login("p.pat-1").store(restriction("close-1", record="Observation/lab-1"))
    reader = changed.login("doctor.b")
    assert reader.get("Observation/lab-2").status_code == 200

    for other in ("lab-1", "none"):
        for pair in (("lab-2", other), (other, "lab-2")):
            answer = reader.get("$diff?from=Observation/{}&to=Observation/{}".format(*pair))
            assert answer.status_code == 404
            assert other not in answer.text
        assert reader.get(f"Observation/{other}/$diff?fromVersion=1").status_code == 404


def test_an_earlier_version_that_was_closed_by_its_label_is_not_told_by_the_difference(
    furnished: House,
) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
    labelled = {**observation("lab-1", "laboratory"), "meta": {"security": [label]}}
    hospital = furnished.system("hospital-a")
    must(hospital.put(labelled))
    must(hospital.put(observation("lab-1", "laboratory")))
    furnished.share()
    close = restriction("close-hiv", securityLabel=[label])
    furnished.login("p.pat-1").store(close)
    reader = furnished.login("doctor.b")

    read = reader.get("Observation/lab-1/_history/2").status_code
    assert reader.get("Observation/lab-1/$diff").status_code == read == 404
