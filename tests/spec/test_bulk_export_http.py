"""`$export`: files of what the requester may see at the moment each line is read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_gateway.bulk_data import planner, reader
from ehr_gateway.bulk_data.reader import ExportReader, LineChunk
from tests.lib.bulk import export, manifest, names, output, start, status_of, wait
from tests.lib.gateway import (
    BASE,
    House,
    MoveIn,
    Session,
    condition,
    encounter,
    must,
    observation,
    restriction,
)

OF_ANN = ["Condition/con-1", "Encounter/enc-1"]
RESULTS = ["Observation/lab-1", "Observation/lab-2", "Observation/vital-1"]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in a file, one row in a chunk, one in a step of the search for files."""
    monkeypatch.setattr(planner, "LINES_OF_FILE", 1)
    monkeypatch.setattr(planner, "PATIENTS_OF_FILE", 1)
    monkeypatch.setattr(planner, "_WINDOW_ROWS", 1)
    monkeypatch.setattr(reader, "_ROWS", 1)


def _parameters(**values: Any) -> dict[str, Any]:
    sent = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            kind = {bool: "valueBoolean", dict: "valueReference"}.get(type(one), "valueString")
            sent.append({"name": name, kind: one})
    return {"resourceType": "Parameters", "parameter": sent}


def _group(*patients: str) -> dict[str, Any]:
    members = [{"entity": {"reference": f"Patient/{name}"}} for name in patients]
    return {
        "resourceType": "Group", "id": "cohort", "type": "person", "actual": True,
        "member": members,
    }  # fmt: skip


def _second_patient(house: House) -> None:
    hospital = house.system("hospital-a")
    hospital.store(encounter("enc-2", "pat-2"))
    hospital.store(observation("lab-3", "laboratory", "pat-2"))


