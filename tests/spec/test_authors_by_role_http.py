"""An author who is told by a role or by a team is the person whom that names in turn."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.resource_links import CONTAINERS, list_references
from ehr_inbound.bulk_files import store_batches
from ehr_inbound.bulk_files.load import load
from ehr_privacy.consent import Record, record_facts
from ehr_privacy.consent.inherited_facts import fact_targets, gives_facts
from ehr_privacy.consent.resource_facts import AUTHOR_GROUPS
from tests.lib.gateway import House, Session, encounter, must, observation, restriction
from tests.lib.references import naming, reference_paths

Json = dict[str, Any]

YU = {"reference": "Practitioner/yu"}
ROLE = {"reference": "PractitionerRole/yu-elsewhere"}
NAMED_ELSEWHERE = {"url": "https://example.org/named", "valueReference": ROLE}
TEAM = {"reference": "CareTeam/team"}
BY_YU = {"data": [{"meaning": "authoredby", "reference": YU}]}
SUBJECT = {"subject": {"reference": "Patient/pat-1"}}


def role(practitioner: str | None = "yu", **elements: Any) -> Json:
    """Return a role at an organisation that writes nothing here."""
    named = {"practitioner": {"reference": f"Practitioner/{practitioner}"}} if practitioner else {}
    return {
        "resourceType": "PractitionerRole",
        "id": "yu-elsewhere",
        "organization": {"reference": "Organization/clinic-d"},
        **named,
        **elements,
    }


def team(*members: Json) -> Json:
    participants = [{"member": member} for member in members]
    return {"resourceType": "CareTeam", "id": "team", **SUBJECT, "participant": participants}


def procedure(**elements: Any) -> Json:
    return {"resourceType": "Procedure", "id": "rec", "status": "completed", **SUBJECT, **elements}


BY_AUTHOR = {
    "a performer": lambda author: {**observation("rec", "laboratory"), "performer": [author]},
    "an actor": lambda author: procedure(performer=[{"actor": author}]),
    "a recorder": lambda author: procedure(recorder=author),
    "a participant": lambda author: {
        **encounter("rec"),
        "participant": [{"individual": author}],
    },
    "inside": lambda author: {
        **observation("rec", "laboratory"),
        "contained": [
            {
                "resourceType": "ServiceRequest",
                "id": "asked",
                "status": "active",
                "intent": "order",
                **SUBJECT,
                "performer": [author],
            }
        ],
        "basedOn": [{"reference": "#asked"}],
    },
}


@pytest.fixture
def ward(furnished: House) -> House:
    """A house whose first patient shares with clinic-c and hides from it what Dr Yu wrote."""
    for name in ("clinic-c", "clinic-d"):
        platform(furnished).store({"resourceType": "Organization", "id": name})
    for name in ("yu", "wu"):
        platform(furnished).store({"resourceType": "Practitioner", "id": name})
    furnished.share("clinic-c")
    patient = furnished.login("p.pat-1")
    patient.store(restriction("hide-yu", against="Organization/clinic-c", **BY_YU))
    return furnished


def platform(house: House) -> Session:
    return house.system("ehr-commons")


def hospital(house: House) -> Session:
    return house.system("hospital-a")


def reads(house: House, body: Json) -> int:
    """Return how clinic-c's read of a record is answered."""
    address = f"{body['resourceType']}/{body['id']}"
    status = int(house.system("clinic-c").get(address).status_code)
    found = house.system("clinic-c").ids(f"{body['resourceType']}?patient=pat-1")
    assert (address in found) == (status == 200)
    return status


@pytest.mark.parametrize("place", BY_AUTHOR)
def test_what_somebody_wrote_by_a_role_elsewhere_is_theirs(ward: House, place: str) -> None:
    record = BY_AUTHOR[place](ROLE)
    platform(ward).store(role())
    hospital(ward).store(record)
    assert reads(ward, record) == 404

    # The role becomes another's, nobody's, and theirs again, each time in one transaction.
    for practitioner, status in (("wu", 200), (None, 200), ("yu", 404)):
        must(platform(ward).put(role(practitioner)))
        assert reads(ward, record) == status
    # What names a role that is no more keeps its author.
    must(platform(ward).delete("PractitionerRole/yu-elsewhere"))
    assert reads(ward, record) == 404


@pytest.mark.parametrize("place", ["a performer", "inside"])
def test_what_a_team_wrote_is_by_its_members_and_their_roles(ward: House, place: str) -> None:
    record = BY_AUTHOR[place](TEAM)
    platform(ward).store(role())
    hospital(ward).store(team({"reference": "Practitioner/wu"}))
    hospital(ward).store(record)
    assert reads(ward, record) == 200

    for member, status in ((YU, 404), ({"reference": "Practitioner/wu"}, 200), (ROLE, 404)):
        must(hospital(ward).put(team(member)))
        assert reads(ward, record) == status
    must(platform(ward).put(role("wu")))
    assert reads(ward, record) == 200


