"""What is refused is refused on every way to write: create, update, patch, Bundles, by criteria."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, restriction

Json = dict[str, Any]
SECRET = "Wong-Siu-Ming"
CUT = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
OLD_CUT = {"system": "http://hl7.org/fhir/v3/ObservationValue", "code": "SUBSETTED"}
# A fault of a Practitioner beside its name, and where it is.
FAULTS: tuple[tuple[Json, str], ...] = (
    ({"meta": {"tag": [CUT]}}, "meta.tag[0]"),
    ({"meta": {"tag": [{"code": "x"}, OLD_CUT]}}, "meta.tag[1]"),
    ({"meta": {"tag": [{"code": "SUBSETTED"}]}}, "meta.tag[0]"),
    (
        {"contained": [{"resourceType": "Basic", "id": "a", "code": {"text": "x"},
                        "meta": {"tag": [CUT]}}]},
        "contained[0].meta.tag[0]",
    ),
    ({"telecom": [{}]}, "telecom[0]"),
    ({"telecom": [{"id": "x"}]}, "telecom[0]"),
    ({"_birthDate": None}, "birthDate"),
    ({"address": [{"line": [None]}]}, "address[0].line[0]"),
    ({"qualification": [{"code": {"text": "x"}, "issuer": {"reference": "Patient/pat-1"}}]},
     "qualification[0].issuer.reference"),
    ({"text": {"status": "generated", "div": "<div>x</div>"}}, "text.div"),
    ({"photo": [{"data": "===="}]}, "photo[0].data"),
    ({"contained": [{"resourceType": "Basic", "id": "a" * 65, "code": {"text": "x"}}]},
     "contained[0].id"),
)  # fmt: skip


def practitioner(identity: str, **more: Any) -> Json:
    """Return a Practitioner."""
    return {"resourceType": "Practitioner", "id": identity, "name": [{"text": SECRET}], **more}


def entry(method: str, url: str, resource: Json, **request: str) -> Json:
    """Return an entry of a Bundle."""
    return {"request": {"method": method, "url": url, **request}, "resource": resource}


def ways(session: Session, fault: Json) -> dict[str, Json]:
    """Return the OperationOutcome of each way to write the fault."""
    bad, stored = practitioner("new", **fault), practitioner("there", **fault)
    operations = [{"op": "add", "path": f"/{name}", "value": fault[name]} for name in fault]
    patch = json.dumps(operations).encode()
    patch_type = {"Content-Type": "application/json-patch+json"}
    base = "/fhir/Practitioner"
    gone = practitioner("gone", **fault)
    answers = {
        "create": session.post(base, bad),
        "conditional create": session.request(
            "POST", base, json=bad, headers={"If-None-Exist": "identifier=a|new"}
        ),
        "update": session.request("PUT", f"{base}/there", json=stored),
        "update as create": session.request("PUT", f"{base}/new", json=bad),
        "conditional update": session.request("PUT", f"{base}?_id=there", json=stored),
        "undelete": session.request("PUT", f"{base}/gone", json=gone),
        "patch": session.request("PATCH", f"{base}/there", content=patch, headers=patch_type),
        "conditional patch": session.request(
            "PATCH", f"{base}?_id=there", content=patch, headers=patch_type
        ),
    }
    found = {name: answer.json() for name, answer in answers.items()}
    assert {answer.status_code for answer in answers.values()} == {422}, found
    for name, made in (
        ("POST", entry("POST", "Practitioner", bad)),
        ("PUT", entry("PUT", "Practitioner/there", stored)),
        ("conditional PUT", entry("PUT", "Practitioner?_id=there", stored)),
        ("ifNoneExist", entry("POST", "Practitioner", bad, ifNoneExist="identifier=a|new")),
    ):
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [made]}
        answer = session.post("/fhir", bundle)
        assert answer.status_code == 422
        found[f"transaction {name}"] = answer.json()
        batch = must(session.post("/fhir", {**bundle, "type": "batch"})).json()
        assert batch["entry"][0]["response"]["status"].startswith("422")
        found[f"batch {name}"] = batch["entry"][0]["response"]["outcome"]
    return found


@pytest.mark.parametrize(("fault", "place"), FAULTS)
def test_a_fault_is_refused_on_every_way_to_write(house: House, fault: Json, place: str) -> None:
    platform = house.system("ehr-commons")
    must(platform.request("PUT", "/fhir/Practitioner/there", json=practitioner("there")))
    must(platform.request("PUT", "/fhir/Practitioner/gone", json=practitioner("gone")))
    must(platform.delete("Practitioner/gone"))
    before = platform.get("Practitioner/there").content

    outcomes = ways(platform, fault)

    for way, outcome in outcomes.items():
        expression = outcome["issue"][0]["expression"][0]
        start = "Bundle.entry[0].resource" if way.split()[0] in ("transaction", "batch") else ""
        # A patch is refused at the place that it writes to.
        whole = f"{start or 'Practitioner'}.{place}"
        assert expression == whole or ("patch" in way and whole.startswith(expression)), way
        assert SECRET not in json.dumps(outcome), way
    assert platform.get("Practitioner/there").content == before
    assert platform.get("Practitioner/new").status_code == 404


def test_what_elements_cut_away_is_not_lost_by_writing_the_answer_back(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    whole = must(platform.get("Patient/pat-1")).json()
    for query in ("_elements=name", "_summary=true", "_summary=text", "_summary=data"):
        cut = must(platform.get(f"Patient/pat-1?{query}")).json()

        answer = platform.request("PUT", "/fhir/Patient/pat-1", json=cut)

        assert answer.status_code == 422
        assert "SUBSETTED" in answer.json()["issue"][0]["diagnostics"]
    assert must(platform.get("Patient/pat-1")).json() == whole


def test_a_late_reference_names_an_entry_of_a_type_that_is_allowed(house: House) -> None:
    platform = house.system("ehr-commons")

    def bundle(kind: str, resource: Json) -> Json:
        later = entry("POST", kind, resource, ifNoneExist="identifier=a|b")
        role = {"resourceType": "PractitionerRole", "practitioner": {"reference": "urn:uuid:1"}}
        entries = [entry("POST", "PractitionerRole", role), {**later, "fullUrl": "urn:uuid:1"}]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    identifier = [{"system": "a", "value": "b"}]
    named = {"identifier": identifier, "name": "x"}
    wrong = bundle("Organization", {"resourceType": "Organization", **named})
    right = bundle("Practitioner", practitioner("x", identifier=identifier))

    refused = platform.post("/fhir", wrong)

    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == [
        "Bundle.entry[0].resource.practitioner.reference"
    ]
    must(platform.post("/fhir", right))


def test_a_target_of_a_wrong_type_gets_one_answer_whether_it_is_there_or_not(
    furnished: House,
) -> None:
    doctor = furnished.login("doctor.a")

    def answer(name: str) -> tuple[int, Json]:
        allergy = {"resourceType": "AllergyIntolerance", "patient": {"reference": name}}
        found = doctor.post("/fhir/AllergyIntolerance", allergy)
        return found.status_code, found.json()

    assert answer("Organization/hospital-a") == answer("Organization/nobody")
    assert answer("Organization/hospital-a")[0] == 422


@pytest.mark.parametrize("way", ["create", "update", "transaction"])
def test_a_subscription_to_no_topic_and_one_in_a_bundle_are_refused(house: House, way: str) -> None:
    platform = house.system("ehr-commons")
    channel = {"type": "rest-hook", "endpoint": "https://example.org"}
    body = {"resourceType": "Subscription", "id": "s", "status": "requested", "reason": "x",
            "criteria": "Observation?code=1", "channel": channel}  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "transaction",
              "entry": [entry("POST", "Subscription", body)]}  # fmt: skip

    answer = {
        "create": lambda: platform.post("/fhir/Subscription", body),
        "update": lambda: platform.request("PUT", "/fhir/Subscription/s", json=body),
        "transaction": lambda: platform.post("/fhir", bundle),
    }[way]()

    assert answer.status_code == 422
    assert answer.json()["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "implicitRules"),
        ((), "modifierExtension"),
        (("provision",), "modifierExtension"),
        (("provision", "actor", 0), "modifierExtension"),
        (("contained", 0), "implicitRules"),
    ],
)
def test_a_rule_with_a_modifier_that_is_not_understood_is_not_stored(
    furnished: House, path: tuple[str | int, ...], name: str
) -> None:
    person = furnished.login("p.pat-1")
    rule = restriction("hide", against="Organization/hospital-b", domain="laboratory")
    rule["contained"] = [{"resourceType": "Basic", "id": "b", "code": {"text": "x"}}]
    person.store(rule)
    before = person.get("Consent/hide").content
    node: Any = rule
    for step in path:
        node = node[step]
    value: Any = "http://example.org/rules"
    if name == "modifierExtension":
        value = [{"url": "http://example.org/not", "valueBoolean": True}]
    node[name] = value
    pointer = "".join(f"/{step}" for step in (*path, name))
    patch = json.dumps([{"op": "add", "path": pointer, "value": value}]).encode()
    patch_type = {"Content-Type": "application/json-patch+json"}

    answers = [
        person.request("PUT", "/fhir/Consent/hide", json=rule),
        person.request("PATCH", "/fhir/Consent/hide", content=patch, headers=patch_type),
    ]

    place = "Consent" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in (*path, name))
    assert [answer.status_code for answer in answers] == [422, 422]
    assert {answer.json()["issue"][0]["expression"][0] for answer in answers} == {place}
    assert person.get("Consent/hide").content == before


def test_real_summaries_that_are_sound_are_taken_as_documents(
    house: House, shared_data: Path
) -> None:
    platform = house.system("ehr-commons")
    refused = {}
    for path in sorted((shared_data / "ips-bundles").glob("*.json")):
        body = json.loads(path.read_text(encoding="utf-8-sig"))
        answer = platform.post("/fhir/Bundle", body)
        if answer.status_code != 201:
            refused[path.name] = answer.json()["issue"][0]["expression"][0]

    assert refused == {
        # Markup that is no XHTML, or is cut off.
        "connectathon_Sept2024__CA_DAVE_DEBRONKART_VERTO.json":
            "Bundle.entry[0].resource.section[0].text.div",
        "connectathon_Sept2024__US_MEDITECH_ips_1.json":
            "Bundle.entry[0].resource.section[4].text.div",
        "connectathon_archive__HK_IPS_Sample1.json": "Bundle.entry[1].resource.text.div",
        "connectathon_archive__HK_IPS_Sample_with_medication.json":
            "Bundle.entry[1].resource.text.div",
        # "true", as a string.
        "connectathon_archive__AR_Repository_Example_01.json": "Bundle.entry[1].resource.active",
        "connectathon_archive__DK_Jens_Villadsen_02.json": "Bundle.entry[0].resource.author",
    }  # fmt: skip
