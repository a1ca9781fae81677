"""Refreshes of the lake on record over HTTP: once each, digests alone, told by the lake alone."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import Any

import pytest

from ehr_gateway.audit_log.lineage import find_leaf, record_lineage
from ehr_gateway.audit_log.recorder import build_platform_context
from ehr_gateway.audit_log.service import open_audit_log
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.database import open_database
from ehr_privacy.audit import lineage_id
from tests.lib.gateway import House, Session, must

DIGEST = "ab" * 32
RECORD: dict[str, Any] = {
    "kind": "lake-refresh",
    "store": "store-1",
    "epoch": "1",
    "from": 0,
    "to": 5,
    "position": 5,
    "decision": 2,
    "rules": DIGEST,
    "tables": [{"name": "gold/condition_flat", "since": None, "version": 3, "digest": DIGEST}],
    "previous": None,
}


def lake(house: House) -> Session:
    return house.system("ehr-commons", "system/MeasureReport.cruds ehr/feed.read")


def tell(session: Session, *records: Any) -> Any:
    listed = [{"name": "record", "valueString": json.dumps(record)} for record in records]
    return session.post("$record-lineage", {"resourceType": "Parameters", "parameter": listed})


def recorded(answer: Any) -> int:
    return int(must(answer).json()["parameter"][0]["valueInteger"])


def test_a_refresh_is_one_leaf_however_often_it_is_told(furnished: House) -> None:
    second = {**RECORD, "from": 5, "to": 9, "previous": lineage_id(RECORD)}

    told = [
        recorded(tell(lake(furnished), *sent)) for sent in ((RECORD,), (RECORD, second), (RECORD,))
    ]

    assert told == [1, 1, 0]
    store = furnished.gateway.store
    with store.read_transaction() as connection:
        leaf = find_leaf(connection, lineage_id(second))
        assert leaf is not None and leaf.record == second
        assert find_leaf(connection, "0" * 32) is None
        count = "SELECT count(*) FROM audit WHERE interaction = 'lake-refresh'"
        assert connection.execute(count).fetchone()[0] == 2
    event = must(furnished.login("auditor").get(f"AuditEvent/{leaf.id}")).json()
    assert event["subtype"][0]["code"] == "lake-refresh"


def test_the_log_with_refreshes_is_verified_and_a_changed_one_is_found(furnished: House) -> None:
    must(tell(lake(furnished), RECORD))
    log = open_audit_log(furnished.settings, furnished.gateway.store.database, lambda: 1)
    assert log.sign() is not None
    signer = log.signer
    task = VerifyTask(
        furnished.settings.database, log.folder.path, signer.name, signer.public, processes=1
    )
    assert verify_log(task).is_intact

    with furnished.gateway.store.write_transaction() as connection:
        connection.execute(
            "UPDATE audit SET query = replace(query, '\"position\":5', '\"position\":4')"
            " WHERE id = ?", (lineage_id(RECORD),)
        )  # fmt: skip

    assert [finding.kind for finding in verify_log(task).findings] == ["flip"]


def test_two_that_tell_the_same_at_once_make_one_leaf(furnished: House) -> None:
    start, counts = threading.Barrier(2), []

    def record() -> None:
        with closing(open_database(furnished.settings.database)) as database:
            start.wait()
            with database.write_transaction() as connection:
                context = build_platform_context("lake", "lake-refresh", 1)
                counts.append(record_lineage(connection, context, [RECORD]))

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(counts) == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tables": [{**RECORD["tables"][0], "digest": "Chan Tai Man"}]},
        {"tables": [{**RECORD["tables"][0], "name": "gold/a b"}]},
        {"tables": [{**RECORD["tables"][0], "patient": "pat-1"}]},
        {"position": "5"},
        {"position": -1},
        {"rules": "A123456(7)"},
        {"note": "pat-1"},
        {"kind": "research-step"},
    ],
)
def test_anything_but_numbers_digests_and_names_is_refused(
    furnished: House, wrong: dict[str, Any]
) -> None:
    answer = tell(lake(furnished), {**RECORD, **wrong})

    assert answer.status_code == 400
    assert not any(str(value) in answer.text for value in ("Chan", "pat-1", "A123456"))


def test_only_the_lake_tells(furnished: House) -> None:
    for session in (
        furnished.login("steward"),
        furnished.login("researcher"),
        furnished.system("hospital-a"),
    ):
        assert tell(session, RECORD).status_code == 403
    assert tell(lake(furnished)).status_code == 400