def test_a_role_that_a_record_contains_is_its_author(ward: House) -> None:
    record = BY_AUTHOR["a performer"]({"reference": "#me"})
    contained = {"resourceType": "PractitionerRole", "id": "me", "practitioner": YU}
    hospital(ward).store({**record, "contained": [contained]})

    assert reads(ward, record) == 404


def test_a_role_named_otherwise_is_no_author(ward: House) -> None:
    platform(ward).store(role())
    hospital(ward).store(procedure(extension=[NAMED_ELSEWHERE]))

    assert reads(ward, procedure()) == 200


@pytest.mark.parametrize(
    "change",
    [
        procedure(),
        procedure(extension=[NAMED_ELSEWHERE]),
    ],
    ids=["drops it", "names it elsewhere"],
)
def test_a_third_party_takes_no_author_away(ward: House, change: Json) -> None:
    platform(ward).store(role())
    hospital(ward).store(procedure(recorder=ROLE))
    ward.share("hospital-b")

    must(ward.system("hospital-b").put(change))
    assert reads(ward, change) == 404
    must(hospital(ward).put(change))
    assert reads(ward, change) == 200


def test_an_exception_for_a_person_opens_nothing_by_a_role(ward: House) -> None:
    """A role may be another's tomorrow."""
    patient = ward.login("p.pat-1")
    must(patient.delete("Consent/hide-yu"))
    patient.store(
        restriction(
            "all-but-yu",
            against="Organization/clinic-c",
            provision=[{"type": "permit", **BY_YU}],
        )
    )
    platform(ward).store(role())
    hospital(ward).store(procedure(recorder=ROLE))
    assert reads(ward, procedure()) == 404

    must(hospital(ward).put(procedure(recorder=YU)))
    assert reads(ward, procedure()) == 200


@pytest.mark.parametrize(
    "author",
    [
        {"identifier": {"system": "https://example.org/numbers", "value": "4711"}},
        {"display": "Dr Yu"},
        {"reference": "https://example.org/fhir/Practitioner/yu"},
        {"reference": "#yu"},
        {"reference": "PractitionerRole/of-nobody"},
    ],
    ids=["a number", "a name", "elsewhere", "contained", "a role of nobody"],
)
@pytest.mark.parametrize("works_here", [True, False])
def test_who_is_not_known_may_be_anybody_of_the_organisation(
    ward: House, author: Json, works_here: bool
) -> None:
    """Also where another author is known by name."""
    where = "hospital-a" if works_here else "clinic-d"
    platform(ward).store(role(organization={"reference": f"Organization/{where}"}))
    platform(ward).store({"resourceType": "PractitionerRole", "id": "of-nobody"})
    record = procedure(performer=[{"actor": {"reference": "Practitioner/wu"}}, {"actor": author}])
    if author == {"reference": "#yu"}:
        record["contained"] = [{"resourceType": "Practitioner", "id": "yu"}]
    hospital(ward).store(record)

    assert reads(ward, record) == (404 if works_here else 200)


@pytest.mark.parametrize("kind", ["Organization", "Device", "Patient", "RelatedPerson"])
def test_an_author_of_another_type_leaves_no_doubt(ward: House, kind: str) -> None:
    platform(ward).store(role(organization={"reference": "Organization/hospital-a"}))
    named = {"type": kind, "display": "somebody"}
    by_wu = {"actor": {"reference": "Practitioner/wu"}}
    hospital(ward).store(procedure(performer=[by_wu, {"actor": named}]))

    assert reads(ward, procedure()) == 200


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_load_finds_the_author_in_any_order(
    ward: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[int, ...],
    rows: int,
) -> None:
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", rows)
    record = BY_AUTHOR["a performer"](TEAM)
    bodies = [role(), team(ROLE), record]
    file = tmp_path / "all.ndjson"
    file.write_text("".join(f"{json.dumps(bodies[place])}\n" for place in order), encoding="utf-8")

    report = load(ward.gateway.store, [file], "hospital-a", workers=1, clock=ward.clock)

    assert not report.rejects
    assert reads(ward, record) == 404


def test_an_author_by_role_is_one_wherever_an_author_by_name_is() -> None:
    """In each element of each type."""
    count = 0
    for kind in sorted(definitions.resource_types()):
        if kind in CONTAINERS or not gives_facts(kind):
            continue
        for path in reference_paths(kind):
            by_name = record_facts(naming(kind, "new", path, "Practitioner/yu"), "a")
            record = Record(kind, "new", clinical_consent=kind == "Consent")
            for group in AUTHOR_GROUPS:
                references = list_references(naming(kind, "new", path, f"{group}/g"))
                authors = fact_targets(record, references).authors
                assert bool(authors) == ("yu" in by_name.author_people), (kind, path)
                count += bool(authors)
    assert count > 120
