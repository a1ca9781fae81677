"""Search parameters that an administrator adds: indexed while the server runs, then served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.store import reindex, search_registry
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from tests.lib.gateway import House, Session, must, patient


def added(**elements: Any) -> dict[str, Any]:
    """Return a SearchParameter for the number of a patient's house."""
    return {
        "resourceType": "SearchParameter",
        "id": "nickname",
        "url": "http://example.org/SearchParameter/nickname",
        "name": "nickname",
        "status": "active",
        "description": "By nickname",
        "code": "nickname",
        "base": ["Patient"],
        "type": "string",
        "expression": "Patient.name.where(use = 'nickname').given",
        **elements,
    }


def named(identity: str, nickname: str) -> dict[str, Any]:
    """Return a patient with a nickname."""
    body = patient(identity, f"Z{identity}")
    return {**body, "name": [*body["name"], {"use": "nickname", "given": [nickname]}]}


@pytest.fixture
def quiet(house: House) -> House:
    """A house whose indexing waits for the test."""
    house.app.state.reindexing.stop()
    return house


def finish(store: Store) -> None:
    """Index until nothing is left."""
    while reindex.reindex_step(store, 2):
        pass


def asked(session: Session, nickname: str) -> int:
    """Search by the nickname; return the status."""
    return int(session.get(f"Patient?nickname={nickname}").status_code)


def test_a_parameter_is_unknown_until_all_is_indexed(quiet: House) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    for number in range(5):
        platform.store(named(f"p{number}", f"Nick{number}"))

    must(admin.put(added()))
    states = []
    while reindex.reindex_step(quiet.gateway.store, 2):
        states.append(asked(platform, "nick3"))

    assert states == [400, 400, 200]
    assert platform.ids("Patient?nickname=nick3") == ["Patient/p3"]
    assert len(platform.ids("Patient?nickname=nick")) == 5


def test_what_is_written_meanwhile_is_found_too(quiet: House) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    for number in range(4):
        platform.store(named(f"p{number}", "Old"))
    must(admin.put(added()))
    reindex.reindex_step(quiet.gateway.store, 2)

    must(platform.put(named("p0", "New")))
    must(platform.put(named("p3", "New")))
    platform.store(named("p9", "New"))
    finish(quiet.gateway.store)

    assert platform.ids("Patient?nickname=new") == ["Patient/p0", "Patient/p3", "Patient/p9"]
    assert platform.ids("Patient?nickname=old") == ["Patient/p1", "Patient/p2"]


def test_progress_is_reported_to_the_administrator(quiet: House) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    for number in range(3):
        platform.store(named(f"p{number}", "Nick"))
    must(admin.put(added()))
    reindex.reindex_step(quiet.gateway.store, 2)

    def state() -> list[object]:
        (one,) = must(admin.get("SearchParameter/nickname/$reindex")).json()["parameter"]
        return [next(value for key, value in part.items() if key != "name") for part in one["part"]]

    assert state() == ["Patient", "nickname", "indexing", 2, 3]
    finish(quiet.gateway.store)
    assert state() == ["Patient", "nickname", "ready", 3, 3]
    assert quiet.login("doctor.a").get("SearchParameter/nickname/$reindex").status_code == 403
    assert admin.get("SearchParameter/other/$reindex").status_code == 404
    log = must(quiet.login("auditor").get("AuditEvent?agent=admin")).json()["entry"]
    events = [(one["resource"]["action"], one["resource"]["outcome"]) for one in log]
    assert events == [("E", "4"), ("E", "0"), ("E", "0"), ("U", "0")]


def test_a_change_that_was_not_kept_is_forgotten(quiet: House) -> None:
    store, bodies = (
        quiet.gateway.store,
        [json.dumps(added(code=code)).encode() for code in ("lost", "kept")],
    )

    with pytest.raises(OSError, match="no space"), store.write_transaction() as connection:
        search_registry.apply_search_parameter(connection, "a", bodies[0], deleted=False)
        assert ("Patient", "lost") in store.registry(connection).ids
        raise OSError("no space")
    with store.write_transaction() as connection:
        search_registry.apply_search_parameter(connection, "a", bodies[1], deleted=False)

    with store.read_transaction() as connection:
        known = store.registry(connection).ids
    assert ("Patient", "kept") in known
    assert ("Patient", "lost") not in known


def test_indexing_goes_on_after_a_restart(quiet: House) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    for number in range(5):
        platform.store(named(f"p{number}", "Nick"))
    must(admin.put(added()))
    reindex.reindex_step(quiet.gateway.store, 2)
    settings = quiet.settings

    again = Store(settings.database, settings.data)
    finish(again)
    again.close()

    # Another process finished it, and this one knows.
    assert len(platform.ids("Patient?nickname=nick")) == 5


def test_the_server_itself_finishes_the_work(house: House) -> None:
    platform, admin = house.system("ehr-commons"), house.login("admin")
    platform.store(named("p1", "Nick"))
    must(admin.put(added()))

    house.app.state.reindexing.wait(30)

    assert platform.ids("Patient?nickname=nick") == ["Patient/p1"]


def test_the_statement_shows_what_is_served(quiet: House) -> None:
    def names() -> set[str]:
        rest = quiet.client.get("/fhir/metadata").json()["rest"][0]["resource"]
        (one,) = [one for one in rest if one["type"] == "Patient"]
        return {parameter["name"] for parameter in one["searchParam"]}

    must(quiet.login("admin").put(added()))
    assert "nickname" not in names()
    finish(quiet.gateway.store)
    assert "nickname" in names()


