"""Parts of resources: what a summary or a list of elements keeps."""

from __future__ import annotations

import orjson
import pytest

from ehr_fhir import definitions
from ehr_fhir.subset import Subset, parse_elements

SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}
OBSERVATION = b"""{"resourceType": "Observation", "id": "1",
 "meta": {"versionId": "2", "tag": [{"code": "mine"}]},
 "text": {"status": "generated", "div": "<div>x</div>"},
 "status": "final", "code": {"text": "x"}, "note": [{"text": "y"}],
 "valueQuantity": {"value": 1.50}, "_effectiveDateTime": {"id": "e"},
 "component": [{"id": "c", "code": {"text": "z"}, "interpretation": [{"text": "high"}]}],
 "referenceRange": [{"text": "r"}]}"""


@pytest.mark.parametrize(
    ("subset", "keys"),
    [
        (Subset("true"), "status code valueQuantity _effectiveDateTime component"),
        (Subset("text"), "text status code"),
        (
            Subset("data"),
            "status code note valueQuantity _effectiveDateTime component referenceRange",
        ),
        (Subset(elements=frozenset({"value", "note"})), "status code note valueQuantity"),
        (Subset(elements=frozenset({"effective"})), "status code _effectiveDateTime"),
    ],
)
def test_a_subset_keeps_these(subset: Subset, keys: str) -> None:
    found = orjson.loads(subset.cut(OBSERVATION))

    assert set(found) == {"resourceType", "id", "meta", *keys.split()}
    assert found["meta"] == {"versionId": "2", "tag": [{"code": "mine"}, SUBSETTED]}


def test_a_summary_cuts_the_parts_of_an_element_too() -> None:
    found = orjson.loads(Subset("true").cut(OBSERVATION))

    assert found["component"] == [{"id": "c", "code": {"text": "z"}}]


def test_a_subset_keeps_every_digit() -> None:
    assert b'"value":1.50' in Subset("true").cut(OBSERVATION)


def test_the_mark_is_set_once() -> None:
    once = Subset("data").cut(OBSERVATION)

    assert Subset("data").cut(once) == once


def test_what_modifies_the_meaning_stays() -> None:
    patient = b'{"resourceType": "Patient", "active": false, "gender": "male", "name": [{}]}'

    found = orjson.loads(Subset(elements=parse_elements("Patient", "name")).cut(patient))

    assert set(found) == {"resourceType", "meta", "name", "active"}


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_every_type_has_a_summary(kind: str) -> None:
    assert {"id", "meta"} <= definitions.marked_elements(kind, "isSummary")
    assert "implicitRules" in definitions.marked_elements(kind, "isModifier")
