"""Every form of a reference in searches: relative, absolute, versioned, logical, canonical."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.store.store import Store
from tests.lib.store import found, put

PROFILE = "http://a.org/StructureDefinition/p"


def basic(store: Store, identity: str, **elements: Any) -> None:
    put(store, {"resourceType": "Basic", "id": identity, "code": {"text": "x"}, **elements})


@pytest.fixture
def profiled(store: Store) -> Store:
    for identity, version in (("none", ""), ("one", "|1"), ("minor", "|1.2"), ("eleven", "|11")):
        basic(store, identity, meta={"profile": [PROFILE + version]})
    return store


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"_profile={PROFILE}", ["eleven", "minor", "none", "one"]),
        (f"_profile={PROFILE}|1.2", ["minor"]),
        (f"_profile={PROFILE}|2", []),
        (f"_profile:below={PROFILE}|1", ["minor", "one"]),
        ("_profile:below=http://a.org/StructureDefinition", ["eleven", "minor", "none", "one"]),
        (f"_profile:above={PROFILE}/more", ["eleven", "minor", "none", "one"]),
        ("_profile=http://a.org/StructureDefinition", []),
    ],
)
def test_a_canonical_is_searched_with_its_version_or_without(
    profiled: Store, query: str, ids: list[str]
) -> None:
    assert found(profiled, "Basic", query) == ids


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("instantiates-canonical=http://a.org/PlanDefinition/p", ["c"]),
        ("instantiates-canonical=http://a.org/PlanDefinition/p|2.1", ["c"]),
        ("instantiates-canonical=http://a.org/PlanDefinition/p|2", []),
        ("instantiates-canonical:below=http://a.org/PlanDefinition/p|2", ["c"]),
        ("instantiates-canonical:below=http://a.org/", ["c"]),
    ],
)
def test_a_reference_to_a_canonical_is_searched_with_its_version_or_without(
    store: Store, query: str, ids: list[str]
) -> None:
    plan = {
        "resourceType": "CarePlan",
        "id": "c",
        "status": "active",
        "intent": "plan",
        "subject": {"display": "nobody"},
        "instantiatesCanonical": ["http://a.org/PlanDefinition/p|2.1"],
    }
    put(store, plan)

    assert found(store, "CarePlan", query) == ids


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("author=http://b.org/fhir/Practitioner/1", ["elsewhere"]),
        ("author=http://b.org/fhir/Practitioner/1/_history/2", ["elsewhere"]),
        ("author=Practitioner/1", ["here"]),
        ("author=Practitioner/1/_history/7", ["here"]),
        ("author:Practitioner=1", ["here"]),
        ("author=1", ["here"]),
        ("author:identifier=s|v", ["logical"]),
        ("author:identifier=v", ["logical"]),
        ("author:missing=true", []),
    ],
)
def test_a_reference_is_searched_as_it_is_written(store: Store, query: str, ids: list[str]) -> None:
    put(store, {"resourceType": "Practitioner", "id": "1"})
    basic(store, "here", author={"reference": "Practitioner/1/_history/1"})
    basic(store, "elsewhere", author={"reference": "http://b.org/fhir/Practitioner/1/_history/3"})
    basic(store, "logical", author={"identifier": {"system": "s", "value": "v"}})

    assert found(store, "Basic", query) == ids


def test_below_is_for_addresses(store: Store) -> None:
    with pytest.raises(Invalid, match="not served"):
        found(store, "Basic", "author:below=http://a.org")
    with pytest.raises(Invalid, match="canonical address"):
        found(store, "CarePlan", "instantiates-canonical:below=1")


def test_a_very_long_address_is_found_exactly(store: Store) -> None:
    long = "http://a.org/" + "x" * 3000
    basic(store, "a", meta={"profile": [f"{long}a"]})
    basic(store, "b", meta={"profile": [f"{long}b"]})

    assert found(store, "Basic", f"_profile={long}a") == ["a"]
    assert found(store, "Basic", f"_profile:below={long[:200]}") == ["a", "b"]
