"""Less common ways in which a restore might open again what was closed since the backup."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from ehr_fhir.errors import EhrError
from ehr_gateway.accounts import passkeys
from ehr_gateway.accounts.accounts import Account, add_account
from ehr_gateway.accounts.represented_patients import list_patients_of_carer
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.backup.audit_tail import PreviousLog
from ehr_gateway.backup.manifest import Contents
from ehr_gateway.journal.journal import journal_path
from ehr_gateway.oauth import clients
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import Closure, close_store
from ehr_gateway.store.relabel import is_relabelling_pending
from ehr_gateway.store.store import Store
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.backups import back_up, open_house, restore, restored_settings, rows
from tests.lib.gateway import House, must, organization, patient, restriction
from tests.lib.health_links import create_link, open_link
from tests.spec.access.steps import ask, redeem, send, xray

RECORD = "Condition/con-1"
DEEMED = "https://ehr-commons.hk/fhir/StructureDefinition/deemed-sharing"


@pytest.fixture
def database() -> str:
    return "sqlite"


def lose(house: House, tmp_path: Path) -> GatewaySettings:
    """Resolve the journal, as the server does each second, and name where to restore to."""
    house.gateway.store.resolve_journal()
    return restored_settings(house, tmp_path / "new")


def sees(house: House) -> bool:
    return bool(house.login("doctor.b").get(RECORD).status_code == 200)


def test_who_came_to_an_organisation_after_the_backup_stays_its_member(
    furnished: House, tmp_path: Path
) -> None:
    """What may be theirs stays closed, though their account is lost."""
    furnished.share()
    by_lee = {"meaning": "authoredby", "reference": {"reference": "Practitioner/lee"}}
    furnished.system("ehr-commons").store({"resourceType": "Practitioner", "id": "lee"})
    furnished.login("p.pat-1").store(restriction("hide-lee", data=[by_lee]))
    assert sees(furnished)
    back_up(furnished, tmp_path / "backups")
    lee = Account("dr.lee", "clinician", "Dr Lee", "hospital-a", "doctor", person="lee")
    add_account(furnished.gateway.store, lee, "correct horse battery")
    assert not sees(furnished)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as restored:
        assert not sees(restored)


def test_a_deemed_period_that_was_ended_stays_ended(furnished: House, tmp_path: Path) -> None:
    platform = furnished.system("ehr-commons")
    deemed = {"url": DEEMED, "valuePeriod": {"start": "2016-03-13"}}
    must(platform.put({**organization("hospital-b"), "extension": [deemed]}))
    assert sees(furnished)
    back_up(furnished, tmp_path / "backups")
    must(platform.put(organization("hospital-b")))
    assert not sees(furnished)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert not sees(again)


def test_a_grant_that_ended_with_its_sharing_does_not_come_back(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    xray(furnished, "ray-1")
    pharmacist = furnished.login("pharmacist.b")
    redeem(furnished, pharmacist, ask(pharmacist))
    assert pharmacist.get("ImagingStudy/ray-1").status_code == 200
    back_up(furnished, tmp_path / "backups")
    furnished.share(status="inactive")
    furnished.share()
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        pharmacist = again.login("pharmacist.b")
        assert pharmacist.get("Patient/pat-1").status_code == 200
        assert pharmacist.get("ImagingStudy/ray-1").status_code == 404


def test_where_a_practitioner_works_is_kept(furnished: House, tmp_path: Path) -> None:
    platform = furnished.system("ehr-commons")
    platform.store({"resourceType": "Practitioner", "id": "yu"})
    back_up(furnished, tmp_path / "backups")
    platform.store(
        {
            "resourceType": "PractitionerRole",
            "id": "yu-at-a",
            "practitioner": {"reference": "Practitioner/yu"},
            "organization": {"reference": "Organization/hospital-a"},
        }
    )
    expected = rows(furnished, "consent_membership")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    assert expected
    with open_house(furnished, settings) as again:
        assert rows(again, "consent_membership") == expected


def test_a_birth_date_that_closed_a_minors_record_to_carers_is_kept(
    furnished: House, tmp_path: Path
) -> None:
    back_up(furnished, tmp_path / "backups")
    minor = {**patient("pat-1", "ZA1234560"), "birthDate": "2012-02-03"}
    must(furnished.system("ehr-commons").put(minor))
    expected = rows(furnished, "consent_minor")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert rows(again, "consent_minor") == expected


def test_a_name_that_changes_no_rule_is_not_in_the_journal(furnished: House) -> None:
    store = furnished.gateway.store
    journal = journal_path(furnished.settings.journal_folder, store.epoch().store)
    before = journal.read_bytes()

    must(furnished.system("ehr-commons").put({**organization("hospital-b"), "name": "B"}))

    assert journal.read_bytes() == before


def test_a_program_whose_rights_or_secret_were_replaced_does_not_get_them_back(
    furnished: House, tmp_path: Path
) -> None:
    store = furnished.gateway.store
    clients.register_client(store, clients.Client("reader", "Reader", scope="system/*.rs"), "old")
    back_up(furnished, tmp_path / "backups")
    narrow = clients.Client("reader", "Reader", scope="system/Observation.r")
    clients.register_client(store, narrow, "new")
    expected = rows(furnished, "client")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert rows(again, "client") == expected


def test_a_passkey_added_since_the_backup_is_still_asked_for(
    furnished: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Registration:
        credential_id = credential_public_key = b"key"
        sign_count = 0

    monkeypatch.setattr(passkeys, "verify_registration_response", lambda **_: Registration())
    back_up(furnished, tmp_path / "backups")
    assert passkeys.register_passkey(
        furnished.gateway, "doctor.a", "phone", "nonce", "{}", furnished.clock()
    )
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert rows(again, "passkey") == rows(furnished, "passkey") != []


def test_a_second_restore_without_the_journal_is_closed_as_the_first_was(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    furnished.share(status="inactive")
    settings = lose(furnished, tmp_path)
    first = restore(tmp_path / "backups", settings, journal=tmp_path / "lost")
    assert first.state.closure is not None
    with open_house(furnished, settings) as again:
        again.gateway.store.resolve_journal()
        journal = again.settings.journal_folder

    twice = replace(settings, data=tmp_path / "twice")
    second = restore(tmp_path / "backups", twice, journal=journal)

    assert second.state.closure is not None


def test_a_closed_store_names_no_patients_to_a_carer_who_logs_in(
    furnished: House, tmp_path: Path
) -> None:
    carer = Account("carer", "carer", "Ca", person="carer-1")
    add_account(furnished.gateway.store, carer, "correct horse battery")
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO consent_carer (consent, patient, person, can_view, can_manage, since,"
            " until) VALUES ('c', 'pat-1', 'carer-1', 1, 0, 0, NULL)"
        )
    assert list_patients_of_carer(furnished.gateway, carer) != ()
    with furnished.gateway.store.write_transaction() as connection:
        close_store(connection, Closure("The journal is missing.", "2026-11-28"))
    back_up(furnished, tmp_path / "backups")
    settings = lose(furnished, tmp_path)
    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert list_patients_of_carer(again.gateway, carer) == ()


def test_an_erasure_empties_no_event_from_after_it_when_it_is_done_again(
    furnished: House, tmp_path: Path
) -> None:
    must(furnished.login("doctor.a").get(RECORD))
    back_up(furnished, tmp_path / "backups")
    context = AuditContext(
        Subject("steward", "St", "steward", "test"), "HOPERAT", furnished.clock(), "r", "purge"
    )
    with furnished.gateway.store.write_transaction() as connection:
        assert erase_patient_events(connection, context, "pat-1") > 0
    # The journal tells the time by the machine's clock.
    furnished.clock.now = time.time_ns() // 1_000_000 + 60_000
    must(furnished.login("doctor.a").get(RECORD))
    furnished.gateway.audit_batcher.flush()
    expected = [row for row in rows(furnished, "audit") if "pat-1" in row]
    assert expected
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings, previous_log=PreviousLog(furnished.settings))

    with open_house(furnished, settings) as again:
        again.gateway.audit_batcher.flush()
        assert [row for row in rows(again, "audit") if "pat-1" in row] == expected


def test_a_journal_that_was_cut_off_is_known_by_the_old_database(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    live = journal_path(furnished.settings.journal_folder, furnished.gateway.store.epoch().store)
    copy = tmp_path / "journal" / live.name
    copy.parent.mkdir()
    copy.write_bytes(live.read_bytes())
    furnished.share(status="inactive")
    settings = lose(furnished, tmp_path)

    report = restore(
        tmp_path / "backups",
        settings,
        journal=copy.parent,
        previous_log=PreviousLog(furnished.settings),
    )

    assert report.state.closure is not None
    assert "cut off" in report.state.closure.reason


def test_a_trial_that_writes_to_the_journal_of_the_running_store_cannot_hide_what_it_closed(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    trial = lose(furnished, tmp_path)
    journal = furnished.settings.journal_folder
    restore(tmp_path / "backups", trial, journal=journal)
    furnished.share(status="inactive")
    copy = Store(trial.database, trial.data)
    # It says that nothing is under way, and that it knows of no change.
    copy.attach_journal(journal, trial.keys)
    copy.close()

    report = restore(tmp_path / "backups", replace(trial, data=tmp_path / "again"), journal=journal)

    assert report.state.closure is not None


def test_labels_of_rules_newer_than_the_backup_are_there_before_anybody_reads(
    furnished: House, tmp_path: Path
) -> None:
    back_up(furnished, tmp_path / "backups")
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute(
            "UPDATE setting SET value = ? WHERE name = 'label-rules'",
            (orjson.dumps({"number": 0, "digest": "", "phase": "done", "position": 0}),),
        )
    furnished.app.state.reindexing.stop()
    assert is_relabelling_pending(furnished.gateway.store)
    back_up(furnished, tmp_path / "backups")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    store = Store(settings.database, settings.data)
    assert not is_relabelling_pending(store)
    store.close()


def test_a_journal_that_was_damaged_is_set_aside_for_its_owner_alone(furnished: House) -> None:
    path = journal_path(furnished.settings.journal_folder, furnished.gateway.store.epoch().store)
    path.write_bytes(b"damaged\n")

    furnished.share()

    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_names_files_outside_the_data_folder_is_refused(
    furnished: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Contents.to_bytes

    def forged(contents: Contents) -> bytes:
        values: Any = orjson.loads(honest(contents))
        values["files"][0]["path"] = "../outside"
        return orjson.dumps(values)

    monkeypatch.setattr(Contents, "to_bytes", forged)
    back_up(furnished, tmp_path / "backups")

    with pytest.raises(EhrError, match="outside"):
        restore(tmp_path / "backups", restored_settings(furnished, tmp_path / "new"))

    assert not (tmp_path / "outside").exists()


def test_an_older_backup_under_a_newer_name_is_refused(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    (old,) = (tmp_path / "backups" / "backups").iterdir()
    shutil.copytree(old, old.with_name("20990101T000000.000000Z"))

    with pytest.raises(EhrError, match="another name"):
        restore(tmp_path / "backups", restored_settings(furnished, tmp_path / "new"))


def test_a_health_link_that_was_ended_stays_ended(furnished: House, tmp_path: Path) -> None:
    """Which of them were ended since the backup is not known: all are."""
    session = furnished.login("p.pat-1")
    made = create_link(session)
    back_up(furnished, tmp_path / "backups")
    must(send(session, "Patient/pat-1/$end-health-link", link=made["id"]))
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as restored:
        assert open_link(restored, made["link"]).status_code == 404
