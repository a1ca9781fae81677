"""Validation never takes what an independent model refuses, whatever is changed in a resource.

The model is fhir.resources, of R4B. And the quick yes is never said to what the full check refuses.
"""

from __future__ import annotations

import copy
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel

from ehr_cli.sample import synthea_source
from ehr_fhir import definitions
from ehr_fhir.json_text import parse
from ehr_fhir.validation import strict
from ehr_fhir.validation.fast import is_valid_fast

Place = tuple[dict[str, Any] | list[Any], Any]

# What a client may have put where it does not belong.
VALUES: tuple[Any, ...] = (
    "", "x", " x", "a b", "a  b", "2020", "2020-02-30", "2020-13", "2020-01-01T25:00:00Z",
    "2020-01-01T10:00:00", "2020-01-01T10:00:00Z", "2020-01-01T10:00:00.1234567+08:00", "T",
    "24:00:00", "http://a", "http://", "urn:uuid:1", "urn:oid:1.2", "AAAA", "AAA", "A===",
    0, 1, -1, 1.5, 2**31, True, False, None, [], {}, [None], ["x"], {"a": 1}, {"id": "x"},
    {"extension": [{"url": "u"}]}, "<div>", "x" * 300, "male", "\u00a0x", "0001-01-01", 10**30,
)  # fmt: skip
EXTRA = (
    "value", "valueString", "valueInteger", "_valueString", "extra", "id", "_id", "extension",
    "deceasedBoolean", "onsetString", "effectiveDateTime", "resourceType", "contained",
)  # fmt: skip


def resources() -> list[dict[str, Any]]:
    """Return some resources of each type of the sample."""
    found = []
    for kind in synthea_source.resource_types():
        found += [
            one for _, one in zip(range(12), synthea_source.read_resources(kind), strict=False)
        ]
    return found


def places(node: Any) -> Iterator[Place]:
    """Yield every element as what holds it and its key there."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def change(resource: dict[str, Any], chance: random.Random) -> None:
    """Change one element: take it out, put another value in, wrap it, or add one beside it."""
    holder, key = chance.choice(list(places(resource)))
    way = chance.randrange(5)
    if way == 0:
        del holder[key]
    elif way == 1:
        holder[key] = [holder[key]]
    elif way == 2 and isinstance(holder, dict):
        holder[chance.choice((*EXTRA, f"_{key}"))] = chance.choice(VALUES)
    else:
        holder[key] = chance.choice(VALUES)


def model_of(kind: str) -> type[BaseModel] | None:
    """Return the model of a type, unless R4B dropped the type or gave it another shape."""
    if kind in ("Evidence", "EvidenceVariable"):
        return None
    try:
        found: type[BaseModel] = get_fhir_model_class(kind)
    except (KeyError, ValueError):
        return None
    return found


def refused_by_model(resource: dict[str, Any]) -> str | None:
    """Say why the model refuses a resource."""
    model = model_of(resource["resourceType"])
    try:
        if model is not None:
            model.model_validate(resource)
    # The models' own hooks stumble over some wrong shapes, such as a number for an object.
    except Exception as error:
        return str(error)
    return None


def refused(resource: dict[str, Any]) -> str | None:
    """Say why R4's definitions, or else the model, refuse a resource."""
    issues = strict.find_issues(resource["resourceType"], resource)
    return str(issues[0]) if issues else refused_by_model(resource)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_sound_is_refused_by_nothing(seed: int) -> None:
    chance = random.Random(seed)
    known = resources()
    agreed = 0

    for _ in range(500):
        resource = copy.deepcopy(chance.choice(known))
        for _ in range(chance.choice((1, 1, 2))):
            change(resource, chance)
        kind = resource.get("resourceType")
        if isinstance(kind, str) and kind in definitions.resource_types():
            if is_valid_fast(kind, resource):
                agreed += 1
                assert refused(resource) is None, resource
            elif not strict.find_issues(kind, resource):
                assert refused_by_model(resource) is None, resource

    assert agreed > 50


def test_the_sample_is_sound() -> None:
    unsound = [one["id"] for one in resources() if not is_valid_fast(one["resourceType"], one)]

    assert unsound == []


def test_nearly_all_official_examples_are_sound(shared_data: Path) -> None:
    verdicts = []
    for archive in sorted(shared_data.glob("fhir-r4/examples/*.zip")):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if name.endswith(".json"):
                    one = parse(packed.read(name))
                    verdicts.append(is_valid_fast(one["resourceType"], one))
                    assert not verdicts[-1] or refused(one) is None, name

    assert sum(verdicts) > 0.9 * len(verdicts)


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Patient", {"birthDate": "2021-02-30"}),
        ("Patient", {"deceasedBoolean": True, "deceasedDateTime": "2020"}),
        ("Patient", {"gender": "Male"}),
        ("Patient", {"name": {"family": "Chan"}}),
        ("Patient", {"name": []}),
        ("Patient", {"name": [{}]}),
        ("Patient", {"active": None}),
        ("Patient", {"surname": "Chan"}),
        ("Patient", {"contained": [{"resourceType": "Nothing"}]}),
        ("Patient", {"multipleBirthInteger": True}),
        ("Observation", {"status": "final"}),
        (
            "Observation",
            {"status": "final", "code": {"text": "x"}, "valueQuantity": {"value": "1"}},
        ),
    ],
)
def test_a_fault_gets_no_quick_yes(kind: str, resource: dict[str, Any]) -> None:
    assert not is_valid_fast(kind, {"resourceType": kind, **resource})
