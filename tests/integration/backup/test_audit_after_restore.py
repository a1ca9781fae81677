"""The audit log after a restore: nothing is hidden, and what can be kept is kept."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.restores import RestoreNote
from ehr_gateway.audit_log.verify import VerifyReport, VerifyTask, verify_log
from ehr_gateway.backup import post_restore
from ehr_gateway.backup.audit_tail import PreviousLog
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.audit import Checkpoint, open_note
from tests.lib.backups import back_up, open_house, restore, restored_settings
from tests.lib.gateway import House, must, patient


def verified(settings: GatewaySettings, witness: bytes | None = None) -> VerifyReport:
    folder = LogFolder(settings.audit_folder)
    key = folder.read_key()
    assert key is not None
    return verify_log(
        VerifyTask(settings.database, folder.path, *key, witness=witness, processes=1)
    )


def look(house: House, times: int) -> None:
    for _ in range(times):
        must(house.login("doctor.a").get("Condition/con-1"))


def sign(house: House) -> bytes:
    house.app.state.audit_log.flush_and_sign()
    note = LogFolder(house.settings.audit_folder).read_note()
    assert note is not None
    return note


def opened(house: House, note: bytes) -> Checkpoint:
    signer = house.app.state.audit_log.signer
    return open_note(note, signer.name, signer.public)


def test_a_log_that_was_cut_off_says_so(furnished: House, tmp_path: Path) -> None:
    look(furnished, 3)
    report = back_up(furnished, tmp_path / "backups")
    before = LogFolder(furnished.settings.audit_folder).read_note()
    look(furnished, 4)
    after = sign(furnished)
    settings = restored_settings(furnished, tmp_path / "new")

    state = restore(tmp_path / "backups", settings, previous_log=PreviousLog(notes=(after,))).state

    size, cut = report.audit_size, opened(furnished, after).size
    assert state.note == RestoreNote(report.manifest.at, size, None, cut)
    with open_house(furnished, settings) as again:
        look(again, 1)
        sign(again)
    found = verified(settings)
    assert found.is_intact
    assert [note.sentence for note in found.restores] == [state.note.sentence]
    assert f"leaf {size} to {cut - 1}" in state.note.sentence
    # What witnesses hold from before still holds; what was signed later is named as cut off.
    assert verified(settings, before).is_intact
    cut_off = verified(settings, after)
    assert [(one.kind, one.index) for one in cut_off.findings] == [("restore", size)]
    with open_house(furnished, settings) as again:
        look(again, 9)
        sign(again)
    cut_off = verified(settings, after)
    assert [one.kind for one in cut_off.findings] == ["restore"]


def test_where_nobody_knows_how_much_was_cut_off_that_is_said(
    furnished: House, tmp_path: Path
) -> None:
    report = back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")

    state = restore(tmp_path / "backups", settings).state

    assert state.note == RestoreNote(report.manifest.at, report.audit_size, None, None)
    assert "how much is not known" in state.note.sentence


@pytest.mark.parametrize("step", ["save_exported_log", "copy_tail_rows", "install_exported_log"])
def test_a_log_that_is_still_there_goes_on(
    furnished: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """`step`: before which of the restore the waiting events enter the log that is replaced.

    They do so by themselves about once a second.
    """
    run_step = getattr(post_restore, step)

    def flush_first(*arguments: Any) -> Any:
        sign(furnished)
        return run_step(*arguments)

    monkeypatch.setattr(post_restore, step, flush_first)
    look(furnished, 3)
    report = back_up(furnished, tmp_path / "backups")
    look(furnished, 4)
    after = sign(furnished)
    look(furnished, 2)  # these wait in the spool
    settings = restored_settings(furnished, tmp_path / "new")

    state = restore(
        tmp_path / "backups", settings, previous_log=PreviousLog(furnished.settings, (after,))
    ).state

    size = opened(furnished, after).size
    # Those that entered the log in time are copied with it, the others with the spool.
    assert size <= state.note.size <= size + 2
    assert step == "install_exported_log" or state.note.size == size + 2
    assert state.note.carried == state.note.size - report.audit_size
    assert state.note.cut_from is None
    with open_house(furnished, settings) as again:
        sign(again)
    found = verified(settings, after)
    assert found.is_intact
    # The old log, the event of the restore, and what had waited: each event once.
    assert found.events == size + 3
    assert "taken over" in found.restores[0].sentence


def test_a_log_of_another_past_is_not_taken_over(furnished: House, tmp_path: Path) -> None:
    look(furnished, 3)
    report = back_up(furnished, tmp_path / "backups")
    look(furnished, 2)
    sign(furnished)
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute("UPDATE audit SET leaf = salt WHERE seq = 2")
    settings = restored_settings(furnished, tmp_path / "new")

    state = restore(
        tmp_path / "backups", settings, previous_log=PreviousLog(furnished.settings)
    ).state

    assert state.note.carried is None
    assert state.note.size == report.audit_size
    assert state.note.cut_from is not None
    assert verified(settings).is_intact


def test_an_exported_log_outside_the_data_folder_is_kept_beside(
    furnished: House, tmp_path: Path
) -> None:
    house = furnished
    back_up(house, tmp_path / "backups")
    look(house, 3)
    outside = tmp_path / "elsewhere"
    after = sign(house)
    shutil.copytree(house.settings.audit_folder, outside)
    settings = replace(restored_settings(house, tmp_path / "new"), audit_log=outside)

    state = restore(tmp_path / "backups", settings).state

    assert state.note.cut_from == opened(house, after).size
    (aside,) = tmp_path.glob("elsewhere.before-restore-*")
    assert LogFolder(aside).read_note() == after
    assert not (settings.data / "audit-log").exists()
    assert verified(settings).is_intact


@pytest.mark.parametrize("login", ["steward", "auditor"])
def test_the_event_of_a_restore_is_shown_as_fhir(
    furnished: House, tmp_path: Path, login: str
) -> None:
    back_up(furnished, tmp_path / "backups")
    settings = restored_settings(furnished, tmp_path / "new")
    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        found = must(again.login(login).get("AuditEvent?subtype=restore")).json()

    (event,) = [entry["resource"] for entry in found["entry"]]
    assert event["subtype"][0]["code"] == "restore"
    (query,) = [entity["query"] for entity in event["entity"] if "query" in entity]
    assert RestoreNote.from_query(base64.b64decode(query).decode()) is not None


def test_whom_a_count_included_is_known_after_a_restore(
    furnished: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehr_gateway.audit_log.asked_about.MAX_COUNTED_ROWS", 1)
    monkeypatch.setattr("ehr_gateway.audit_log.counted_sets.BLOCK", 2)
    author = furnished.system("ehr-commons")
    must(author.get("Patient?_summary=count"))
    back_up(furnished, tmp_path / "backups")
    author.store(patient("pat-3", "ZC1234561"))
    must(author.get("Patient?_summary=count"))
    after = sign(furnished)
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings, previous_log=PreviousLog(furnished.settings, (after,)))

    with open_house(furnished, settings) as again:
        auditor = again.login("auditor")
        totals = {
            name: must(
                auditor.get(f"AuditEvent?patient={name}&reason=counted&_total=accurate")
            ).json()["total"]
            for name in ("pat-1", "pat-2", "pat-3")
        }
        must(again.system("ehr-commons").get("Patient?_summary=count"))
        sign(again)
    assert totals == {"pat-1": 2, "pat-2": 2, "pat-3": 1}
    assert verified(settings, after).is_intact
