"""Facts with owners: what a third party's version takes away still closes a record to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ehr_gateway.access import Access
from ehr_gateway.store.loosened_restrictions import LoosenedRestrictions
from ehr_gateway.store.stored_facts import FactCorrection
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.gateway import House, Session, must, observation, restriction

Json = dict[str, Any]

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PSY = {"security": [{"system": ACT_CODE, "code": "PSY"}]}
RESULT: Json = {
    **observation("result", "laboratory", encounter="enc-1"),
    "meta": PSY,
    "performer": [{"reference": "Practitioner/yu"}],
}
RELATED = {"meaning": "related", "reference": {"reference": "Encounter/enc-1"}}
BY_YU = {"meaning": "authoredby", "reference": {"reference": "Practitioner/yu"}}
HIDING: dict[str, Json] = {
    "label": {"securityLabel": PSY["security"]},
    "episode": {"data": [RELATED]},
    "domain": {"domain": "laboratory"},
    "period": {"dataPeriod": {"start": "2026-01-06", "end": "2026-01-06"}},
    "person": {"data": [BY_YU]},
}


def without(name: str) -> Callable[[Json], Json]:
    return lambda body: {key: value for key, value in body.items() if key != name}


def replacing(**values: Any) -> Callable[[Json], Json]:
    return lambda body: {**body, **values}


VITAL = observation("x", "vital-signs")["category"]
LOOSENING: list[tuple[str, Callable[[Json], Json]]] = [
    ("label", without("meta")),
    ("label", replacing(meta={"security": [{"system": ACT_CODE, "code": "HIV"}]})),
    ("episode", without("encounter")),
    ("episode", replacing(encounter={"reference": "Encounter/enc-2"})),
    ("domain", replacing(category=VITAL)),
    ("period", replacing(effectiveDateTime="2026-02-01")),
    ("period", without("effectiveDateTime")),
    ("person", replacing(performer=[{"reference": "Practitioner/wu"}])),
]


@pytest.fixture
def ward(furnished: House) -> House:
    """A house in which hospital-b reads hospital-a's result, which is closed to clinic-c."""
    platform = furnished.system("ehr-commons")
    platform.store({"resourceType": "Organization", "id": "clinic-c", "name": "C"})
    for name in ("yu", "wu"):
        platform.store({"resourceType": "Practitioner", "id": name})
    hospital = furnished.system("hospital-a")
    hospital.store(
        {**hospital.get("Encounter/enc-1").json(), "id": "enc-2"},
    )
    hospital.store(RESULT)
    for organization in ("hospital-b", "clinic-c"):
        furnished.share(organization)
    return furnished


def hide(house: House, name: str) -> None:
    house.login("p.pat-1").store(
        restriction("hide", against="Organization/clinic-c", **HIDING[name])
    )


def reads(house: House, address: str = "Observation/result") -> int:
    """Return how clinic-c's read of a record is answered."""
    return int(house.system("clinic-c").get(address).status_code)


def put(session: Session, change: Callable[[Json], Json]) -> None:
    must(session.put(change(must(session.get("Observation/result")).json())))


@pytest.mark.parametrize(("name", "loosen"), LOOSENING)
def test_another_organisations_version_takes_nothing_away(
    ward: House, name: str, loosen: Callable[[Json], Json]
) -> None:
    hide(ward, name)
    assert reads(ward) == 404

    put(ward.system("hospital-b"), loosen)
    assert reads(ward) == 404

    # Nor does what the platform writes, or a second version.
    must(ward.system("ehr-commons").put({**loosen(RESULT), "status": "amended"}))
    put(ward.system("hospital-b"), loosen)
    assert reads(ward) == 404


@pytest.mark.parametrize(("name", "loosen"), LOOSENING)
def test_the_author_takes_it_away(ward: House, name: str, loosen: Callable[[Json], Json]) -> None:
    hide(ward, name)
    put(ward.system("hospital-b"), loosen)

    put(ward.system("hospital-a"), loosen)

    unknown = name == "period" and loosen(RESULT).get("effectiveDateTime") is None
    assert reads(ward) == (404 if unknown else 200)


