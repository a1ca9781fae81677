"""After any writes, each record has the facts that a plain fixpoint over all records gives it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_fhir.resource_links import list_references
from ehr_gateway.store.stored_facts import read_stored_facts
from tests.lib.gateway import EHR, House, MoveIn, must

Json = dict[str, Any]
Facts = dict[str, set[str]]

LABELS = ("PSY", "HIV", "SDV")
ENCOUNTERS = tuple(f"Encounter/{name}" for name in "abc")
RECORDS = (*(f"Observation/{name}" for name in "abc"), "Medication/a", "Substance/a")
GROUPS = ("CareTeam/a", "PractitionerRole/a", "PractitionerRole/b")
NAMES = (*ENCOUNTERS, *RECORDS, *GROUPS)
# What a third party may write: not another's directory entry, nor who is in a team.
CLINICAL = ("Encounter", "Observation")
PEOPLE = {(): "x", ("PSY",): "y", ("HIV",): "z", ("SDV",): "w"}
SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def body_of(name: str, labels: list[str], named: list[str]) -> Json:
    """Return a resource that names others: in an element that is indexed, or in an extension."""
    kind, identity = name.split("/")
    body: Json = {"resourceType": kind, "id": identity}
    if labels:
        body["meta"] = {"security": [{"system": SYSTEM, "code": label} for label in labels]}
    if kind == "Encounter":
        body |= {"status": "finished", "class": {"code": "IMP"}}
        body["subject"] = {"reference": "Patient/pat-1"}
    if kind == "Observation":
        body |= {"status": "final", "code": {"text": "x"}}
        body["subject"] = {"reference": "Patient/pat-1"}
    if kind == "Substance":
        body["code"] = {"text": "x"}
    # Who keeps the register of roles sees no record.
    rest = [] if kind == "PractitionerRole" else list(named)
    if kind == "PractitionerRole":
        # Its label is told by its practitioner instead, since labels of roles are nobody's.
        body.pop("meta", None)
        body["practitioner"] = {"reference": f"Practitioner/{PEOPLE[tuple(labels)]}"}
    if kind == "CareTeam":
        body["subject"] = {"reference": "Patient/pat-1"}
    authors = [other for other in rest if is_author(name, other)]
    if authors:
        body |= authors_of(kind, authors)
        rest = [other for other in rest if other not in authors]
    whole = next((other for other in rest if other in ENCOUNTERS and other != name), None)
    if whole and kind in ("Encounter", "Observation"):
        body["partOf" if kind == "Encounter" else "encounter"] = {"reference": whole}
        rest.remove(whole)
    derived = [other for other in rest if other.startswith("Observation/")]
    if derived and kind == "Observation":
        body["derivedFrom"] = [{"reference": other} for other in derived]
        rest = [other for other in rest if other not in derived]
    if rest:
        url = f"{EHR}/names"
        body["extension"] = [{"url": url, "valueReference": {"reference": r}} for r in rest]
    return body


def is_author(name: str, other: str) -> bool:
    """Say whether a record of `body_of` names another as its author."""
    return other in GROUPS and name.startswith(("Observation/", "CareTeam/"))


def authors_of(kind: str, authors: list[str]) -> Json:
    """Return the element that has them."""
    named = [{"reference": author} for author in authors]
    if kind == "Observation":
        return {"performer": named}
    return {"participant": [{"member": member} for member in named]}


def fixpoint(bodies: dict[str, Json], added: dict[str, Facts]) -> dict[str, Facts]:
    """Work out all facts by hand: what is stated, what others added, what is inherited."""
    facts: dict[str, Facts] = {}
    names = {
        name: {reference for _, reference in list_references(body)} & set(NAMES)
        for name, body in bodies.items()
    }
    for name, body in bodies.items():
        security = body.get("meta", {}).get("security", ())
        stated = {coding["code"] for coding in security} | added[name]["labels"]
        encounters = {other for other in (*names[name], name) if other in ENCOUNTERS}
        episodes = {other.split("/")[1] for other in encounters} | added[name]["episodes"]
        people = set(added[name]["people"])
        if name.startswith("PractitionerRole/"):
            people.add(body["practitioner"]["reference"].split("/")[1])
        facts[name] = {"labels": stated, "episodes": episodes, "people": people}
    for _ in range(len(bodies) + 1):
        for name in bodies:
            for other in names[name]:
                facts[name]["labels"] |= facts[other]["labels"]
                if is_author(name, other):
                    facts[name]["people"] |= facts[other]["people"]
                if other in ENCOUNTERS:
                    facts[name]["episodes"] |= facts[other]["episodes"]
    return facts


WRITE = st.tuples(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(LABELS), max_size=1),
    st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
    st.booleans(),
)


@pytest.fixture(scope="module")
def opened() -> dict[str, House]:
    return {}


@settings(max_examples=40)
@given(writes=st.lists(st.lists(WRITE, min_size=1, max_size=3), min_size=1, max_size=8))
def test_inherited_facts_are_those_of_the_fixpoint(
    move_in: MoveIn, opened: dict[str, House], database: str, writes: Any
) -> None:
    # The store goes on from example to example: each begins by writing everything anew.
    if database not in opened:
        opened.clear()
        opened[database] = move_in("furnished")
        opened[database].share()
    house = opened[database]
    for person in PEOPLE.values():
        house.system("ehr-commons").store({"resourceType": "Practitioner", "id": person})
    bodies = {name: body_of(name, [], []) for name in NAMES}
    added: dict[str, Facts] = {name: no_facts() for name in NAMES}
    transact(house, "hospital-a", list(bodies.values()))
    for transaction in writes:
        changed: dict[str, Json] = {}
        by_third_party = transaction[0][3]
        earlier = fixpoint(bodies, added)
        for name, labels, named, _ in transaction:
            changed[name] = body_of(name, labels, [other for other in named if other != name])
        if by_third_party:
            changed = {n: b for n, b in changed.items() if n.split("/")[0] in CLINICAL}
        for name, body in changed.items():
            before, now = ({name: one} for one in (bodies[name], body))
            if by_third_party:
                stated = [stated_facts(name, one) for one in (before[name], now[name])]
                loses = not references_of(before[name]) <= references_of(now[name])
                for kind in ("labels", "episodes", "people"):
                    added[name][kind] |= stated[0][kind] | stated[1][kind]
                    # What it inherited it keeps, by whichever reference.
                    added[name][kind] |= earlier[name][kind] if loses else set()
            else:
                added[name] = no_facts()
            bodies[name] = body
        transact(house, "hospital-b" if by_third_party else "hospital-a", list(changed.values()))
        expected = fixpoint(bodies, added)
        with house.gateway.store.read_transaction() as connection:
            for name in NAMES:
                stored = read_stored_facts(connection, *name.split("/"))
                assert stored is not None
                assert stored.record.labels == expected[name]["labels"], (name, writes)
                assert stored.record.episodes == expected[name]["episodes"], (name, writes)
                assert stored.record.author_people == expected[name]["people"], (name, writes)


def no_facts() -> Facts:
    return {"labels": set(), "episodes": set(), "people": set()}


def references_of(body: Json) -> set[str]:
    return {reference for _, reference in list_references(body)}


def stated_facts(name: str, body: Json) -> Facts:
    """Return what one version says by itself."""
    references = references_of(body)
    security = body.get("meta", {}).get("security", ())
    encounters = {other for other in (*references, name) if other in ENCOUNTERS}
    return {
        "labels": {coding["code"] for coding in security},
        "episodes": {other.split("/")[1] for other in encounters},
        "people": set(),
    }


def transact(house: House, organization: str, bodies: list[Json]) -> None:
    """Write them all in one transaction, but roles by who keeps the register."""
    roles = [body for body in bodies if body["resourceType"] == "PractitionerRole"]
    others = [body for body in bodies if body not in roles]
    for writer, written in (("ehr-commons", roles), (organization, others)):
        entries = [
            {
                "resource": body,
                "request": {"method": "PUT", "url": f"{body['resourceType']}/{body['id']}"},
            }
            for body in written
        ]
        if entries:
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            must(house.system(writer).post("/fhir", bundle))
