"""A backup is whole, sealed and checked; what is restored is what was there."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ehr_fhir.errors import Conflict, EhrError, NotFound, Unauthorized, Unprocessable
from ehr_gateway.backup.create import BackupPlan, create_backup
from ehr_gateway.backup.file_listing import list_lake
from ehr_gateway.backup.folder import BackupFolder
from ehr_gateway.backup.restore import SETTINGS_FILE
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.consent import TABLES
from tests.lib.backups import (
    OTHER_IDENTITY,
    RECIPIENT,
    back_up,
    open_house,
    restore,
    restored_settings,
    rows,
)
from tests.lib.gateway import House, must, observation
from tests.lib.old_store import OldStore

TABLES_OF_RECORDS = (
    "resource", "record_patient", "record_label", "idx_date", "idx_number", "idx_position",
    "idx_quantity", "idx_reference", "idx_string", "idx_token", "idx_uri", "search_parameter",
    "load_ledger", "account", "client", "totp", "passkey", "notice", *TABLES,
)  # fmt: skip


@contextmanager
def writers(house: House) -> Iterator[list[str]]:
    """Write observations meanwhile; the list holds what was acknowledged."""
    acknowledged: list[str] = []
    stop = threading.Event()
    system = house.system("hospital-a")

    def write() -> None:
        while not stop.is_set():
            answer = system.post("Observation", observation("x", "laboratory"))
            assert answer.status_code == 201
            acknowledged.append(answer.json()["id"])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def test_a_restored_store_is_the_one_that_was_backed_up(furnished: House, tmp_path: Path) -> None:
    furnished.share()
    before = {table: rows(furnished, table) for table in TABLES_OF_RECORDS}
    keys = {
        path.name: path.read_bytes()
        for path in furnished.settings.keys.iterdir()
        if path.is_file() and path.suffix in (".key", ".secret")
    }
    report = back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")

    restored = restore(tmp_path / "backups", settings)

    assert restored.manifest == report.manifest
    with open_house(furnished, settings) as again:
        for table in TABLES_OF_RECORDS:
            assert rows(again, table) == before[table], table
        doctor = again.login("doctor.b")
        assert must(doctor.get("Condition/con-1")).json()["id"] == "con-1"
    assert {name: (settings.keys / name).read_bytes() for name in keys} == keys


def test_all_that_was_acknowledged_before_a_backup_began_is_in_it(
    furnished: House, tmp_path: Path
) -> None:
    with writers(furnished) as acknowledged:
        while len(acknowledged) < 5:
            pass
        sure = list(acknowledged)
        back_up(furnished, tmp_path / "backups")
        back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        there = {row[2] for row in rows(again, "resource") if row[1] == "Observation"}
        assert set(sure) <= there <= {*acknowledged, "lab-1", "lab-2", "vital-1"}
        # Records, their index and their patients are of one instant.
        pks = {row[0] for row in rows(again, "resource") if row[1] == "Observation"}
        assert pks <= {row[0] for row in rows(again, "record_patient")}
        found = again.system("hospital-a").get("Observation?patient=pat-1&_summary=count")
        assert found.json()["total"] == len(there)


def test_a_second_backup_writes_only_what_is_new(furnished: House, tmp_path: Path) -> None:
    first = back_up(furnished, tmp_path / "backups")

    second = back_up(furnished, tmp_path / "backups")

    folder = BackupFolder(tmp_path / "backups")
    assert folder.list_names() == [first.manifest.name, second.manifest.name]
    assert second.manifest.previous != ""
    if furnished.gateway.store.embedded is not None:
        assert second.written_bytes < first.written_bytes / 2
    for name in folder.list_names():
        restore(
            tmp_path / "backups", restored_settings(furnished, tmp_path / name), name=name
        ) if furnished.gateway.store.embedded else folder.verify(folder.read_manifest(name))


def test_nothing_of_a_record_or_a_key_is_readable_in_a_backup(
    furnished: House, tmp_path: Path
) -> None:
    back_up(furnished, tmp_path / "backups")

    seed = (furnished.settings.keys / "audit.key").read_bytes()
    for path in (tmp_path / "backups").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"Ka Ming" not in content
        assert b"pat-1" not in content
        assert seed not in content


def test_another_key_opens_nothing(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")

    with pytest.raises(Unauthorized, match="does not open this backup"):
        restore(tmp_path / "backups", settings, OTHER_IDENTITY)

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fault", ["flipped", "cut", "missing", "manifest", "contents", "note"])
def test_a_damaged_or_incomplete_backup_is_refused_with_the_file(
    furnished: House, tmp_path: Path, fault: str
) -> None:
    report = back_up(furnished, tmp_path / "backups")
    folder = BackupFolder(tmp_path / "backups")
    piece = folder.piece_path(sorted(report.manifest.pieces)[0])
    own = folder.backup_path(report.manifest.name)
    path = {
        "manifest": own / "manifest.json",
        "contents": own / "contents",
        "note": own / "manifest.note",
    }.get(fault, piece)
    content = bytearray(path.read_bytes())
    if fault in ("missing", "note"):
        path.unlink()
    elif fault == "cut":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    settings = restored_settings(furnished, tmp_path / "new")

    with pytest.raises(Unprocessable) as refusal:
        restore(tmp_path / "backups", settings)

    named = report.manifest.name if fault == "manifest" else path.name
    assert named in str(refusal.value) or "manifest" in str(refusal.value)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir() if "restoring" in path.name] == []


def test_a_piece_that_rotted_is_written_anew_by_the_next_backup(
    furnished: House, tmp_path: Path
) -> None:
    report = back_up(furnished, tmp_path / "backups")
    folder = BackupFolder(tmp_path / "backups")
    for name in report.manifest.pieces:
        folder.piece_path(name).write_bytes(b"rotten")

    second = back_up(furnished, tmp_path / "backups")

    folder.verify(second.manifest)


def test_a_manifest_signed_by_another_key_is_refused(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")
    other = House(tmp_path / "other")
    other.app.state.audit_log.flush_and_sign()

    with pytest.raises(EhrError, match="not signed"):
        restore(
            tmp_path / "backups", settings,
            verifier=other.settings.audit_folder / "verifier.key",
        )  # fmt: skip

    other.gateway.store.close()


def test_the_settings_are_there_to_be_read(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups", changed_settings={"port": "8090"})
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    assert json.loads((settings.data / SETTINGS_FILE).read_text()) == {"port": "8090"}


def test_a_restore_writes_over_nothing(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("mine")

    with pytest.raises(Conflict, match="writes over nothing"):
        restore(tmp_path / "backups", restored_settings(furnished, tmp_path / "new"))

    assert (tmp_path / "new" / "mine.txt").read_text() == "mine"


def test_a_folder_without_a_complete_backup_is_said_so(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    (own,) = (tmp_path / "backups" / "backups").iterdir()
    own.rename(own.with_name(f".{own.name}.partial"))

    with pytest.raises(NotFound, match="no complete backup"):
        restore(tmp_path / "backups", restored_settings(furnished, tmp_path / "new"))


def test_a_restored_feed_has_an_epoch_of_its_own(furnished: House, tmp_path: Path) -> None:
    lake = furnished.system("ehr-commons", "ehr/feed.read")
    old = must(lake.get("/feed?after=0")).headers
    back_up(furnished, tmp_path / "backups")
    last = int(old["X-Feed-Next"])
    must(furnished.system("hospital-a").post("Observation", observation("x", "laboratory")))
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        lake = again.system("ehr-commons", "ehr/feed.read")
        new = must(lake.get(f"/feed?after={last}&epoch={old['X-Feed-Epoch']}")).headers
        assert new["X-Feed-Store"] == old["X-Feed-Store"]
        assert new["X-Feed-Epoch"] != old["X-Feed-Epoch"]
        # What was read after the backup is no part of this store, now or later.
        must(again.system("hospital-a").post("Observation", observation("x", "laboratory")))
        for epoch in (old["X-Feed-Epoch"], "unknown"):
            assert lake.get(f"/feed?after={last + 1}&epoch={epoch}").status_code == 409
        assert lake.get(f"/feed?after={last + 1}&epoch={new['X-Feed-Epoch']}").status_code == 200
        assert lake.get(f"/feed?after={last + 2}").status_code == 409


def test_no_token_and_no_session_outlives_a_restore(furnished: House, tmp_path: Path) -> None:
    doctor = furnished.login("doctor.a")
    must(doctor.get("Condition/con-1"))
    back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        answer = again.client.get("/fhir/Condition/con-1", headers=doctor.headers)
        assert answer.status_code == 401
        assert must(again.login("doctor.a").get("Condition/con-1"))


def test_a_backup_of_an_older_version_is_upgraded_on_the_way(
    old_store: OldStore, tmp_path: Path
) -> None:
    url = old_store.place if isinstance(old_store.place, str) else None
    settings = GatewaySettings(data=old_store.data, database_url=url)
    create_backup(BackupPlan(settings, tmp_path / "backups", (RECIPIENT,)))
    new = replace(
        settings,
        data=tmp_path / "new",
        database_url=url and url.replace("?", "_again?", 1),
    )

    report = restore(tmp_path / "backups", new)

    # It knew of no journal: nobody can say what was closed since.
    assert report.state.closure is not None
    house = House(new.data, database_url=new.database_url)
    house.gateway.store.close()


def test_pruned_backups_are_gone_and_the_others_are_whole(furnished: House, tmp_path: Path) -> None:
    folder = BackupFolder(tmp_path / "backups")
    for number in range(3):
        must(furnished.system("hospital-a").put(observation("lab-1", f"laboratory-{number}")))
        back_up(furnished, folder.path)
    names = folder.list_names()
    pieces = len(list(folder.path.glob("pieces/*/*")))

    assert folder.prune(2) == 1

    assert folder.list_names() == names[1:]
    for name in folder.list_names():
        folder.verify(folder.read_manifest(name))
    assert len(list(folder.path.glob("pieces/*/*"))) < pieces
    assert folder.prune(2) == 0


def test_databases_and_the_lake_in_the_data_folder_are_copied_as_they_are_in_use(
    furnished: House, tmp_path: Path
) -> None:
    data = furnished.settings.data
    (data / "mlflow").mkdir()
    registry = sqlite3.connect(data / "mlflow" / "mlflow.db")
    registry.execute("PRAGMA journal_mode = WAL")
    registry.execute("CREATE TABLE model (name TEXT)")
    registry.execute("INSERT INTO model VALUES ('readmission')")
    registry.commit()  # it is in the log beside the file still
    lake = ("progress.json", "bronze/_delta_log/0.json", "places/_delta_log/0.json",
            "bronze/part.parquet")  # fmt: skip
    for name in lake:
        (data / "lake" / name).parent.mkdir(parents=True, exist_ok=True)
        (data / "lake" / name).write_text(name)
    back_up(furnished, tmp_path / "backups")
    registry.close()
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    assert {name: (settings.data / "lake" / name).read_text() for name in lake} == {
        name: name for name in lake
    }
    with closing(sqlite3.connect(settings.data / "mlflow" / "mlflow.db")) as restored:
        assert restored.execute("SELECT name FROM model").fetchall() == [("readmission",)]
    # Progress is never ahead of a table, what is written last of the others, a log of its files.
    order = [str(path.relative_to(data / "lake")) for path in list_lake(data / "lake")]
    assert order == [
        "progress.json", "places/_delta_log/0.json", "bronze/_delta_log/0.json",
        "bronze/part.parquet",
    ]  # fmt: skip
    back_up(furnished, tmp_path / "small", without_lake=True)
    if furnished.gateway.store.embedded:
        restore(tmp_path / "small", restored_settings(furnished, tmp_path / "bare"))
    assert not (tmp_path / "bare" / "lake").exists()
