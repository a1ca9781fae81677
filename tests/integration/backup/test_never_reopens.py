"""A restore never opens again what was closed since the backup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ehr_gateway.access import Access
from ehr_gateway.accounts import accounts, factors
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.backup.post_restore import confirm_restore
from ehr_gateway.journal.journal import journal_path
from ehr_gateway.login import account_lifecycle
from ehr_gateway.oauth import clients, registration
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import Closure, close_store
from ehr_gateway.store.stored_facts import FactCorrection
from ehr_gateway.tokens.access_tokens import Subject
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.backups import back_up, open_house, restore, restored_settings, rows
from tests.lib.gateway import PASSWORD, House, encounter, must, organization, patient, restriction

RECORD, PSYCHIATRIC = "Condition/con-1", "Encounter/psychiatric"


def journal_of(house: House) -> Path:
    store = house.gateway.store
    return journal_path(house.settings.journal_folder, store.epoch().store)


def lose(house: House, tmp_path: Path) -> GatewaySettings:
    """Resolve the journal, as the server does each second, and name where to restore to."""
    house.gateway.store.resolve_journal()
    return restored_settings(house, tmp_path / "new")


def withdraw(house: House) -> None:
    house.share(status="inactive")


def delete_sharing(house: House) -> None:
    must(house.login("p.pat-1").delete("Consent/sharing-hospital-b"))


def restrict(house: House) -> None:
    house.login("p.pat-1").store(restriction("closed", against="Organization/hospital-b"))


def label(house: House) -> None:
    system = house.system("hospital-a")
    body = must(system.get(RECORD)).json()
    sensitivity = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    body["meta"]["security"] = [{"system": sensitivity, "code": "PSY"}]
    must(system.put(body))


def delete_record(house: House) -> None:
    must(house.system("hospital-a").delete(RECORD))


def link(house: House) -> None:
    linked = {**patient("pat-2", "ZB1234563"), "link": [
        {"other": {"reference": "Patient/pat-1"}, "type": "replaces"}]}  # fmt: skip
    must(house.system("ehr-commons").put(linked))


def sees(house: House, login: str = "doctor.b", record: str = RECORD) -> bool:
    return bool(house.login(login).get(record).status_code == 200)


CLOSED: dict[str, Callable[[House], None]] = {
    "withdrawn": withdraw,
    "deleted-consent": delete_sharing,
    "restricted": restrict,
    "deleted-record": delete_record,
}


@pytest.mark.parametrize("kind", CLOSED)
def test_what_was_closed_since_the_backup_is_closed_after_the_restore(
    furnished: House, tmp_path: Path, kind: str
) -> None:
    furnished.share()
    assert sees(furnished)
    back_up(furnished, tmp_path / "backups")
    CLOSED[kind](furnished)
    assert not sees(furnished)
    settings = lose(furnished, tmp_path)

    report = restore(tmp_path / "backups", settings)

    assert report.state.closure is None
    assert report.state.replayed == 1
    with open_house(furnished, settings) as again:
        assert not sees(again)
        assert sees(again, record="Observation/lab-1") == (kind == "deleted-record")


def test_a_label_given_since_the_backup_still_closes_the_record(
    furnished: House, tmp_path: Path
) -> None:
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    furnished.share()
    hide = restriction("hide-psy")
    hide["provision"]["securityLabel"] = [{"system": system, "code": "PSY"}]
    furnished.login("p.pat-1").store(hide)
    assert sees(furnished)
    back_up(furnished, tmp_path / "backups")
    label(furnished)
    assert not sees(furnished)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert not sees(again)
        assert sees(again, record="Observation/lab-1")


def label_by_third_party(house: House) -> None:
    """hospital-b, which sees the record, labels it; then the label is dropped by hospital-b."""
    body = must(house.system("hospital-b").get(RECORD)).json()
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}
    must(house.system("hospital-b").put({**body, "meta": {"security": [label]}}))
    must(house.system("hospital-b").put({key: body[key] for key in body if key != "meta"}))


def correct_label(house: House) -> None:
    """The patient labels the record."""
    token = house.token("p.pat-1")
    caller = house.gateway.verifier.authenticate(token, house.clock())
    access = Access(caller.requester, house.clock(), "correction")
    with open_transaction(house.gateway.store, access) as transaction:
        correction = FactCorrection("label", "PSY", "add", "patient")
        transaction.correct_facts("Condition", "con-1", [correction])


def label_encounter(house: House) -> None:
    """The Encounter that the record names is labelled."""
    system = house.system("hospital-a")
    body = must(system.get("Encounter/enc-1")).json()
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}
    must(system.put({**body, "meta": {"security": [label]}}))


def name_encounter(house: House) -> None:
    """The record names a labelled Encounter that it did not name before."""
    system = house.system("hospital-a")
    must(system.put({**must(system.get(RECORD)).json(), "encounter": {"reference": PSYCHIATRIC}}))


@pytest.mark.parametrize(
    "close", [label_by_third_party, correct_label, label_encounter, name_encounter]
)
def test_a_fact_held_since_the_backup_still_closes_the_record(
    furnished: House, tmp_path: Path, close: Callable[[House], None]
) -> None:
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    furnished.system("ehr-commons").store(organization("clinic-c"))
    furnished.share("clinic-c")
    furnished.share()
    hide = restriction("hide-psy", against="Organization/clinic-c")
    hide["provision"]["securityLabel"] = [{"system": system, "code": "PSY"}]
    furnished.login("p.pat-1").store(hide)
    label = {"security": [{"system": system, "code": "PSY"}]}
    furnished.system("hospital-a").store({**encounter("psychiatric"), "meta": label})

    def is_open(house: House) -> bool:
        return bool(house.system("clinic-c").get(RECORD).status_code == 200)

    assert is_open(furnished)
    back_up(furnished, tmp_path / "backups")
    close(furnished)
    assert not is_open(furnished)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert not is_open(again)


def test_accounts_merged_since_the_backup_are_merged(furnished: House, tmp_path: Path) -> None:
    furnished.share()
    furnished.login("p.pat-2").store(
        {**restriction("of-two", against="Organization/hospital-b"),
         "patient": {"reference": "Patient/pat-2"}}
    )  # fmt: skip
    assert sees(furnished)
    back_up(furnished, tmp_path / "backups")
    link(furnished)
    assert not sees(furnished)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert not sees(again)


def test_a_grant_withdrawn_again_stays_withdrawn_in_the_order_it_was_done(
    furnished: House, tmp_path: Path
) -> None:
    back_up(furnished, tmp_path / "backups")
    furnished.share()
    furnished.share(status="inactive")
    furnished.share()
    furnished.share(status="inactive")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert not sees(again)
        answer = again.login("p.pat-1").get("Consent/sharing-hospital-b/_history")
        assert answer.json()["total"] == 4


def test_a_disabled_account_is_disabled(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    account_lifecycle.disable_account(furnished.gateway, "doctor.a")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        found = {row[0]: row for row in rows(again, "account")}
        assert found["doctor.a"] == {row[0]: row for row in rows(furnished, "account")}["doctor.a"]
        with pytest.raises(accounts.LoginRefused):
            accounts.verify_password(again.gateway.store, "doctor.a", PASSWORD, again.clock())


def test_an_old_password_does_not_come_back(furnished: House, tmp_path: Path) -> None:
    back_up(furnished, tmp_path / "backups")
    accounts.set_password(furnished.gateway.store.database, "doctor.a", "another horse")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        store = again.gateway.store
        assert accounts.verify_password(store, "doctor.a", "another horse", again.clock())
        with pytest.raises(accounts.LoginRefused):
            accounts.verify_password(store, "doctor.a", PASSWORD, again.clock())


def test_an_account_whose_rights_were_lessened_does_not_get_them_back(
    furnished: House, tmp_path: Path
) -> None:
    back_up(furnished, tmp_path / "backups")
    lessened = Account("doctor.b", "researcher", "Dr B", "ehr-commons")
    accounts.add_account(furnished.gateway.store, lessened)
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert accounts.find_account(again.gateway.store, "doctor.b").role == "researcher"


def test_lost_factors_stay_lost(furnished: House, tmp_path: Path) -> None:
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute("INSERT INTO totp VALUES ('doctor.a', 'sealed', 0)")
        connection.execute("INSERT INTO recovery_code VALUES ('doctor.a', 'hashed', NULL)")
        connection.execute(
            "INSERT INTO passkey VALUES ('stolen', 'doctor.a', 'phone', 'key', 0, 0, NULL)"
        )
    back_up(furnished, tmp_path / "backups")
    account_lifecycle.reset_factors(furnished.gateway, "doctor.a")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        with again.gateway.store.read_transaction() as connection:
            found = factors.read_factors(connection, "doctor.a")
        assert (found.totp, found.passkeys, found.recovery_codes) == (False, 0, 0)


def test_a_deleted_program_stays_deleted(furnished: House, tmp_path: Path) -> None:
    store = furnished.gateway.store
    clients.register_client(store, clients.Client("reader", "Reader", scope="system/*.rs"), "s")
    back_up(furnished, tmp_path / "backups")
    registration.delete_client(furnished.gateway, "reader")
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert "reader" not in {row[0] for row in rows(again, "client")}


def test_erased_events_stay_erased(furnished: House, tmp_path: Path) -> None:
    must(furnished.login("doctor.a").get(RECORD))
    back_up(furnished, tmp_path / "backups")
    context = AuditContext(
        Subject("steward", "St", "steward", "test"), "HOPERAT", furnished.clock(), "r", "purge"
    )
    with furnished.gateway.store.write_transaction() as connection:
        assert erase_patient_events(connection, context, "pat-1") > 0
    settings = lose(furnished, tmp_path)

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        again.gateway.audit_batcher.flush()
        about = [row for row in rows(again, "audit") if "pat-1" in row]
        assert about == []


@pytest.mark.parametrize("fault", ["missing", "gap", "changed", "doubt"])
def test_without_the_journal_the_records_are_closed_until_a_steward_confirms(
    furnished: House, tmp_path: Path, fault: str
) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    withdraw(furnished)
    if fault != "doubt":
        furnished.gateway.store.resolve_journal()
    lines = journal_of(furnished).read_bytes().splitlines(keepends=True)
    if fault == "gap":
        del lines[-2]
    elif fault == "changed":
        lines[-2] = lines[-2].replace(b"=", b"A")
    elif fault == "doubt":
        # As if the server had ended before the second in which it resolves the journal was over.
        while b'"settles":true' in lines[-1]:
            del lines[-1]
    # A copy: the house that is still open goes on with its own.
    copy = tmp_path / "journal" / journal_of(furnished).name
    copy.parent.mkdir()
    if fault != "missing":
        copy.write_bytes(b"".join(lines))
    settings = restored_settings(furnished, tmp_path / "new")

    report = restore(tmp_path / "backups", settings, journal=copy.parent)

    assert report.state.closure is not None
    expected = ("Consent/sharing-hospital-b",) if fault == "doubt" else ()
    assert report.state.closure.in_doubt == expected
    with open_house(furnished, settings) as again:
        for login in ("doctor.a", "doctor.b", "researcher"):
            answer = again.login(login).get(RECORD)
            assert answer.status_code == 503, login
            assert "until a steward" in answer.json()["issue"][0]["diagnostics"]
        assert again.system("hospital-a").get(RECORD).status_code == 503
        assert again.system("ehr-commons", "ehr/feed.read").get("/feed").status_code == 503
        assert again.login("p.pat-1").get(RECORD).status_code == 200
        assert again.login("p.pat-2").get(RECORD).status_code == 404
        assert again.login("steward").get("Consent/sharing-hospital-b").status_code == 200
        with pytest.raises(Exception, match="no steward"):
            confirm_restore(again.gateway.store, "doctor.b", again.clock())

        assert confirm_restore(again.gateway.store, "steward", again.clock()) is not None

    with open_house(furnished, replace(settings)) as again:
        assert again.login("doctor.a").get(RECORD).status_code == 200
        # What is in doubt was closed again: it was most likely done.
        assert sees(again) == (fault != "doubt")
        events = [row for row in rows(again, "audit") if "restore-confirm" in row]
        assert [row[4] for row in events] == ["steward"]


def test_a_store_restored_twice_from_one_backup_loses_nothing_of_either_life(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    withdraw(furnished)
    settings = lose(furnished, tmp_path)
    restore(tmp_path / "backups", settings)
    with open_house(furnished, settings) as again:
        restrict(again)
        again.share()
        again.gateway.store.resolve_journal()
        url = settings.database_url
        third = replace(
            settings,
            data=tmp_path / "third",
            database_url=url and url.replace("_again", "_third"),
        )

        report = restore(tmp_path / "backups", third, journal=again.settings.journal_folder)

    assert report.state.closure is None
    assert report.state.replayed == 3
    with open_house(furnished, third) as last:
        assert not sees(last)


def test_a_journal_that_was_cut_off_is_known_by_a_later_backup(
    furnished: House, tmp_path: Path
) -> None:
    furnished.share()
    first = back_up(furnished, tmp_path / "backups")
    copy = tmp_path / "journal" / journal_of(furnished).name
    copy.parent.mkdir()
    copy.write_bytes(journal_of(furnished).read_bytes())
    withdraw(furnished)
    back_up(furnished, tmp_path / "backups")
    settings = lose(furnished, tmp_path)

    report = restore(tmp_path / "backups", settings, name=first.manifest.name, journal=copy.parent)

    assert report.state.closure is not None
    assert "cut off" in report.state.closure.reason


def test_of_two_journals_the_longer_one_is_replayed(furnished: House, tmp_path: Path) -> None:
    furnished.share()
    back_up(furnished, tmp_path / "backups")
    settings = lose(furnished, tmp_path)
    older = settings.journal_folder / journal_of(furnished).name
    older.parent.mkdir()
    older.write_bytes(journal_of(furnished).read_bytes())
    withdraw(furnished)
    furnished.gateway.store.resolve_journal()

    report = restore(tmp_path / "backups", settings)

    assert (report.state.closure, report.state.replayed) == (None, 1)
    with open_house(furnished, settings) as again:
        assert not sees(again)


def test_a_store_that_was_closed_when_it_was_backed_up_is_closed(
    furnished: House, tmp_path: Path
) -> None:
    with furnished.gateway.store.write_transaction() as connection:
        close_store(connection, Closure("The journal is missing.", "2026-11-28"))
    back_up(furnished, tmp_path / "backups")
    settings = lose(furnished, tmp_path)

    report = restore(tmp_path / "backups", settings)

    assert report.state.closure == Closure("The journal is missing.", "2026-11-28")
