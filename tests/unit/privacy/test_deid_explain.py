"""The compiled rules and the plain ones give the same; the plain ones say why."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ehr_fhir.definitions import json_elements
from ehr_privacy.deid import (
    Deidentifier,
    ElementFate,
    People,
    Person,
    explain_resource,
    load_rules,
)

COMPILED = Deidentifier(load_rules(), b"k" * 32)
PEOPLE = People({"p1": Person("p1", "1930-05-17"), "p2": Person("p1")})

TEXTS = st.sampled_from(
    [
        *("2020-03-02", "2020-03-02T10:00:00+08:00", "2020", "entered-in-error", "final", "active"),
        *("finished", "completed", "Patient/p1", "Patient/p2", "Encounter/e", "#m", "years", "mg"),
        *("http://unitsofmeasure.org", "http://loinc.org", "30525-0", "http://snomed.info/sct"),
        *("840539006", "73211009", "confirmed", "order", "Chan", "<", "about", "a", "/44250-9"),
    ]
)
SCALARS = st.one_of(TEXTS, st.integers(-5, 2000), st.booleans(), st.none(), st.floats(0, 200))


def values(depth: int) -> st.SearchStrategy[Any]:
    """Draw JSON with the names that datatypes have."""
    if depth == 0:
        return SCALARS
    names = st.sampled_from(
        [
            *("coding", "system", "code", "value", "unit", "comparator", "start", "end", "low"),
            *("high", "reference", "status", "text", "linkId", "answer", "valueQuantity", "item"),
            *("verificationStatus", "id", "modifierExtension", "detail", "valueCoding", "type"),
        ]
    )
    inner = values(depth - 1)
    return st.one_of(
        SCALARS, st.dictionaries(names, inner, max_size=4), st.lists(inner, max_size=3)
    )


@st.composite
def resources(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(load_rules().types)))
    names = sorted(json_elements(kind))
    chosen = draw(st.lists(st.sampled_from(names), max_size=8, unique=True))
    made = {name: draw(values(3)) for name in chosen}
    made.setdefault("subject", {"reference": "Patient/p2"})
    return {"resourceType": kind, **made}


@settings(max_examples=120)
@example({"resourceType": "Patient", "id": {}, "gender": "female"})
@example({"resourceType": "Provenance", "target": 1})
@given(resources())
def test_compiled_and_plain_rules_give_the_same(resource: dict[str, Any]) -> None:
    assert explain_resource(COMPILED, resource, PEOPLE).resource == COMPILED.scrub(resource, PEOPLE)


def sample(shared_data: Path) -> Iterator[dict[str, Any]]:
    """Yield the first hundred records of each type of the sample."""
    for path in sorted((shared_data / "synthea-r4-bulk-47").glob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number == 100:
                    break
                yield json.loads(line)


def test_they_give_the_same_of_every_record_of_the_sample(shared_data: Path) -> None:
    count = 0
    for resource in sample(shared_data):
        explained = explain_resource(COMPILED, resource)
        assert explained.resource == COMPILED.scrub(resource)
        count += 1
    assert count > 1000


def test_the_fate_of_each_element_is_told() -> None:
    resource = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "subject": {"reference": "Patient/p1", "display": "CHAN Tai Man"},
        "effectiveDateTime": "2020-03-02T10:00:00+08:00",
        "issued": "2020-03-02T10:00:00+08:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": "30525-0"}], "text": "Age"},
        "valueQuantity": {"value": 97, "unit": "years"},
        "note": [{"text": "Mr Chan"}],
    }

    fates = set(explain_resource(COMPILED, resource, PEOPLE).fates)

    assert fates >= {
        ElementFate("Observation.id", "changed", "pseudonym"),
        ElementFate("Observation.status", "kept", "one of 9 codes"),
        ElementFate("Observation.subject.reference", "changed", "reference"),
        ElementFate("Observation.subject.display", "dropped", "no rule"),
        ElementFate("Observation.effectiveDateTime", "changed", "dateshift"),
        ElementFate("Observation.issued", "dropped", "no rule"),
        ElementFate("Observation.code.text", "dropped", "no rule"),
        ElementFate("Observation.note", "dropped", "no rule"),
        ElementFate("Observation.extension", "made", "the age at the event"),
        ElementFate(
            "Observation.valueQuantity.value", "changed", "an age or birth date that is told"
        ),
    }


@pytest.mark.parametrize(
    ("resource", "path", "rule"),
    [
        ({"resourceType": "Consent"}, "Consent", "type not listed"),
        (
            {"resourceType": "Goal", "lifecycleStatus": "entered-in-error"},
            "Goal.lifecycleStatus",
            "a modifier whose value is not known",
        ),
        (
            {
                "resourceType": "Condition",
                "verificationStatus": {"coding": [{"code": "entered-in-error"}]},
            },
            "Condition.verificationStatus",
            "entered in error",
        ),
        (
            {"resourceType": "Goal", "modifierExtension": [{}]},
            "Goal.modifierExtension",
            "may turn the meaning",
        ),
    ],
)
def test_what_drops_a_record_is_told(resource: dict[str, Any], path: str, rule: str) -> None:
    explained = explain_resource(COMPILED, resource)

    assert explained.resource is None
    assert explained.fates[-1] == ElementFate(path, "drops the record", rule)


def test_every_element_of_a_record_has_a_fate(shared_data: Path) -> None:
    for resource in sample(shared_data):
        paths = {fate.path.split("[")[0] for fate in explain_resource(COMPILED, resource).fates}
        for name in resource.keys() - {"resourceType"}:
            below = f"{resource['resourceType']}.{name}"
            assert any(path == below or path.startswith(f"{below}.") for path in paths), below
