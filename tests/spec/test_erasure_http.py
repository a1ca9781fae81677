"""`$purge`, `$decide-erasure`, `$erasures`: two people, one transaction, no row left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ehr_etl.erasure.byte_search import ByteSearch
from ehr_etl.erasure.file_contents import read_contents
from ehr_fhir.errors import Conflict
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log import anomalies
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.bulk_data.import_files import FileWriter
from ehr_gateway.erasure.finish import finish_erasures
from ehr_gateway.erasure.requests import is_pending
from ehr_gateway.health_links import make_link
from ehr_gateway.health_links import open_link as open_link_module
from ehr_gateway.import_sources import parse_import_sources
from ehr_gateway.notices import access_notices
from ehr_gateway.schema import ALL_TABLES
from ehr_inbound.bulk_files import store_batches
from ehr_inbound.bulk_files.load import load
from ehr_inbound.bulk_imports.run import run_waiting_imports
from ehr_privacy.audit import public_key
from tests.lib.bulk import output, start, status_of, wait
from tests.lib.gateway import House, condition, encounter, must, observation, patient
from tests.lib.health_links import PASSCODE, create_link, open_link

REASON = "Asked for by the person, papers 12/2026"
MARK = "zqmarkzq"


@pytest.fixture
def staffed(furnished: House) -> House:
    """Return a house with the people who erase, and a record in which every text is a mark."""
    for account in (
        Account("steward.ho", "steward", "Ho", "ehr-commons"),
        Account("steward.lee", "steward", "Lee", "ehr-commons", person="lee"),
        Account("admin.lee", "administrator", "Lee", "ehr-commons", person="lee"),
    ):
        accounts.add_account(furnished.gateway.store, account)
    hospital = furnished.system("hospital-a")
    marked = {
        **condition("con-mark", "enc-1"),
        "note": [{"text": f"{MARK}note told the nurse {'long ' * 700}{MARK}end"}],
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{MARK}story</div>',
        },
    }
    hospital.store(marked)
    hospital.store({**marked, "note": [{"text": f"{MARK}second"}]})
    hospital.store(observation("lab-9", "laboratory", patient="pat-2"))
    return furnished


def parameters(**values: str) -> dict[str, Any]:
    """Return a Parameters resource."""
    codes = ("decision", "linked")
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, "valueCode" if name in codes else "valueString": value}
            for name, value in values.items()
        ],
    }


def ask(house: House, login: str = "admin", patient_id: str = "pat-1", **more: str) -> Any:
    """Ask for an erasure."""
    body = parameters(reason=REASON, **more)
    return house.login(login).post(f"Patient/{patient_id}/$purge", body)


def decide(house: House, erasure: str, login: str = "steward.ho", how: str = "approve") -> Any:
    """Decide on an erasure."""
    body = parameters(erasure=erasure, decision=how, reason="The papers were checked again")
    return house.login(login).post("$decide-erasure", body)


def value(answer: Any, name: str) -> Any:
    """Return the value of a parameter."""
    for part in must(answer).json()["parameter"]:
        if part["name"] == name:
            return next(item for key, item in part.items() if key.startswith("value"))
    raise AssertionError(name)


def erase(house: House, patient_id: str = "pat-1", **more: str) -> str:
    """Erase a patient with two people; return the erasure's id."""
    erasure = str(value(ask(house, patient_id=patient_id, **more), "erasure"))
    must(decide(house, erasure))
    return erasure


def finish(house: House) -> None:
    """Write the database's files anew, as the background of a process does."""
    log: AuditLog = house.app.state.audit_log
    finish_erasures(house.gateway.store, house.settings, log.spool, house.clock())


def read_rows(house: House) -> Iterator[tuple[str, str]]:
    """Yield every row of every table as text."""
    with house.gateway.store.read_transaction() as connection:
        for metadata in ALL_TABLES:
            for table in metadata.sorted_tables:
                for row in connection.execute(f"SELECT * FROM {table.name}").fetchall():
                    values = (bytes(item) if isinstance(item, memoryview) else item for item in row)
                    yield table.name, repr(tuple(values))


