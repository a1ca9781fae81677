"""After any writes, each record has the facts that a plain fixpoint over all records gives it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_fhir.resource_links import list_references
from ehr_gateway.store.stored_facts import read_stored_facts
from tests.lib.gateway import EHR, House, MoveIn, must

Json = dict[str, Any]
Facts = dict[str, set[str]]

LABELS = ("PSY", "HIV", "SDV")
ENCOUNTERS = tuple(f"Encounter/{name}" for name in "abc")
RECORDS = (*(f"Observation/{name}" for name in "abc"), "Medication/a", "Substance/a")
NAMES = (*ENCOUNTERS, *RECORDS)
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
    rest = list(named)
    whole = next((other for other in named if other in ENCOUNTERS and other != name), None)
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
        facts[name] = {"labels": stated, "episodes": episodes}
    for _ in range(len(bodies) + 1):
        for name in bodies:
            for other in names[name]:
                facts[name]["labels"] |= facts[other]["labels"]
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


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
    bodies = {name: body_of(name, [], []) for name in NAMES}
    added: dict[str, Facts] = {name: {"labels": set(), "episodes": set()} for name in NAMES}
    transact(house, "hospital-a", list(bodies.values()))
    for transaction in writes:
        changed: dict[str, Json] = {}
        by_third_party = transaction[0][3]
        earlier = fixpoint(bodies, added)
        for name, labels, named, _ in transaction:
            changed[name] = body_of(name, labels, [other for other in named if other != name])
        if by_third_party:
            # Another's directory entry is not a third party's to write.
            changed = {
                n: b for n, b in changed.items() if n.split("/")[0] in ("Encounter", "Observation")
            }
        for name, body in changed.items():
            before, now = ({name: one} for one in (bodies[name], body))
            nothing = {name: {"labels": set[str](), "episodes": set[str]()}}
            if by_third_party:
                stated = [stated_facts(name, one) for one in (before[name], now[name])]
                loses = not references_of(before[name]) <= references_of(now[name])
                for kind in ("labels", "episodes"):
                    added[name][kind] |= stated[0][kind] | stated[1][kind]
                    # What it inherited it keeps, by whichever reference.
                    added[name][kind] |= earlier[name][kind] if loses else set()
            else:
                added[name] = nothing[name]
            bodies[name] = body
        transact(house, "hospital-b" if by_third_party else "hospital-a", list(changed.values()))
        expected = fixpoint(bodies, added)
        with house.gateway.store.read_transaction() as connection:
            for name in NAMES:
                stored = read_stored_facts(connection, *name.split("/"))
                assert stored is not None
                assert stored.record.labels == expected[name]["labels"], (name, writes)
                assert stored.record.episodes == expected[name]["episodes"], (name, writes)


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
    }


def transact(house: House, organization: str, bodies: list[Json]) -> None:
    entries = [
        {
            "resource": body,
            "request": {"method": "PUT", "url": f"{body['resourceType']}/{body['id']}"},
        }
        for body in bodies
    ]
    if entries:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        must(house.system(organization).post("/fhir", bundle))
