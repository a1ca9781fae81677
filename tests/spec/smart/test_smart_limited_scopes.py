"""Scopes limited by search parameters: the limit holds on every path, or the scope is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.index.rows import extract_rows
from ehr_gateway.access import Access
from ehr_privacy.consent import parse_scopes
from ehr_privacy.consent.decide import in_scope
from ehr_privacy.consent.resource_facts import record_facts
from tests.lib.gateway import House, Session, must
from tests.lib.smart import App, back

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
LABORATORY = f"patient/Observation.rs?category={CATEGORY}|laboratory"


@pytest.fixture
def laboratory(furnished: House) -> Session:
    """Return a session that may see the patient's laboratory results and nothing else."""
    app = App(furnished, scope=LABORATORY).register()
    tokens = app.tokens("p.pat-1")
    assert tokens["scope"] == LABORATORY
    return app.session(tokens)


def references(bundle: Any) -> set[str]:
    return {
        f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for entry in must(bundle).json().get("entry", [])
        if entry.get("search", {}).get("mode") != "outcome"
    }


LABS = {"Observation/lab-1", "Observation/lab-2"}


def test_reads_and_searches_stay_within_the_limit(laboratory: Session) -> None:
    assert laboratory.get("Observation/lab-1").status_code == 200
    assert laboratory.get("Observation/lab-1/_history/1").status_code == 200
    # Outside the limit is as if absent; a type without any scope is refused.
    for hidden, status in (("Observation/vital-1", 404), ("Condition/con-1", 403)):
        assert laboratory.get(hidden).status_code == status
        assert laboratory.get(f"{hidden}/_history").status_code == status
        assert laboratory.get(f"{hidden}/_history/1").status_code == status
    absent = laboratory.get("Observation/nobody")
    assert laboratory.get("Observation/vital-1").json() == absent.json()
    for query in (
        "Observation", "Observation?patient=pat-1", "Patient/pat-1/Observation",
        f"Observation?category={CATEGORY}|laboratory", "Observation?_sort=-date",
        "Observation?_include=Observation:subject&_include=Observation:encounter",
        "Observation?subject:Patient.name=chan,", "Observation/_history", "Patient/pat-1/*",
        "Observation?_id=lab-1,lab-2,vital-1",
    ):  # fmt: skip
        answer = laboratory.get(query)
        if answer.status_code == 200:
            assert references(answer) <= LABS, query
    assert references(laboratory.get("Observation")) == LABS


def test_totals_and_hidden_values_say_nothing_of_what_is_outside(laboratory: Session) -> None:
    for query, total in (
        ("Observation?_summary=count", 2),
        ("Observation?_total=accurate&_count=1", 2),
        ("Observation?category=vital-signs&_summary=count", 0),
        ("Observation?category:not=laboratory&_summary=count", 0),
        ("Observation?_id=vital-1&_summary=count", 0),
    ):
        assert must(laboratory.get(query)).json()["total"] == total, query
    assert references(laboratory.get("Observation/_history")) == LABS


def test_a_limit_is_for_reading_and_leaves_nothing_to_write(laboratory: Session) -> None:
    body = must(laboratory.get("Observation/lab-1")).json()

    assert laboratory.put(body).status_code == 403
    assert laboratory.delete("Observation/lab-1").status_code == 403
    del body["id"]
    assert laboratory.post("Observation", body).status_code == 403


def test_a_record_that_leaves_the_limit_is_out_of_sight_with_its_past(
    furnished: House, laboratory: Session
) -> None:
    hospital = furnished.system("hospital-a")
    body = must(hospital.get("Observation/lab-1")).json()
    body["category"][0]["coding"][0]["code"] = "vital-signs"
    must(hospital.put(body))

    assert laboratory.get("Observation/lab-1").status_code == 404
    assert laboratory.get("Observation/lab-1/_history/1").status_code == 404
    assert references(laboratory.get("Observation")) == {"Observation/lab-2"}


def test_several_limits_must_all_hold_and_several_values_need_one(furnished: House) -> None:
    for limit, found in (
        ("category=laboratory&status=final", LABS),
        ("category=laboratory&status=amended", set()),
        (f"category={CATEGORY}|laboratory,{CATEGORY}|vital-signs", {*LABS, "Observation/vital-1"}),
        ("category=https://elsewhere.example|laboratory", set()),
        ("code=http://loinc.org|718-7&category=vital-signs", {"Observation/vital-1"}),
    ):
        session = furnished.login("p.pat-1", f"patient/Observation.rs?{limit}")
        assert references(session.get("Observation")) == found, limit


