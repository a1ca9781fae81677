"""The store and single interactions on it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ehr_fhir.errors import (
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
    Unprocessable,
)  # fmt: skip
from ehr_gateway.database import Connection
from ehr_gateway.interactions.create import create, prepare_create
from ehr_gateway.interactions.delete import delete
from ehr_gateway.interactions.history import HistoryQuery, history
from ehr_gateway.interactions.read import read
from ehr_gateway.interactions.update import update
from ehr_gateway.interactions.vread import vread
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.store import Store, Version
from ehr_gateway.transaction.integrity import find_ids
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from ehr_gateway.transaction.write_batch import run_write
from tests.lib.store import (
    NOW,
    actor,
    consent,
    content,
    doctor,
    found,
    platform,
    put,
    rows,
)  # fmt: skip

PATIENT = b'{"resourceType":"Patient","name":[{"family":"Chan"}]}'
INDEXES = ("token", "string", "date", "number", "quantity", "reference", "uri")


def all_rows(store: Store) -> list[list[tuple[object, ...]]]:
    names = [f"idx_{kind}" for kind in INDEXES]
    names += ["resource", "record_patient", "record_label", "consent_joining", "consent_sharing"]
    return [rows(store, f"SELECT * FROM {name}") for name in names]


def test_what_is_created_is_read_with_its_digits(store: Store) -> None:
    text = (
        b'{"resourceType":"Basic","id":"mine","code":{"text":"a"},'
        b'"extension":[{"url":"u","valueDecimal":1.50}]}'
    )

    version = create(store, platform(), "Basic", text)

    assert version.id != "mine"
    assert version.version == 1
    assert read(store, platform(), "Basic", version.id) == version
    assert b'"valueDecimal":1.50' in version.body
    assert content(version)["meta"] == {
        "versionId": "1",
        "lastUpdated": "2026-09-21T14:13:20.000Z",
        "source": "https://ehr-commons.hk/organization/ehr-commons",
    }


def test_meta_of_the_client_is_kept_besides_version_and_time(store: Store) -> None:
    meta = {"versionId": "9", "lastUpdated": "1999-01-01T00:00:00Z", "tag": [{"code": "t"}]}

    version = put(store, {"resourceType": "Patient", "meta": meta})

    assert content(version)["meta"]["tag"] == [{"code": "t"}]
    assert content(version)["meta"]["versionId"] == "1"
    assert found(store, "Patient", "_tag=t") == [version.id]


def test_an_update_makes_a_version_and_leaves_the_old_one(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)
    changed = content(first) | {"gender": "female"}

    result = update(
        store, platform(), "Patient", first.id, json.dumps(changed).encode(), if_match=1
    )

    assert (result.created, result.version.version) == (False, 2)
    assert vread(store, platform(), "Patient", first.id, 1).body == first.body
    assert found(store, "Patient", "gender=female") == [first.id]


def test_the_index_holds_the_current_version_alone(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)
    put(store, {"resourceType": "Patient", "id": first.id, "name": [{"family": "Wong"}]})

    assert found(store, "Patient", "family=Chan") == []
    # Of `family` and of `name`, whose rows `phonetic` shares.
    assert rows(store, "SELECT exact FROM idx_string") == [("Wong",), ("Wong",)]
    assert found(store, "Patient", "phonetic=wong") == [first.id]


def test_a_transaction_searches_what_it_has_written(store: Store) -> None:
    draft = prepare_draft(
        {"resourceType": "Patient", "name": [{"family": "Chan"}]}, "a", platform()
    )

    with open_transaction(store, platform()) as writing:
        writing.create(draft)
        between = find_ids(writing, "Patient", "family=Chan")
        writing.delete("Patient", "a")
        afterwards = find_ids(writing, "Patient", "family=Chan")

    assert (between, afterwards) == (["a"], [])
    assert rows(store, "SELECT * FROM idx_string") == []


def test_if_match_of_another_version_is_refused(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)

    with pytest.raises(PreconditionFailed):
        update(store, platform(), "Patient", first.id, first.body, if_match=2)
    with pytest.raises(PreconditionFailed):
        delete(store, platform(), "Patient", first.id, if_match=2)


def test_the_id_in_the_content_must_be_that_of_the_address(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)

    with pytest.raises(Invalid, match="the one in the address"):
        update(store, platform(), "Patient", first.id, PATIENT)


def test_a_system_may_choose_an_id_and_a_person_may_not(shared_record: Store) -> None:
    record = {"resourceType": "Patient", "id": "chosen"}

    with pytest.raises(NotFound):
        put(shared_record, record, doctor("st-gabriel"))
    assert put(shared_record, record).version == 1


def test_a_deleted_resource_is_gone_and_not_found_by_search(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)

    gone = delete(store, platform(), "Patient", first.id)

    assert (gone.version, gone.deleted, gone.body) == (2, True, b"")
    assert delete(store, platform(), "Patient", first.id) == gone
    with pytest.raises(Gone):
        read(store, platform(), "Patient", first.id)
    with pytest.raises(Gone):
        vread(store, platform(), "Patient", first.id, 2)
    assert found(store, "Patient", "") == []
    assert [rows(store, f"SELECT * FROM idx_{kind}") for kind in INDEXES] == [[]] * 7


def test_a_deleted_resource_can_be_brought_back(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)
    delete(store, platform(), "Patient", first.id)

    version = put(store, {"resourceType": "Patient", "id": first.id, "gender": "male"})

    assert version.version == 3
    assert found(store, "Patient", "gender=male") == [first.id]


def test_what_is_absent_is_not_found(store: Store) -> None:
    for act in (read, delete, history):
        with pytest.raises(NotFound):
            act(store, platform(), "Patient", "none")
    with pytest.raises(NotFound):
        vread(store, platform(), "Patient", "none", 1)


def test_the_history_of_a_type_reads_that_type_alone(store: Store) -> None:
    query = (
        "SELECT * FROM resource r WHERE r.type = 'Patient' AND r.version > 0"
        " AND r.position < 9 ORDER BY r.position DESC LIMIT 5"
    )
    explain = "EXPLAIN QUERY PLAN" if store.dialect == "sqlite" else "EXPLAIN"

    plan = rows(store, f"{explain} {query}")

    assert any("resource_history" in row[-1] for row in plan)
    assert len(plan) == 1 or store.dialect == "postgresql"


def test_history_is_newest_first_and_paged(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)
    for _ in range(3):
        put(store, {"resourceType": "Patient", "id": first.id})
    delete(store, platform(), "Patient", first.id)

    page = history(store, platform(), "Patient", first.id, HistoryQuery(count=2))
    rest = history(store, platform(), "Patient", first.id, HistoryQuery(cursor=page.next_cursor))

    assert page.total == 5
    assert [(one.version, method) for one, method in page.versions] == [(5, "DELETE"), (4, "PUT")]
    assert [(one.version, method) for one, method in rest.versions][-1] == (1, "POST")
    assert rest.next_cursor is None


def test_a_dangling_reference_is_refused_with_its_place(store: Store) -> None:
    body = json.dumps(
        {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
         "subject": {"reference": "Patient/none"}}
    ).encode()  # fmt: skip

    with pytest.raises(Unprocessable) as caught:
        create(store, platform(), "Observation", body)

    assert caught.value.issues[0].expression == "Observation.subject.reference"
    assert all_rows(store) == [[]] * 12


@pytest.mark.parametrize("reference", ["#none", "urn:uuid:1", "Foo/1", "Patient/", "x"])
def test_a_malformed_reference_is_refused(store: Store, reference: str) -> None:
    with pytest.raises(Unprocessable, match="subject"):
        put(
            store,
            {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": reference}},
        )


def test_a_reference_by_search_is_resolved(store: Store) -> None:
    identifier = {"system": "s", "value": "1"}
    put(store, {"resourceType": "Organization", "id": "o", "identifier": [identifier]})

    patient = put(
        store,
        {
            "resourceType": "Patient",
            "managingOrganization": {"reference": "Organization?identifier=s|1"},
        },
    )

    assert content(patient)["managingOrganization"]["reference"] == "Organization/o"
    with pytest.raises(Unprocessable, match="finds nothing"):
        put(
            store,
            {
                "resourceType": "Patient",
                "managingOrganization": {"reference": "Organization?identifier=s|2"},
            },
        )


def test_a_conditional_create_makes_one(store: Store) -> None:
    body = b'{"resourceType":"Organization","identifier":[{"system":"s","value":"1"}]}'

    first = run_write(
        store, prepare_create(store, platform(), "Organization", body, "identifier=s|1")
    )
    second = run_write(
        store, prepare_create(store, platform(), "Organization", body, "identifier=s|1")
    )

    assert (first.created, second.created) == (True, False)
    assert second.version == first.version


def test_the_audit_is_part_of_the_transaction(store: Store) -> None:
    def fail(connection: Connection, versions: Sequence[Version], _: Sequence[Consequence]) -> None:
        assert connection.execute("SELECT COUNT(*) FROM resource").fetchone()[0] == 1
        assert [version.type for version in versions] == ["Patient"]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        create(store, platform(), "Patient", PATIENT, audit=fail)

    assert all_rows(store) == [[]] * 12


def test_the_feed_gives_every_version_in_order(store: Store) -> None:
    first = create(store, platform(), "Patient", PATIENT)
    put(store, {"resourceType": "Patient", "id": first.id})
    delete(store, platform(), "Patient", first.id)

    entries = list(store.read_feed(0, 10).entries)

    assert [one.version.method for one in entries] == ["POST", "PUT", "DELETE"]
    after_first = store.read_feed(entries[0].position, 1).entries
    assert [one.position for one in after_first] == [entries[1].position]
    assert {one.author for one in entries} == {"ehr-commons"}


def test_time_never_runs_backwards(store: Store) -> None:
    create(store, platform(NOW), "Patient", PATIENT)

    later = create(store, platform(NOW - 5000), "Patient", PATIENT)

    # Nor does it stand still: a client that asks for what is newer than NOW finds this one.
    assert later.last_updated_ms == NOW + 1


def test_a_store_opened_again_is_the_same(place: Path | str) -> None:
    first = Store(place)
    version = create(first, platform(), "Patient", PATIENT)
    numbers, key = first.parameter_ids, first.cursor_key
    first.close()

    again = Store(place)

    assert read(again, platform(), "Patient", version.id) == version
    assert (again.parameter_ids, again.cursor_key) == (numbers, key)
    again.close()


def test_many_threads_write_and_read_at_once(store: Store) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                version = create(store, platform(), "Patient", PATIENT)
                read(store, platform(), "Patient", version.id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(store.read_feed(0, 1000).entries) == 80


def test_revoked_sharing_hides_at_the_next_request(shared_record: Store) -> None:
    stranger = doctor("st-gabriel")
    before = found(shared_record, "Observation", "patient=p1", stranger)

    off = consent("p1", "sharing", type="permit", actor=[actor("st-gabriel")])
    put(shared_record, {**off, "id": "sharing", "status": "inactive"})

    assert len(before) == 2
    assert found(shared_record, "Observation", "patient=p1", stranger) == []
    with pytest.raises(NotFound):
        read(shared_record, stranger, "Observation", before[0])
    with pytest.raises(NotFound):
        history(shared_record, stranger, "Observation", before[0])
    assert found(shared_record, "Observation", "patient=p1", doctor("ha-harbour")) == before


def test_a_deleted_consent_leaves_no_rule(shared_record: Store) -> None:
    delete(shared_record, platform(), "Consent", "sharing")

    assert rows(shared_record, "SELECT * FROM consent_sharing") == []
    assert found(shared_record, "Observation", "patient=p1", doctor("st-gabriel")) == []


def test_a_hidden_record_and_an_absent_one_give_the_same_error(shared_record: Store) -> None:
    hidden = found(shared_record, "Observation", "patient=p1", doctor("ha-harbour"))[0]
    stranger = doctor("kwun-fong")
    observation = read(shared_record, doctor("ha-harbour"), "Observation", hidden).body
    answers = []
    for identity in (hidden, "absent"):
        body = observation.replace(hidden.encode(), identity.encode())
        for act in (
            lambda one=identity: read(shared_record, stranger, "Observation", one),
            lambda one=identity: vread(shared_record, stranger, "Observation", one, 1),
            lambda one=identity: history(shared_record, stranger, "Observation", one),
            lambda one=identity: delete(shared_record, stranger, "Observation", one),
            lambda one=identity, text=body: update(
                shared_record, stranger, "Observation", one, text, if_match=7
            ),
        ):
            with pytest.raises(NotFound) as caught:
                act()
            answers.append((type(caught.value), caught.value.issues))

    assert answers[:5] == answers[5:]


def test_a_reference_to_a_hidden_record_is_dangling(shared_record: Store) -> None:
    hidden = found(shared_record, "Observation", "patient=p1", doctor("ha-harbour"))[0]
    record = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p1"},
        "derivedFrom": [{"reference": f"Observation/{hidden}"}],
    }

    with pytest.raises(Unprocessable, match="does not exist"):
        put(shared_record, record, doctor("kwun-fong"))
    assert put(shared_record, record, doctor("st-gabriel")).version == 1


def test_nobody_deposits_for_a_patient_who_has_not_joined(shared_record: Store) -> None:
    put(shared_record, {"resourceType": "Patient", "id": "p2"})
    record = {
        "resourceType": "Basic",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p2"},
    }

    with pytest.raises(Forbidden, match="takes no deposits"):
        put(shared_record, record, doctor("ha-harbour"))


_OLDER = ("DELETE FROM schema_revision", "INSERT INTO setting VALUES ('layout', ?)")
_UNFINISHED = ("INSERT INTO setting VALUES ('upgrade', ?)",)


@pytest.mark.parametrize(
    ("statements", "value", "told"),
    [
        (_OLDER, b"5", "older version of eHR Commons.*run `ehr upgrade`"),
        (_UNFINISHED, b"", "not finished. Run `ehr upgrade`"),
        (_OLDER, b"4", "another version of eHR Commons"),
        (("UPDATE schema_revision SET version_num = ?",), "9999", "newer version of eHR Commons"),
    ],
)
def test_tables_of_another_version_are_refused_and_left_alone(
    store: Store, place: Path | str, statements: tuple[str, ...], value: bytes | str, told: str
) -> None:
    create(store, platform(), "Patient", PATIENT)
    with store.write_transaction() as connection:
        for statement in statements:
            connection.execute(statement, (value,) if "?" in statement else ())
    before = all_rows(store)

    with pytest.raises(Unavailable, match=told):
        Store(place)

    assert all_rows(store) == before


@pytest.mark.parametrize("lend", ["read_transaction", "write_transaction"])
def test_a_busy_file_is_unavailable_and_a_fault_is_not(tmp_path: Path, lend: str) -> None:
    store = Store(tmp_path / "ehr.db")

    def fail(code: int) -> None:
        # As SQLite raises it: with its own code, by which it is told apart.
        error = sqlite3.OperationalError("some text about full_text")
        error.sqlite_errorcode = code
        raise error

    with pytest.raises(Unavailable, match="busy"), getattr(store, lend)():
        fail(sqlite3.SQLITE_BUSY_SNAPSHOT)
    with pytest.raises(sqlite3.OperationalError), getattr(store, lend)():
        fail(sqlite3.SQLITE_ERROR)
    with pytest.raises(Unavailable, match="disk of the database is full"), getattr(store, lend)():
        fail(sqlite3.SQLITE_FULL)
    create(store, platform(), "Patient", PATIENT)
    store.close()