def rows_of(house: House, patient_id: str) -> list[str]:
    """Return the rows of `resource`, and of what is beside it, about a patient."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.* FROM resource r JOIN record_patient p ON p.pk = r.pk WHERE p.patient = ?"
            " ORDER BY r.pk",
            (patient_id,),
        ).fetchall()
        return [repr(tuple(row)) for row in rows]


def test_who_asked_cannot_approve_nor_can_another_account_of_theirs(staffed: House) -> None:
    erasure = value(ask(staffed, "admin.lee"), "erasure")
    own = value(ask(staffed, "steward", "pat-2"), "erasure")

    assert decide(staffed, erasure, "steward.lee").status_code == 403
    assert decide(staffed, own, "steward").status_code == 403
    assert decide(staffed, erasure, "admin").status_code == 403
    assert rows_of(staffed, "pat-1")
    must(decide(staffed, erasure, "steward"))


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "auditor", "researcher"])
def test_nobody_else_asks_or_decides(staffed: House, login: str) -> None:
    erasure = value(ask(staffed), "erasure")

    assert ask(staffed, login, "pat-2").status_code == 403
    assert decide(staffed, erasure, login).status_code == 403
    assert rows_of(staffed, "pat-1")


def test_a_program_neither_asks_nor_decides(staffed: House) -> None:
    platform = staffed.system("ehr-commons")
    assert platform.post("Patient/pat-1/$purge", parameters(reason=REASON)).status_code == 403


def test_a_refused_erasure_leaves_everything(staffed: House) -> None:
    erasure = value(ask(staffed), "erasure")
    before = rows_of(staffed, "pat-1")

    must(decide(staffed, erasure, how="refuse"))

    assert rows_of(staffed, "pat-1") == before
    assert decide(staffed, erasure).status_code == 404
    must(ask(staffed))


def test_what_an_erasure_would_take_is_told_before(staffed: House) -> None:
    answer = ask(staffed)
    assert value(answer, "records") >= 7
    assert (value(answer, "accounts"), value(answer, "shared")) == (1, 0)
    assert ask(staffed).status_code == 409


def test_a_patient_in_treatment_is_counted_and_one_who_came_since_is_not_erased(
    staffed: House,
) -> None:
    hospital = staffed.system("hospital-a")
    hospital.store({**encounter("enc-now"), "status": "in-progress"})
    answer = ask(staffed)
    assert value(answer, "open-visits") == 1
    hospital.store({**encounter("enc-next"), "status": "planned"})

    refused = decide(staffed, value(answer, "erasure"))

    assert refused.status_code == 409
    assert "came into treatment" in refused.text
    must(staffed.login("steward.ho").get("$erasures"))
    hospital.store({**encounter("enc-next"), "status": "cancelled"})
    must(decide(staffed, value(answer, "erasure")))


def test_nothing_of_the_patient_is_in_any_table_or_page(staffed: House) -> None:
    staffed.share()
    must(staffed.login("doctor.b").get("Condition?patient=pat-1"))
    staffed.login("doctor.b").get("Observation/lab-1")
    made = create_link(staffed.login("p.pat-1"), label=MARK)
    must(open_link(staffed, made["link"], recipient=MARK))
    texts = {MARK}
    ids = {"pat-1", "Condition/con-mark", "con-mark", "lab-1", "enc-1", "joining-1"}
    search = ByteSearch(texts, ids)
    before = {table for table, row in read_rows(staffed) if search.search(row.encode())}
    assert {"resource", "record_patient", "idx_reference", "audit", "account"} <= before
    assert {"health_link", "health_link_opening"} <= before

    erase(staffed)
    finish(staffed)

    left = [(table, row) for table, row in read_rows(staffed) if search.search(row.encode())]
    assert left == []
    if staffed.gateway.store.embedded is not None:
        for path in sorted(staffed.settings.data.glob("ehr.db*")):
            hits, _ = search.search_stream(read_contents(path))
            assert (path.name, hits) == (path.name, set())


@pytest.mark.parametrize("table", ["notice", "audit_flag"])
def test_what_a_thread_derives_from_the_log_meanwhile_is_not_kept(
    staffed: House, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    # It reads the log, the patient is erased, then it writes.
    staffed.app.state.deliveries.stop()
    staffed.share()
    must(staffed.login("doctor.b").get("Condition?patient=pat-1"))
    staffed.gateway.audit_batcher.flush()
    store = staffed.gateway.store
    module, name = (
        (access_notices, "_build_notice") if table == "notice" else (anomalies, "_build_flag")
    )
    build, built = getattr(module, name), list[Any]()

    def build_then_erase(*given: Any) -> Any:
        built.append(build(*given))
        if len(built) == 1:
            erase(staffed)
        return built[-1]

    monkeypatch.setattr(module, name, build_then_erase)
    if table == "notice":
        access_notices.queue_access_notices(store, staffed.clock())
    else:
        anomalies.flag_anomalies(store.database, staffed.clock)

    assert any(one is not None and one.patient == "pat-1" for one in built)
    with store.read_transaction() as connection:
        statement = f"SELECT COUNT(*) AS n FROM {table} WHERE patient = 'pat-1'"
        assert connection.execute(statement).fetchone()["n"] == 0


@pytest.mark.parametrize("step", ["made", "opened", "refused"])
def test_a_link_that_is_made_or_opened_meanwhile_is_not_kept(
    staffed: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    link = create_link(staffed.login("p.pat-1"))["link"]
    session = staffed.login("p.pat-1")
    module: Any = make_link if step == "made" else open_link_module
    name = "verify_secret" if step == "refused" else "make_summary"
    work, done = getattr(module, name), list[bool]()

    def work_then_erase(*given: Any) -> Any:
        found = work(*given)
        erase(staffed)
        done.append(True)
        return found

    monkeypatch.setattr(module, name, work_then_erase)
    if step == "made":
        sent = parameters(content="live", passcode=PASSCODE, until="2026-12-22")
        answer = session.post("Patient/pat-1/$create-health-link", sent)
    else:
        passcode = PASSCODE if step == "opened" else "a wrong one"
        answer = open_link(staffed, link, passcode, recipient=MARK)

    assert done == [True]
    assert answer.status_code == 404
    with staffed.gateway.store.read_transaction() as connection:
        for table in ("health_link", "health_link_opening"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] == 0
    assert not any(MARK in row for _, row in read_rows(staffed))


def test_other_patients_rows_are_as_they_were(staffed: House) -> None:
    before = rows_of(staffed, "pat-2")
    found = staffed.login("p.pat-2").ids("Observation?patient=pat-2")

    erase(staffed)
    finish(staffed)

    assert rows_of(staffed, "pat-2") == before
    assert staffed.login("p.pat-2").ids("Observation?patient=pat-2") == found


def test_the_events_say_who_and_nothing_of_whom(staffed: House) -> None:
    erasure = erase(staffed)

    with staffed.gateway.store.read_transaction() as connection:
        events = connection.execute(
            "SELECT login, patient, query, entities FROM audit WHERE interaction = 'erase-audit'"
            " OR (reason = 'erased' AND login <> '')"
        ).fetchall()
    assert {event["login"] for event in events} == {"steward.ho"}
    assert all(event["patient"] is None for event in events)
    assert any("asked-by=admin" in (event["query"] or "") for event in events)
    assert any(f"Basic/{erasure}" in event["entities"] for event in events)
    assert "pat-1" not in str([tuple(event) for event in events])


def test_the_audit_log_still_verifies(staffed: House) -> None:
    log: AuditLog = staffed.app.state.audit_log
    log.flush_and_sign()
    erase(staffed)
    finish(staffed)
    log.flush_and_sign()

    key = log.folder.read_key()
    assert key is not None
    name, public = key
    report = verify_log(
        VerifyTask(staffed.settings.database, log.folder.path, name, public, None, 1),
        lambda done, of: None,
    )
    assert report.is_intact, report.findings
    assert report.erased > 0
    assert public_key is not None


def test_the_feed_tells_of_it_by_a_hash_and_gives_no_position_again(staffed: House) -> None:
    lake = staffed.system("ehr-commons", "ehr/feed.read")
    end = int(lake.get("/feed?after=0&decisions=0&limit=5000").headers["X-Feed-Next"])

    # What was written last is this patient's.
    erase(staffed, "pat-2")

    answer = must(lake.get("/feed?after=0&decisions=0&limit=5000"))
    assert '"erased":"' in answer.text
    assert "pat-2" not in answer.text
    assert int(answer.headers["X-Feed-Next"]) > end


def test_an_erased_id_is_nobodys_again(staffed: House) -> None:
    erase(staffed)

    answer = staffed.system("ehr-commons").put(patient("pat-1", "ZA1234560"))

    assert answer.status_code == 409
    assert staffed.login("steward").get("Patient/pat-1").status_code == 404


def test_of_linked_accounts_somebody_says_what_becomes(staffed: House) -> None:
    platform = staffed.system("ehr-commons")
    linked = {**patient("pat-2", "ZB1234563"),
              "link": [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}]}  # fmt: skip
    must(platform.put(linked))

    assert ask(staffed).status_code == 422
    erase(staffed, linked="leave")

    left = must(staffed.login("p.pat-2").get("Patient/pat-2")).json()
    assert left["link"] == [{"type": "replaces", "other": {"display": "Erased record"}}]
    assert "pat-1" not in "".join(row for _, row in read_rows(staffed))


def test_linked_accounts_may_all_be_erased(staffed: House) -> None:
    platform = staffed.system("ehr-commons")
    linked = {**patient("pat-2", "ZB1234563"),
              "link": [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}]}  # fmt: skip
    must(platform.put(linked))

    answer = ask(staffed, linked="include")
    assert value(answer, "accounts") == 2
    must(decide(staffed, value(answer, "erasure")))

    everything = "".join(row for _, row in read_rows(staffed))
    assert "pat-1" not in everything
    assert "pat-2" not in everything


def test_of_a_record_that_was_moved_the_versions_go_that_were_theirs(staffed: House) -> None:
    must(staffed.login("steward").post("Observation/lab-2/$move", parameters(
        patient="pat-2", reason="Filed under the wrong person"
    )))  # fmt: skip

    erase(staffed)

    with staffed.gateway.store.read_transaction() as connection:
        versions = connection.execute(
            "SELECT version FROM resource WHERE type = 'Observation' AND id = 'lab-2'"
        ).fetchall()
    assert [row["version"] for row in versions] == [2]
    assert staffed.login("p.pat-2").ids("Observation?patient=pat-2&_id=lab-2") == [
        "Observation/lab-2"
    ]


def test_a_record_of_two_patients_goes_and_is_counted_before(staffed: House) -> None:
    both = {
        "resourceType": "Group", "id": "group-1", "type": "person", "actual": True,
        "member": [{"entity": {"reference": f"Patient/{name}"}} for name in ("pat-1", "pat-2")],
    }  # fmt: skip
    staffed.system("hospital-a").store(both)

    answer = ask(staffed)
    assert value(answer, "shared") == 1
    must(decide(staffed, value(answer, "erasure")))

    assert "group-1" not in "".join(row for _, row in read_rows(staffed))


def test_the_list_shows_what_became_of_it(staffed: House) -> None:
    erasure = value(ask(staffed), "erasure")
    assert "pat-1" in must(staffed.login("steward").get("$erasures")).text
    must(decide(staffed, erasure))
    finish(staffed)

    text = must(staffed.login("admin").get("$erasures")).text
    assert "pat-1" not in text
    assert '"ended"' in text
    assert staffed.login("doctor.a").get("$erasures").status_code == 403


def test_a_later_visit_to_the_same_clinic_is_unharmed(staffed: House) -> None:
    erase(staffed)
    finish(staffed)
    hospital = staffed.system("hospital-a")

    hospital.store(encounter("enc-7", patient="pat-2"))

    assert "Encounter/enc-7" in staffed.login("p.pat-2").ids("Encounter?patient=pat-2")


def test_a_load_does_not_bring_the_patient_back(staffed: House, tmp_path: Path) -> None:
    erase(staffed)
    file = tmp_path / "export.ndjson"
    bodies = [patient("pat-1", "ZA1234560"), observation("lab-1", "laboratory"),
              observation("lab-8", "laboratory", patient="pat-2")]  # fmt: skip
    file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), "utf-8")

    report = load(staffed.gateway.store, [file], "hospital-a", lambda count: None)

    assert sorted((reject.type, reject.id) for reject in report.rejects) == [
        ("Observation", "lab-1"), ("Patient", "pat-1")
    ]  # fmt: skip
    assert "pat-1" not in "".join(row for _, row in read_rows(staffed))


def test_a_load_that_runs_while_a_patient_is_erased_brings_nothing_back(
    staffed: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_batches, "_ROWS_PER_TRANSACTION", 1)
    file = tmp_path / "export.ndjson"
    bodies = [observation("lab-8", "laboratory", patient="pat-2"), patient("pat-1", "ZA1234560"),
              observation("lab-11", "laboratory")]  # fmt: skip
    file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), "utf-8")

    def erase_once(stored: int) -> None:
        if stored == 1:
            erase(staffed)

    with pytest.raises(Conflict, match=r"erased while the load ran.* 1 resources"):
        load(staffed.gateway.store, [file], "hospital-a", erase_once)

    assert "pat-1" not in "".join(row for _, row in read_rows(staffed))
    again = load(staffed.gateway.store, [file], "hospital-a", lambda count: None)
    assert (again.accepted, again.rejected, again.unchanged) == (1, 2, 1)


def test_what_a_crash_left_is_finished_by_the_next_process(
    staffed: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(database: object) -> None:
        raise SystemExit

    erase(staffed)
    with monkeypatch.context() as patched:
        patched.setattr("ehr_gateway.erasure.finish.rewrite_database", crash)
        with pytest.raises(SystemExit):
            finish(staffed)
    assert is_pending(staffed.gateway.store)

    finish(staffed)

    assert not is_pending(staffed.gateway.store)
    assert MARK not in "".join(row for _, row in read_rows(staffed))


def test_an_erasure_forgets_what_exports_asked_of_patients(staffed: House) -> None:
    hospital = staffed.system("ehr-commons")
    reference = {"name": "patient", "valueReference": {"reference": "Patient/pat-1"}}
    asked = {"resourceType": "Parameters", "parameter": [reference]}
    by_name = "$export?_type=Patient&_typeFilter=Patient?name=chan"
    named = [
        status_of(start(hospital, "Patient/$export", asked)),
        status_of(start(hospital, by_name)),
    ]
    other = status_of(start(hospital, "$export?_type=Observation"))

    erase(staffed)

    assert [hospital.get(status).status_code for status in named] == [404, 404]
    assert output(hospital, wait(hospital, other)) == []


def test_an_erasure_ends_imports_under_way_whose_files_may_have_the_patient(
    staffed: House,
) -> None:
    runner = SimpleNamespace(start=lambda: None)
    staffed.app.state.gateway = replace(staffed.gateway, imports=runner)
    platform = staffed.system("ehr-commons")
    body = {**patient("pat-1", "ZA1234560"), "name": [{"text": MARK}]}
    files = {"Patient": ("Patient.ndjson", json.dumps(body).encode())}
    sent = platform.request("POST", "$import", files=files, headers={"Prefer": "respond-async"})
    folder = staffed.settings.data / "imports"
    assert MARK in "".join(path.read_text() for path in folder.rglob("*.ndjson"))

    erase(staffed)
    finish(staffed)
    run_waiting_imports(staffed.gateway.store, staffed.settings, staffed.clock, workers=1)

    answer = platform.get(status_of(sent))
    assert answer.status_code == 500
    assert "A patient was erased" in answer.json()["issue"][0]["diagnostics"]
    assert not list(folder.iterdir())
    assert MARK not in "".join(row for _, row in read_rows(staffed))


@pytest.mark.parametrize("is_over", [False, True])
def test_an_erasure_forgets_addresses_and_names_by_which_programs_named_the_patient(
    staffed: House, *, is_over: bool
) -> None:
    settings = replace(staffed.settings, import_sources=parse_import_sources("files.example.org"))
    runner = SimpleNamespace(start=lambda: None)
    staffed.app.state.gateway = replace(staffed.gateway, settings=settings, imports=runner)
    platform = staffed.system("ehr-commons")
    url = "https://files.example.org/pat-1/Patient.ndjson"
    sent = must(
        platform.post(
            "$import",
            {"inputSource": "urn:of:pat-1", "input": [{"type": "Patient", "url": url}]},
            headers={"Prefer": "respond-async"},
        )
    )

    def run() -> None:
        run_waiting_imports(
            staffed.gateway.store, settings, staffed.clock, workers=1, fetch=write_nothing
        )

    def write_nothing(url: str, writer: FileWriter) -> None:
        writer.write(b"")

    if is_over:
        run()
    must(staffed.system("hospital-a").post("$closure", parameters(name="problems of pat-1")))

    erase(staffed)
    finish(staffed)
    run()

    assert "pat-1" not in "".join(row for _, row in read_rows(staffed))
    told = platform.get(status_of(sent))
    assert told.status_code == (200 if is_over else 500)
    assert "pat-1" not in told.text