def test_an_export_holds_each_record_once_as_it_is_read(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    found = manifest(hospital, "$export?_type=Observation,Condition,Encounter")

    assert sorted(names(output(hospital, found))) == [*OF_ANN, *RESULTS]
    assert [file["type"] for file in found["output"]] == ["Observation", "Condition", "Encounter"]
    assert found["requiresAccessToken"] is True
    assert found["request"] == f"{BASE}/fhir/$export?_type=Observation,Condition,Encounter"
    read = must(hospital.get("Condition/con-1")).content
    assert must(hospital.get(found["output"][1]["url"])).content == read + b"\n"


def test_without_types_it_holds_all_that_the_token_covers(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    everything = export(hospital)

    assert {*OF_ANN, *RESULTS, "Organization/hospital-a"} <= set(everything)
    assert len(everything) == len(set(everything))
    # Nobody's audit log or consent is a record of the hospital's.
    assert not {name.partition("/")[0] for name in everything} & {"AuditEvent", "Consent"}
    some = furnished.system("hospital-a", "system/Observation.rs system/Encounter.rs")
    assert sorted(export(some)) == ["Encounter/enc-1", *RESULTS]


def test_smart_v1_scopes_of_backend_services_export(furnished: House) -> None:
    assert sorted(export(furnished.system("hospital-a", "system/Observation.read"))) == RESULTS


def test_a_scope_limited_by_search_parameters_limits_the_export(furnished: House) -> None:
    limited = furnished.system("hospital-a", "system/Observation.rs?category=vital-signs")

    assert export(limited) == ["Observation/vital-1"]


def test_a_revocation_holds_for_the_file_whose_address_is_known(furnished: House) -> None:
    furnished.share()
    other = furnished.system("hospital-b")
    found = manifest(other, "$export?_type=Observation")
    assert sorted(names(output(other, found))) == RESULTS
    patient = furnished.login("p.pat-1")

    patient.store(restriction("no-lab", against="Organization/hospital-b", domain="laboratory"))
    assert names(output(other, found)) == ["Observation/vital-1"]

    furnished.share(status="inactive")
    assert output(other, found) == []


def test_a_revocation_holds_in_the_middle_of_a_download(
    furnished: House, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "LINES_OF_FILE", 100)
    furnished.share()
    other, read = furnished.system("hospital-b"), ExportReader.read
    found = manifest(other, "$export?_type=Observation")

    def read_and_close(self: ExportReader, access: Any) -> LineChunk:
        chunk = read(self, access)
        furnished.share(status="inactive")
        return chunk

    monkeypatch.setattr(ExportReader, "read", read_and_close)

    assert names(output(other, found)) == ["Observation/lab-1"]


def test_a_token_that_lost_its_right_gets_neither_status_nor_file(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    status = status_of(start(hospital, "$export?_type=Observation"))
    found = wait(hospital, status)
    file = found["output"][0]["url"]
    less = furnished.system("hospital-a", "system/Encounter.rs")
    others = furnished.system("hospital-b")

    for code, session in ((403, less), (404, others)):
        assert session.get(status).status_code == code
        assert session.get(file).status_code == code
    assert others.delete(status).status_code == 404
    furnished.gateway.revocations.revoke("client", "system-hospital-a", furnished.clock())
    for address in (status, file):
        assert hospital.get(address).status_code == 401


def test_who_may_export(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    for login in ("doctor.a", "steward", "auditor", "admin", "researcher"):
        assert start(furnished.login(login)).status_code == 403
    for address in ("$export", "Group/cohort/$export"):
        assert start(patient, address).status_code == 403

    own = export(patient, "Patient/$export")

    assert {*OF_ANN, *RESULTS, "Patient/pat-1", "Consent/joining-1"} <= set(own)
    assert "Patient/pat-2" not in own
    other = _parameters(patient={"reference": "Patient/pat-2"})
    assert start(patient, "Patient/$export", other).status_code == 403


def test_what_is_written_later_is_not_in_it(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    status = status_of(start(hospital, "$export?_type=Observation"))
    changed = observation("lab-1", "laboratory") | {"status": "amended"}
    must(hospital.put(changed))
    must(hospital.put(changed | {"status": "corrected"}))
    must(hospital.delete("Observation/lab-2"))
    hospital.store(observation("lab-9", "laboratory"))

    found = output(hospital, wait(hospital, status))

    assert sorted((one["id"], one["status"]) for one in found) == [
        ("lab-1", "final"), ("vital-1", "final"),
    ]  # fmt: skip


def test_a_replaced_version_is_as_closed_as_the_one_that_replaced_it(furnished: House) -> None:
    furnished.share()
    other, hospital = furnished.system("hospital-b"), furnished.system("hospital-a")
    patient = furnished.login("p.pat-1")
    patient.store(restriction("no-lab", against="Organization/hospital-b", domain="laboratory"))
    found = manifest(other, "$export?_type=Observation")
    assert names(output(other, found)) == ["Observation/vital-1"]

    must(hospital.put(observation("vital-1", "laboratory")))

    assert output(other, found) == []


def test_since_goes_on_exactly_where_an_export_ended(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    furnished.clock.forward(seconds=60)
    first = manifest(hospital, "$export?_type=Observation")
    hospital.store(observation("new", "laboratory"))
    must(hospital.put(observation("lab-1", "laboratory") | {"status": "amended"}))
    must(hospital.delete("Observation/lab-2"))
    since = first["transactionTime"]

    second = manifest(hospital, f"$export?_type=Observation,Encounter&_since={since}")

    assert sorted(names(output(hospital, second))) == ["Observation/lab-1", "Observation/new"]
    (bundle,) = output(hospital, second, "deleted")
    assert bundle["type"] == "transaction"
    assert [one["request"] for one in bundle["entry"]] == [
        {"method": "DELETE", "url": "Observation/lab-2"}
    ]


def test_until_holds_the_versions_of_then(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    furnished.clock.forward(seconds=60)
    must(hospital.put(observation("lab-1", "laboratory") | {"status": "amended"}))
    hospital.store(observation("new", "laboratory"))

    found = output(
        hospital, manifest(hospital, "$export?_type=Observation&_until=2026-11-22T08:00:30Z")
    )

    assert sorted(names(found)) == RESULTS
    assert {one["status"] for one in found} == {"final"}


def test_filters_choose_among_the_resources_of_their_type(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    queries = "Observation?category=laboratory%26encounter=enc-1,Observation?_id=vital-1"

    found = export(hospital, f"$export?_type=Observation,Condition&_typeFilter={queries}")

    assert sorted(found) == ["Condition/con-1", "Observation/lab-1", "Observation/vital-1"]


def test_filters_are_judged_on_the_current_version(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    filtered = "$export?_type=Observation&_typeFilter=Observation?status=final"
    status = status_of(start(hospital, filtered))
    must(hospital.put(observation("lab-1", "laboratory") | {"status": "amended"}))
    must(hospital.put(observation("lab-2", "laboratory") | {"issued": "2026-01-06T09:00:00Z"}))

    found = output(hospital, wait(hospital, status))

    assert sorted(names(found)) == ["Observation/lab-2", "Observation/vital-1"]
    assert not any("issued" in one for one in found)


def test_elements_leave_the_rest_out_and_say_so(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    found = manifest(hospital, "$export?_type=Encounter,Condition&_elements=id,Encounter.period")

    of_type = {one["resourceType"]: one for one in output(hospital, found)}
    assert of_type["Encounter"]["period"]["start"] == "2026-01-05T08:00:00+08:00"
    # Mandatory elements stay.
    assert set(of_type["Condition"]) == {"resourceType", "id", "meta", "subject"}
    assert of_type["Condition"]["meta"]["tag"][0]["code"] == "SUBSETTED"


def test_patients_are_exported_with_what_is_about_them(furnished: House) -> None:
    _second_patient(furnished)
    hospital = furnished.system("hospital-a")

    found = export(hospital, "Patient/$export")
    with_directory = export(hospital, "Patient/$export?_type=Encounter,Organization")

    assert {*OF_ANN, *RESULTS, "Encounter/enc-2", "Observation/lab-3"} <= set(found)
    assert not {"Organization/hospital-a", "Organization/hospital-b"} & set(found)
    assert {"Encounter/enc-1", "Organization/hospital-b"} <= set(with_directory)


def test_a_group_is_exported_by_its_members(furnished: House) -> None:
    _second_patient(furnished)
    hospital = furnished.system("hospital-a")
    hospital.store(_group("pat-2", "pat-1"))
    one = _parameters(patient={"reference": "Patient/pat-2"})

    everybody = export(hospital, "Group/cohort/$export?_type=Encounter,Observation")
    chosen = export(hospital, "Group/cohort/$export", one)

    encounters = ["Encounter/enc-1", "Encounter/enc-2"]
    assert sorted(everybody) == sorted([*encounters, *RESULTS, "Observation/lab-3"])
    assert {"Encounter/enc-2", "Observation/lab-3"} <= set(chosen)
    assert not {*OF_ANN, *RESULTS} & set(chosen)
    hospital.store(_group("pat-1"))
    assert start(hospital, "Group/cohort/$export", one).status_code == 400


def test_a_group_that_is_closed_by_now_gives_nothing(furnished: House) -> None:
    furnished.share()
    hospital, other = furnished.system("hospital-a"), furnished.system("hospital-b")
    hospital.store(_group("pat-1"))
    status = status_of(start(other, "Group/cohort/$export?_type=Observation"))
    found = wait(other, status)
    assert sorted(names(output(other, found))) == RESULTS

    furnished.login("p.pat-1").store(restriction("one", against="Organization/hospital-b"))

    assert other.get(found["output"][0]["url"]).status_code == 404
    assert start(other, "Group/cohort/$export").status_code == 404


def test_a_record_of_two_members_comes_once(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    _second_patient(furnished)
    hospital.store(_group("pat-1", "pat-2"))

    found = export(hospital, "Group/cohort/$export?_type=Group,Observation")

    assert found.count("Group/cohort") == 1


@pytest.mark.parametrize("address", ["Patient/$export", "Group/cohort/$export"])
def test_organized_by_patient_each_block_begins_with_its_patient(
    furnished: House, address: str
) -> None:
    _second_patient(furnished)
    # Who may see the Patients themselves, too.
    hospital = furnished.system("ehr-commons")
    for resource in (_group("pat-1", "pat-2"), encounter("enc-8"), encounter("enc-9", "pat-2")):
        hospital.store(resource)

    found = manifest(hospital, f"{address}?_type=Patient,Encounter&organizeOutputBy=Patient")

    assert found["outputOrganizedBy"] == "Patient"
    assert all("type" not in file for file in found["output"])
    blocks: dict[str, list[str]] = {}
    for line in output(hospital, found):
        if line["resourceType"] == "Parameters":
            (header,) = line["parameter"]
            assert header["name"] == "header"
            block = blocks.setdefault(header["valueReference"]["reference"], [])
        else:
            block += names([line])
    assert blocks == {
        "Patient/pat-1": ["Patient/pat-1", "Encounter/enc-8"],
        "Patient/pat-2": ["Patient/pat-2", "Encounter/enc-9"],
    }


def test_provenance_comes_with_what_it_is_about(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    for name, target in (("p-1", "lab-1"), ("p-2", "lab-1"), ("p-3", "lab-2"), ("p-4", "gone")):
        furnished.clock.forward(seconds=1)
        hospital.store(
            {
                "resourceType": "Provenance",
                "id": name,
                "target": [
                    {"reference": f"Observation/{'vital-1' if target == 'gone' else target}"}
                ],
                "recorded": "2026-01-06T09:00:00Z",
                "agent": [{"who": {"reference": "Organization/hospital-a"}}],
            }
        )
    some = "$export?_type=Observation&_typeFilter=Observation?category=laboratory"

    relevant = export(hospital, f"{some}&includeAssociatedData=RelevantProvenanceResources")
    latest = export(hospital, f"{some}&includeAssociatedData=LatestProvenanceResources")
    none = export(hospital, some)

    results = ["Observation/lab-1", "Observation/lab-2"]
    assert sorted(relevant) == [*results, "Provenance/p-1", "Provenance/p-2", "Provenance/p-3"]
    assert sorted(latest) == [*results, "Provenance/p-2", "Provenance/p-3"]
    assert sorted(none) == results


def test_a_manifest_comes_in_pages_where_the_client_takes_them(
    furnished: House, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehr_gateway.routes.bulk_exports._STEP_SECONDS", 0)
    monkeypatch.setattr("ehr_gateway.bulk_data.exports._FILES_OF_PAGE", 1)
    hospital = furnished.system("hospital-a")
    asked = "$export?_type=Observation,Condition&allowPartialManifests=true"
    address: str | None = status_of(start(hospital, asked))
    early, pages = [], []
    while address is not None:
        answer = hospital.get(address)
        if answer.status_code == 202:
            assert len(answer.headers["x-progress"]) < 100
            assert answer.headers["retry-after"] == "1"
            early += [answer.json()] if answer.content else []
            continue
        pages.append(must(answer).json())
        address = next((one["url"] for one in pages[-1].get("link", [])), None)

    assert len(pages) == 4
    assert [len(page["output"]) for page in pages] == [1, 1, 1, 1]
    # What was given early is not altered, but for the link.
    assert early[0]["output"] == pages[0]["output"]
    found = [name for page in pages for name in names(output(hospital, page))]
    assert sorted(found) == ["Condition/con-1", *RESULTS]


def test_how_a_file_is_cut_changes_nothing(furnished: House, small_files: None) -> None:
    hospital = furnished.system("hospital-a")
    _second_patient(furnished)
    hospital.store(_group("pat-1", "pat-2"))
    for address in ("$export", "Patient/$export", "Group/cohort/$export"):
        found = export(hospital, f"{address}?_type=Observation,Encounter")
        assert sorted(found) == [
            "Encounter/enc-1", "Encounter/enc-2", "Observation/lab-1", "Observation/lab-2",
            "Observation/lab-3", "Observation/vital-1",
        ]  # fmt: skip


def test_a_cancelled_export_is_gone(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    status = status_of(start(hospital, "$export?_type=Observation"))
    file = wait(hospital, status)["output"][0]["url"]

    assert hospital.delete(status).status_code == 202

    for method, address in (("GET", status), ("GET", file), ("DELETE", status)):
        assert hospital.request(method, address).status_code == 404


def test_an_export_expires(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    status = status_of(start(hospital, "$export?_type=Observation"))
    answer = must(hospital.get(status))
    assert answer.headers["expires"] == "Mon, 23 Nov 2026 08:00:00 GMT"

    furnished.clock.forward(seconds=86_400)

    later = furnished.system("hospital-a")
    assert later.get(status).status_code == 410
    assert later.get(answer.json()["output"][0]["url"]).status_code == 410
    # What was asked for is forgotten with the next one.
    start(later)
    assert later.get(status).status_code == 404


def test_a_client_has_so_many_exports_at_a_time(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    addresses = [status_of(start(hospital)) for _ in range(20)]

    assert start(hospital).status_code == 429
    must(hospital.delete(addresses[0]))
    assert start(hospital).status_code == 202


def test_another_process_goes_on_with_it(furnished: House, small_files: None) -> None:
    hospital = furnished.system("hospital-a")
    status = status_of(start(hospital, "$export?_type=Observation"))
    token = hospital.headers["Authorization"].removeprefix("Bearer ")
    other = House(
        furnished.settings.data, clock=furnished.clock, database_url=furnished.settings.database_url
    )
    with other.client:
        found = wait(Session(other.client, token), status)
        exported = output(hospital, found)
    other.gateway.store.close()

    assert sorted(names(exported)) == RESULTS


REFUSED = {
    "_outputFormat=text/csv": "_outputFormat",
    "_type=Nonsense": "_type",
    "_type=AuditEvent": "_type",
    "_since=yesterday": "_since",
    "_since=2026-01-01T00:00:00Z&_since=2027-01-01T00:00:00Z": "_since",
    "_typeFilter=Observation?colour=red": "_typeFilter",
    "_typeFilter=Observation?_sort=date": "_typeFilter",
    "_typeFilter=Nonsense?code=1": "_typeFilter",
    "_elements=Observation.colour": "_elements",
    "includeAssociatedData=_everything": "includeAssociatedData",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_not_served_is_refused_by_its_name(furnished: House, query: str) -> None:
    answer = start(furnished.system("hospital-a"), f"$export?{query}")

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == [REFUSED[query]]


@pytest.mark.parametrize(
    ("address", "body", "code"),
    [
        ("$export?patient=Patient/pat-1", None, 400),
        ("$export?organizeOutputBy=Patient", None, 400),
        ("Patient/$export?organizeOutputBy=Encounter", None, 400),
        ("Patient/$export", {"resourceType": "Basic"}, 400),
        ("Patient/$export", _parameters(patient={"reference": "Patient/absent"}), 400),
        ("Patient/$export", _parameters(patient={"reference": "Encounter/enc-1"}), 400),
        ("Patient/$export", _parameters(colour="red"), 400),
        ("Group/absent/$export", None, 404),
        ("Observation/$export", None, 404),
        ("Patient/pat-1/$export", None, 404),
    ],
)
def test_a_kick_off_is_refused(furnished: House, address: str, body: Any, code: int) -> None:
    assert start(furnished.system("hospital-a"), address, body).status_code == code


def test_a_kick_off_says_that_it_waits(furnished: House) -> None:
    assert furnished.system("hospital-a").get("$export").status_code == 400


def test_lenient_handling_passes_over_and_tells_what(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    asked = "$export?_type=Observation,Nonsense&includeAssociatedData=_all"

    found = manifest(hospital, asked, Prefer="respond-async, handling=lenient")

    assert sorted(names(output(hospital, found))) == RESULTS
    texts = [one["issue"][0]["diagnostics"] for one in output(hospital, found, "error")]
    assert len(texts) == 2
    assert all("passed over" in text for text in texts)


def test_each_patient_finds_the_export_in_their_own_log(furnished: House) -> None:
    furnished.share()
    other = furnished.system("hospital-b")
    output(other, manifest(other, "$export?_type=Observation"))

    furnished.gateway.audit_batcher.flush()
    for login, expected in (("p.pat-1", {"laboratory", "observation"}), ("p.pat-2", set())):
        events = must(furnished.login(login).get("AuditEvent?_count=50")).json()["entry"]
        query = base64.b64encode(b"Observation?$export").decode()
        told = [json.dumps(one) for one in events if query in json.dumps(one)]
        assert {word for word in ("laboratory", "observation") for one in told if word in one} == (
            expected
        )


def _exports(house: House) -> Iterator[bytes]:
    """Yield all that hospital-b's exports tell, ids of exports and counts of files included."""
    other = house.system("hospital-b")
    house.system("hospital-b").store(_group("pat-1") | {"id": "own"})
    since = "_since=2026-01-01T00:00:00Z"
    for address in (
        "$export", f"$export?{since}", "Patient/$export", f"Patient/$export?{since}",
        "Patient/$export?organizeOutputBy=Patient",
        "Group/own/$export", f"Group/own/$export?{since}",
        "$export?_typeFilter=Observation?code=718-7&allowPartialManifests=true",
        "$export?_type=Observation&includeAssociatedData=LatestProvenanceResources",
    ):  # fmt: skip
        status = status_of(start(other, address))
        found = wait(other, status)
        yield json.dumps(found).replace(status.rpartition("/")[2], "id").encode()
        for section in ("output", "deleted", "error"):
            for file in found[section]:
                yield must(other.get(file["url"])).content


def test_hidden_records_change_no_export(move_in: MoveIn, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that what is counted shows in the number of files.
    monkeypatch.setattr(planner, "LINES_OF_FILE", 2)
    monkeypatch.setattr(planner, "_WINDOW_ROWS", 2)
    monkeypatch.setattr(reader, "_ROWS", 2)
    # Nor does it show how long a step took.
    monkeypatch.setattr("ehr_gateway.routes.bulk_exports._STEP_SECONDS", 0)
    monkeypatch.setattr("ehr_gateway.bulk_data.exports._FILES_OF_PAGE", 2)
    stores = []
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        house.app.state.deliveries.stop()
        house.share()
        close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
        house.login("p.pat-1").store(close)
        hospital = house.system("hospital-a")
        if more:
            hospital.store(observation("hidden-1", "laboratory"))
            hospital.store(encounter("hidden-3", "pat-2"))
            for number in range(4):
                hospital.store(observation(f"hidden-{number + 4}", "vital-signs", "pat-2"))
            hospital.store(condition("hidden-2", "hidden-3", "pat-2"))
            must(hospital.delete("Observation/hidden-1"))
        for number in range(3):
            hospital.store(observation(f"shown-{number}", "vital-signs"))
        must(hospital.delete("Observation/shown-2"))
        stores.append(list(_exports(house)))

    without, with_hidden = stores

    assert sum(b'"shown-1"' in one for one in without) > 5
    assert any(b"Observation/shown-2" in one for one in without)
    assert without == with_hidden
