"""Profiles and tags by `$meta-add` and `$meta-delete`: a patch, that opens and closes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, observation

PROFILE = "http://hl7.org/fhir/StructureDefinition/vitalsigns"
TAG = {"system": "http://example.org/tags", "code": "trial"}
LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}


def change(session: Session, how: str, record: str = "Observation/lab-1", **meta: Any) -> Any:
    parameter = {"name": "meta", "valueMeta": meta}
    return session.post(
        f"{record}/$meta-{how}", {"resourceType": "Parameters", "parameter": [parameter]}
    )


def meta_of(answer: Any) -> dict[str, Any]:
    (found,) = must(answer).json()["parameter"]
    return dict(found["valueMeta"])


def test_profiles_and_tags_are_added_once_and_taken_away(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    assert meta_of(change(hospital, "add", profile=[PROFILE], tag=[TAG])) == {
        "profile": [PROFILE], "tag": [TAG],
    }  # fmt: skip
    again = meta_of(change(hospital, "add", tag=[{**TAG, "display": "Trial"}]))
    assert again == {"profile": [PROFILE], "tag": [TAG]}
    assert hospital.ids(f"Observation?_tag={TAG['system']}|trial") == ["Observation/lab-1"]

    assert meta_of(change(hospital, "delete", tag=[TAG, {"code": "none"}])) == {
        "profile": [PROFILE],
    }  # fmt: skip
    current = must(hospital.get("Observation/lab-1")).json()
    assert "tag" not in current["meta"]
    assert current["valueQuantity"]["value"] == 13.5


def test_the_labels_by_which_a_record_is_closed_stay(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    must(hospital.put({**observation("lab-1", "laboratory"), "meta": {"security": [LABEL]}}))

    for how in ("add", "delete"):
        assert change(hospital, how, security=[LABEL]).status_code == 403
        assert change(hospital, how, security=[], tag=[TAG]).status_code == 403
    assert meta_of(change(hospital, "add", tag=[TAG])) == {"security": [LABEL], "tag": [TAG]}
    assert meta_of(change(hospital, "delete", tag=[TAG])) == {"security": [LABEL]}


def test_who_may_not_patch_the_record_marks_nothing(furnished: House) -> None:
    reader = furnished.system("hospital-a", "system/*.rs")
    assert change(reader, "add", tag=[TAG]).status_code == 403
    hidden, absent = (
        change(furnished.system("hospital-b"), "add", record, tag=[TAG])
        for record in ("Observation/lab-1", "Observation/none")
    )
    assert hidden.status_code == absent.status_code == 404
    assert hidden.content == absent.content
    current = must(furnished.system("hospital-a").get("Observation/lab-1")).json()
    assert current["meta"]["versionId"] == "1"


@pytest.mark.parametrize(
    "meta",
    [{}, {"tag": []}, {"tag": "x"}, {"source": "x"}, {"tag": ["x"]}, {"profile": [5]}],
)
def test_a_meta_that_is_none_is_refused(furnished: House, meta: dict[str, Any]) -> None:
    answer = change(furnished.system("hospital-a"), "add", **meta)
    assert answer.status_code in (400, 422), answer.text
