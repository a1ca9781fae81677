"""Ids that clients choose: nobody learns by a PUT which ids of others are taken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_gateway.interaction_codes import NOT_WRITTEN
from ehr_privacy.consent import load_domains, load_roles
from tests.lib.gateway import House, Session, must, observation
from tests.lib.minimal import minimal

Json = dict[str, Any]
# What everybody sees has no hidden ids; Consents and the like, systems do not write at all.
TYPES = sorted(
    definitions.resource_types()
    - (load_domains().directory - load_roles().directory_readers.keys())
    - load_roles().writers.keys()
    - NOT_WRITTEN.keys()
    - {"Patient"}
)


@pytest.fixture
def own(furnished: House) -> House:
    """Return a house where systems create under ids of their organisation alone."""
    gateway = furnished.gateway
    settings = replace(gateway.settings, client_ids="own")
    furnished.app.state.gateway = replace(gateway, settings=settings)
    return furnished


def entries(kind: str, name: str) -> list[Json]:
    """Return the ways in which a system may try to create a resource under an id."""
    address = f"{kind}/{name}"
    requests = (
        {"url": address},
        {"url": address, "ifMatch": 'W/"1"'},
        {"url": address, "ifNoneMatch": "*"},
        {"url": f"{kind}?_id={name}"},
    )
    resource = minimal(kind, name)
    return [{"resource": resource, "request": {"method": "PUT", **form}} for form in requests]


def answers(session: Session, kind: str, name: str) -> list[Any]:
    """Return the answers to each way, in a batch; with the id out of their texts."""
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries(kind, name)}
    text = must(session.post("/fhir", bundle)).text
    return [each["response"] for each in json.loads(text.replace(name, "ID"))["entry"]]


def tell(house: House, prefix: str) -> set[str]:
    """Return the ids of records that hospital-b does not see, but can tell from free ones."""
    other, author, told = house.system("hospital-b"), house.system("hospital-a"), set()
    for kind in TYPES:
        taken, free = f"{prefix}taken", f"{prefix}free0"
        author.store(minimal(kind, taken))
        if answers(other, kind, taken) != answers(other, kind, free):
            told.add(f"{kind}/{taken}")
    assert other.get(f"Observation/{prefix}taken").status_code == 404
    return told


@pytest.mark.parametrize("prefix", ["", "hospital-a."])
def test_no_id_is_told_where_systems_keep_to_their_own(own: House, prefix: str) -> None:
    assert tell(own, prefix) == set()


def test_ids_that_another_organisation_gives_are_never_told(furnished: House) -> None:
    assert tell(furnished, "hospital-a.") == set()


@pytest.mark.parametrize("bundle", [False, True])
def test_an_id_is_not_told_by_a_request_of_its_own(own: House, bundle: bool) -> None:
    """Outside a batch, and in a transaction."""
    other, found = own.system("hospital-b"), []
    for name in ("lab-1", "free0"):
        if bundle:
            content = {"resourceType": "Bundle", "type": "transaction"}
            entry = entries("Observation", name)[:1]
            answer = other.post("/fhir", {**content, "entry": entry})
        else:
            answer = other.put(observation(name, "laboratory"))
        found.append((answer.status_code, answer.content))

    assert found[0] == found[1]
    assert found[0][0] == 404


def test_an_organisation_creates_under_its_own_ids(own: House) -> None:
    system = own.system("hospital-b")

    created = [
        system.put(observation(name, "laboratory")).status_code
        for name in ("hospital-b.1", "hospital-b.1", "hospital-b.1.2", "hospital-b.", "1", ".1")
    ]

    assert created == [201, 200, 404, 404, 404, 404]


def test_the_platform_chooses_every_id(own: House) -> None:
    system = own.system("ehr-commons")

    for name in ("plain", "hospital-b.1"):
        assert system.put(observation(name, "laboratory")).status_code == 201


def test_any_id_that_is_nobodys_is_free_by_default(furnished: House) -> None:
    system = furnished.system("hospital-b")

    created = [
        system.put(observation(name, "laboratory")).status_code
        for name in ("plain", "1.2.840.4711", "hospital-b.1", "hospital-a.1")
    ]

    assert created == [201, 201, 201, 404]


def test_a_chosen_id_of_the_directory_is_free(own: House) -> None:
    drug = {"resourceType": "Medication", "id": "aspirin"}

    assert must(own.system("hospital-b").put(drug)).status_code == 201