@pytest.mark.parametrize(("name", "loosen"), LOOSENING)
def test_what_another_organisation_adds_closes(
    ward: House, name: str, loosen: Callable[[Json], Json]
) -> None:
    put(ward.system("hospital-a"), loosen)
    hide(ward, name)
    before = reads(ward)

    put(ward.system("hospital-b"), lambda _: RESULT)

    assert (before, reads(ward)) in ((200, 404), (404, 404))
    assert ward.system("hospital-a").get("Observation/result").status_code == 200


def test_a_deletion_and_a_second_life_keep_what_was_known(ward: House) -> None:
    hide(ward, "label")
    put(ward.system("hospital-b"), without("meta"))
    must(ward.system("hospital-a").delete("Observation/result"))
    assert reads(ward) == 404

    body = without("meta")(RESULT)
    assert ward.system("hospital-b").put(body).status_code == 403
    must(ward.system("ehr-commons").put(body))

    assert reads(ward) == 404


def test_a_patch_takes_nothing_away(ward: House) -> None:
    hide(ward, "label")
    patch = [{"op": "remove", "path": "/meta"}]

    must(
        ward.system("hospital-b").request(
            "PATCH",
            "Observation/result",
            json=patch,
            headers={"Content-Type": "application/json-patch+json"},
        )
    )

    assert reads(ward) == 404


def test_a_transaction_takes_nothing_away(ward: House) -> None:
    hide(ward, "label")
    entry = {
        "resource": without("meta")(RESULT),
        "request": {"method": "PUT", "url": "Observation/result"},
    }

    must(
        ward.system("hospital-b").post(
            "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        )
    )

    assert reads(ward) == 404


def test_a_patients_label_holds_until_the_patient_takes_it_back(ward: House) -> None:
    must(ward.system("hospital-a").put(without("meta")(RESULT)))
    hide(ward, "label")
    assert reads(ward) == 200

    correct(ward, FactCorrection("label", "PSY", "add", "patient"))
    assert reads(ward) == 404
    must(ward.system("hospital-a").put({**without("meta")(RESULT), "status": "amended"}))
    assert reads(ward) == 404

    correct(ward, FactCorrection("label", "PSY", "withdraw", "patient"))
    assert reads(ward) == 200


def test_what_a_steward_denies_no_version_brings_back(ward: House) -> None:
    hide(ward, "label")

    correct(ward, FactCorrection("label", "PSY", "deny", "steward"))
    assert reads(ward) == 200
    put(ward.system("hospital-b"), lambda body: {**body, "status": "amended"})
    put(ward.system("hospital-a"), lambda body: {**body, "status": "corrected"})
    assert reads(ward) == 200

    correct(ward, FactCorrection("label", "PSY", "withdraw", "steward"))
    assert reads(ward) == 404


@pytest.mark.parametrize(
    ("name", "kind", "old", "new"),
    [
        ("domain", "domain", "laboratory", "observation"),
        ("episode", "episode", "enc-1", "enc-2"),
        ("period", "date", "2026-01-06", "2026-02-01"),
        ("person", "author_person", "yu", "wu"),
    ],
)
def test_a_steward_corrects_each_kind_of_fact(
    ward: House, name: str, kind: str, old: str, new: str
) -> None:
    hide(ward, name)
    put(ward.system("hospital-b"), lambda body: {**body, "status": "amended"})

    correct(
        ward,
        FactCorrection(kind, old, "deny", "steward"),
        FactCorrection(kind, new, "add", "steward"),
    )

    assert reads(ward) == 200


def test_an_authors_loosening_is_found_for_the_patient(ward: House) -> None:
    hide(ward, "label")
    store = ward.gateway.store
    with open_transaction(store, _access(ward)) as transaction:
        change = transaction.correct_facts(
            "Observation", "result", [FactCorrection("label", "PSY", "deny", "steward")]
        )
        restrictions = LoosenedRestrictions(transaction.connection, ward.clock())
        loosened = restrictions.find(change.before.record, change.after.record)
        tightened = restrictions.find(change.after.record, change.before.record)

    assert loosened == {"pat-1": {"hide"}}
    assert tightened == {}


def correct(house: House, *corrections: FactCorrection) -> None:
    with open_transaction(house.gateway.store, _access(house)) as transaction:
        transaction.correct_facts("Observation", "result", corrections)


def _access(house: House) -> Access:
    token = house.token("steward")
    caller = house.gateway.verifier.authenticate(token, house.clock())
    return Access(caller.requester, house.clock(), "correction")