@pytest.mark.parametrize("how", ["retire", "delete"])
def test_a_retired_or_deleted_parameter_is_gone_at_once(quiet: House, how: str) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    platform.store(named("p1", "Nick"))
    must(admin.put(added()))
    finish(quiet.gateway.store)
    assert asked(platform, "nick") == 200

    if how == "retire":
        must(admin.put(added(status="retired")))
    else:
        must(admin.delete("SearchParameter/nickname"))

    assert asked(platform, "nick") == 400
    finish(quiet.gateway.store)
    with quiet.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT COUNT(*) FROM idx_string WHERE param >= 1000000")
        assert rows.fetchone()[0] == 0


def test_another_expression_is_indexed_anew(quiet: House) -> None:
    platform, admin = quiet.system("ehr-commons"), quiet.login("admin")
    platform.store(named("p1", "Nick"))
    must(admin.put(added()))
    finish(quiet.gateway.store)

    must(admin.put(added(expression="Patient.name.where(use = 'nickname').given.upper()")))

    assert asked(platform, "nick") == 400
    finish(quiet.gateway.store)
    assert platform.ids("Patient?nickname:exact=NICK") == ["Patient/p1"]
    assert platform.ids("Patient?nickname:exact=Nick") == []


def test_an_added_parameter_is_chained_sorted_and_included(furnished: House) -> None:
    furnished.app.state.reindexing.stop()
    admin, hospital = furnished.login("admin"), furnished.system("hospital-a")
    reference = added(
        id="stay", code="stay", name="stay", base=["Observation"], type="reference",
        target=["Encounter"], expression="Observation.encounter",
    )  # fmt: skip
    must(admin.put(reference))
    must(admin.put(added(id="word", code="word", expression="Condition.code.text",
                         base=["Condition"])))  # fmt: skip
    finish(furnished.gateway.store)

    assert hospital.ids("Observation?stay.class=IMP") == ["Observation/lab-1"]
    assert hospital.ids("Observation?stay=enc-1&_include=Observation:stay") == [
        "Observation/lab-1",
        "Encounter/enc-1",
    ]
    assert hospital.ids("Encounter?_has:Condition:encounter:word=asth") == ["Encounter/enc-1"]
    assert hospital.ids("Condition?_sort=-word") == ["Condition/con-1"]


def test_consent_stands_before_an_added_parameter(furnished: House) -> None:
    furnished.app.state.reindexing.stop()
    word = added(id="word", code="word", expression="Condition.code.text", base=["Condition"])
    must(furnished.login("admin").put(word))
    finish(furnished.gateway.store)
    stranger = furnished.login("doctor.b")

    assert furnished.login("doctor.a").ids("Condition?word=asthma") == ["Condition/con-1"]
    assert stranger.ids("Condition?word=asthma") == []
    assert stranger.get("Condition?word=asthma&_total=accurate").json()["total"] == 0


@pytest.mark.parametrize(
    ("elements", "where", "says"),
    [
        ({"expression": "Patient.name.givn"}, "expression", "line 1, column 14"),
        ({"expression": "Patient.name.where("}, "expression", "line 1"),
        ({"expression": "Patient.birthDate"}, "expression", "leads to nothing"),
        ({"expression": ""}, None, ""),
        ({"code": "birthdate"}, "code", "already"),
        ({"code": "a:b"}, "code", "letters"),
        ({"type": "composite"}, "type", "types"),
        ({"base": ["Resource"]}, "base", "cannot"),
        ({"base": ["AuditEvent"]}, "base", "cannot"),
    ],
)
def test_what_cannot_be_indexed_is_refused_with_its_place(
    quiet: House, elements: dict[str, Any], where: str | None, says: str
) -> None:
    answer = quiet.login("admin").put(added(**elements))

    assert answer.status_code in (400, 422)
    issue = answer.json()["issue"][0]
    assert says in issue["diagnostics"]
    assert where is None or issue["expression"] == [f"SearchParameter.{where}"]


def test_two_parameters_of_one_name_are_refused(quiet: House) -> None:
    admin = quiet.login("admin")
    must(admin.put(added()))

    answer = admin.put(added(id="other"))

    assert answer.status_code == 422
    assert admin.get("SearchParameter/other").status_code == 404


def test_only_administrators_and_the_platform_add_parameters(house: House) -> None:
    assert house.login("doctor.a").put(added()).status_code == 403
    assert house.system("hospital-a").put(added()).status_code == 403


def test_a_draft_is_only_kept(quiet: House) -> None:
    must(quiet.login("admin").put(added(status="draft", expression="Patient.nothing")))

    assert not reindex.reindex_step(quiet.gateway.store)


def test_an_expression_that_fails_on_a_resource_does_not_refuse_it(quiet: House) -> None:
    must(quiet.login("admin").put(added(expression="Patient.name.given.single()")))
    body = named("p1", "Nick")

    quiet.system("ehr-commons").store(body)

    finish(quiet.gateway.store)
    assert asked(quiet.system("ehr-commons"), "nick") == 200


def test_a_load_indexes_an_added_parameter_too(quiet: House, tmp_path: Path) -> None:
    must(quiet.login("admin").put(added()))
    finish(quiet.gateway.store)
    file = tmp_path / "patients.ndjson"
    file.write_text(json.dumps(named("p1", "Nick")) + "\n")

    report = load(quiet.gateway.store, [file])

    assert (report.accepted, report.rejected) == (1, 0)
    assert quiet.system("ehr-commons").ids("Patient?nickname=nick") == ["Patient/p1"]