def test_an_unlimited_scope_beside_a_limited_one_counts_as_well(furnished: House) -> None:
    scope = f"{LABORATORY} patient/Condition.rs"
    session = furnished.login("p.pat-1", scope)

    assert session.get("Condition/con-1").status_code == 200
    assert session.get("Observation/vital-1").status_code == 404
    wide = furnished.login("p.pat-1", f"{LABORATORY} patient/Observation.r")
    assert wide.get("Observation/vital-1").status_code == 200
    assert references(wide.get("Observation")) == LABS


def test_what_is_registered_with_a_limit_is_granted_with_it(furnished: House) -> None:
    app = App(furnished, scope=f"{LABORATORY} patient/Patient.rs").register()

    asked = "patient/*.rs patient/Observation.rs?status=final"
    granted = set(app.tokens("p.pat-1", scope=asked)["scope"].split())

    assert granted == {
        LABORATORY,
        "patient/Patient.rs",
        f"patient/Observation.rs?status=final&category={CATEGORY}|laboratory",
    }


def test_refreshing_never_drops_a_limit(furnished: House) -> None:
    app = App(furnished, scope=f"offline_access {LABORATORY}").register()
    token = app.tokens("p.pat-1")["refresh_token"]

    for wider in (
        "patient/Observation.rs", "patient/Observation.rs?category=laboratory",
        "patient/Observation.rs?", f"{LABORATORY},{CATEGORY}|vital-signs",
        "patient/Observation.rs?status=final", f"{LABORATORY}|x",
    ):  # fmt: skip
        answer = app.refresh(token, scope=wider)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), wider
    assert must(app.refresh(token, scope=LABORATORY)).json()["scope"] == LABORATORY


REFUSED = (
    "patient/Observation.cruds?category=laboratory", "patient/Observation.u?category=laboratory",
    "patient/*.rs?category=laboratory", "patient/Observation.rs?value-quantity=5",
    "patient/Observation.rs?category:not=laboratory", "patient/Observation.rs?date=2020",
    "patient/Observation.rs?category:in=http://vs.example", "patient/Observation.rs?",
    "patient/Observation.rs?category", "patient/Observation.rs?category=",
    "patient/Observation.rs?category=|laboratory", "patient/Observation.rs?category=a|b|c",
    "patient/Observation.rs?nonsense=x", "patient/Observation.rs?_security=R",
    "patient/Observation.rs?_id=lab-1", "patient/Observation.rs?patient.name=chan",
    "patient/Observation.rs?_has:x:y:z=1", "patient/Observation.rs?category=lab%6Fratory",
    "patient/Observation.rs?category=a\\,b", "patient/AuditEvent.rs?action=R",
    "patient/Observation.rs?category=" + ",".join("abcdefghijklmnopqrstu"),
)  # fmt: skip


def test_a_limit_that_cannot_be_enforced_is_refused_never_widened(furnished: House) -> None:
    app = App(furnished).register()

    for scope in REFUSED:
        answer = back(app.asks("p.pat-1", scope=scope))
        assert answer["error"] == "invalid_scope", scope
        with pytest.raises(Invalid):
            parse_scopes(scope)


def test_python_and_sql_agree_on_what_is_within_a_limit(furnished: House) -> None:
    gateway = furnished.gateway
    with gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.* FROM resource r WHERE r.type = 'Observation'"
        ).fetchall()
    for limit in (
        "category=laboratory", f"category={CATEGORY}|laboratory", "status=final&code=718-7",
        "status=http://hl7.org/fhir/observation-status|final", "status=amended", "code=x,718-7",
    ):  # fmt: skip
        session = furnished.login("p.pat-1", f"patient/Observation.rs?{limit}")
        token = session.headers["Authorization"][7:]
        requester = gateway.verifier.authenticate(token, furnished.clock()).requester
        predicate = Access(requester, furnished.clock(), "agreement").search_predicate
        with gateway.store.read_transaction() as connection:
            found = {
                row["id"]
                for row in connection.execute(
                    f"SELECT r.id FROM resource r WHERE r.type = 'Observation' AND {predicate.sql}",
                    predicate.params,
                ).fetchall()
            }
        expected = set()
        for row in rows:
            resource = json.loads(row["body"])
            tokens = frozenset(
                (one.code, str(one.values[0]), str(one.values[1]))
                for one in extract_rows(resource)
                if one.kind == "token"
            )
            record = replace(record_facts(resource, row["author"]), tokens=tokens)
            if in_scope(requester, "search", record):
                expected.add(row["id"])
        assert found == expected, limit
