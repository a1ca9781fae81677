"""Accounts are made, disabled and enabled by an administrator, and by nobody else."""

from __future__ import annotations

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.login.account_change_pages import ACTS
from tests.lib.gateway import HKID, PASSWORD, House
from tests.lib.visitor import Visitor, code_of

PATH = "/oauth/accounts"
CHANGE = f"{PATH}/change"
REASON = "Asked for by the head of the ward"
NEW = {
    "login": "dr.lee",
    "display": "Dr Lee",
    "role": "clinician",
    "organization": "hospital-b",
    "profession": "doctor",
    "password": "seven quiet ferries",
}


@pytest.fixture
def admin(house: House) -> Visitor:
    """Return the browser of an administrator who has logged in."""
    account = Account("admin", "administrator", "Ad", "ehr-commons", exempt=True)
    accounts.add_account(house.gateway.store.database, account, PASSWORD)
    visitor = Visitor(house)
    visitor.log_in("admin")
    return visitor


def test_an_administrator_makes_an_account_that_can_log_in(house: House, admin: Visitor) -> None:
    made = admin.change(PATH, **NEW)
    visitor = Visitor(house)
    visitor.ask()
    page = visitor.password("dr.lee", NEW["password"])
    held = visitor.send("/oauth/login/on").text
    same = visitor.send("/oauth/login/password", new=NEW["password"])
    chosen = visitor.send("/oauth/login/password", new="nine loud trams")

    assert "The account was created." in made.text
    # The given password is for choosing another alone.
    assert "Choose a password" in page.text
    assert "Choose a password" in held
    assert same.status_code == 401
    # A clinician has to have a second factor.
    assert visitor.secret()
    assert visitor.client.cookies.get("ehr-login") is None
    assert chosen.status_code == 200
    visitor.ask()
    assert visitor.password("dr.lee", NEW["password"]).status_code == 401


def test_who_lost_their_second_factor_sets_up_another(house: House, admin: Visitor) -> None:
    visitor = Visitor(house)
    visitor.log_in()
    visitor.enrol()
    accounts.add_account(
        house.gateway.store.database,
        Account("doctor.a", "clinician", "Dr A", "hospital-a", "doctor"),
        PASSWORD,
    )

    admin.change(f"{CHANGE}/reset", login="doctor.a", reason=REASON)

    assert visitor.ask().status_code == 200
    assert 'id="secret"' in visitor.password().text


def test_an_account_that_does_not_fit_is_refused_with_a_reason(
    house: House, admin: Visitor
) -> None:
    for change, says in (
        ({"login": "doctor.a"}, "log-in name already"),
        ({"login": "no spaces"}, "are needed"),
        ({"display": ""}, "are needed"),
        ({"profession": ""}, "are needed"),
        ({"profession": "wizard"}, "are needed"),
        ({"organization": ""}, "are needed"),
        ({"role": "system"}, "are needed"),
        ({"role": "patient", "profession": ""}, "are needed"),
        ({"password": "short"}, "12 to 256"),
    ):
        answer = admin.change(PATH, **{**NEW, **change})

        assert answer.status_code == 400, change
        assert says in answer.text, change
    assert not accounts.is_login_taken(house.gateway.store.database, NEW["login"])


def test_disabling_by_the_page_ends_what_is_open(house: House, admin: Visitor) -> None:
    visitor = Visitor(house)
    token = visitor.exchange(visitor.log_in()).json()["access_token"]

    admin.change(f"{CHANGE}/disable", login="doctor.a", reason=REASON)

    fhir = {"Authorization": f"Bearer {token}"}
    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
    assert visitor.ask().status_code == 200
    admin.change(f"{CHANGE}/enable", login="doctor.a", reason=REASON)
    assert code_of(visitor.password())


def test_nobody_disables_themselves(house: House, admin: Visitor) -> None:
    for act in ACTS:
        admin.change(f"{CHANGE}/{act}", login="admin", reason=REASON, role="steward")

    assert admin.get(PATH).status_code == 200


def test_no_other_role_manages_accounts(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    assert visitor.get(PATH).status_code == 403
    for path in (PATH, f"{PATH}/search", *(f"{CHANGE}/{act}" for act in ACTS)):
        assert visitor.change(path, **NEW, reason=REASON).status_code == 403
    assert not accounts.is_login_taken(house.gateway.store.database, "dr.lee")


def test_what_an_administrator_did_is_on_record(house: House, admin: Visitor) -> None:
    admin.change(PATH, **NEW)
    admin.change(f"{CHANGE}/disable", login="dr.lee", reason=REASON)

    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT interaction FROM audit WHERE login = 'admin' ORDER BY seq"
        ).fetchall()
    assert [row[0] for row in rows][-2:] == ["account-create", "account-disable"]
    assert house.login("auditor").get("AuditEvent").status_code == 200


def changes(house: House) -> list[tuple[str, str, str]]:
    """Return what is kept of changes: of whom, what, why."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT login, act, reason FROM account_change ORDER BY id")
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("act", ACTS)
def test_a_change_is_confirmed_with_a_reason_before_it_is_made(
    house: House, admin: Visitor, act: str
) -> None:
    path = f"{CHANGE}/{act}"

    asked = admin.change(path, login="doctor.a")
    short = admin.change(path, login="doctor.a", reason="x")

    assert asked.status_code == 200
    assert 'name="reason"' in asked.text
    assert short.status_code == 400
    assert 'id="field-error"' in short.text
    assert changes(house) == []
    done = admin.change(
        path, login="doctor.a", reason="<i>Left</i> the hospital today", role="clinician",
        organization="hospital-b", profession="nurse",
    )  # fmt: skip
    assert changes(house) == [("doctor.a", act, "<i>Left</i> the hospital today")]
    assert "&lt;i&gt;Left&lt;/i&gt; the hospital today" in done.text
    event = house.login("auditor").get("AuditEvent?agent=admin").json()["entry"][0]["resource"]
    assert event["subtype"][0]["code"] == f"account-{act}"
    assert any("Basic/" in str(entity) for entity in event["entity"])


@pytest.mark.parametrize("typed", ["doctor.a", "Dr A", "dr a", HKID, "za1234560", "ZA 123456 0"])
def test_accounts_are_found_by_log_in_name_and_card_number(
    house: House, admin: Visitor, typed: str
) -> None:
    found = admin.change(f"{PATH}/search", find=typed).text

    login, other = ("p.pat-1", "doctor.a") if "a" in typed[:2].lower() and "1" in typed else (
        "doctor.a", "p.pat-1"
    )  # fmt: skip
    assert f'value="{login}"' in found
    assert f'value="{other}"' not in found


def test_an_account_of_a_patient_is_found_by_the_number_in_the_record(
    furnished: House,
) -> None:
    account = Account("admin", "administrator", "Ad", "ehr-commons", exempt=True)
    accounts.add_account(furnished.gateway.store.database, account, PASSWORD)
    admin = Visitor(furnished)
    admin.log_in("admin")

    found = admin.change(f"{PATH}/search", find="ZB123456(3)").text

    assert 'value="p.pat-2"' in found
    assert 'value="p.pat-1"' not in found


def test_a_search_that_finds_nothing_says_so(house: House, admin: Visitor) -> None:
    assert "No account fits." in admin.change(f"{PATH}/search", find="nobody").text


def test_another_role_holds_at_once(house: House, admin: Visitor) -> None:
    visitor = Visitor(house)
    token = visitor.exchange(visitor.log_in()).json()["access_token"]
    fhir = {"Authorization": f"Bearer {token}"}
    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 200

    admin.change(f"{CHANGE}/role", login="doctor.a", reason=REASON, role="steward")

    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
    assert accounts.find_account(house.gateway.store.database, "doctor.a").role == "steward"
    refused = admin.change(f"{CHANGE}/role", login="doctor.a", reason=REASON, role="clinician")
    assert refused.status_code == 400
    assert accounts.find_account(house.gateway.store.database, "doctor.a").role == "steward"


def test_who_is_locked_out_is_let_in_again(house: House, admin: Visitor) -> None:
    visitor = Visitor(house)
    visitor.ask()
    for _ in range(8):
        visitor.password("doctor.a", "wrong wrong wrong")
    assert not code_or_none(visitor)

    admin.change(f"{CHANGE}/unlock", login="doctor.a", reason=REASON)

    assert code_or_none(visitor)


def code_or_none(visitor: Visitor) -> bool:
    """Say whether the right password lets in now."""
    visitor.ask()
    return bool(visitor.password("doctor.a").status_code == 303)


def test_a_suspended_administrator_changes_nothing(house: House, admin: Visitor) -> None:
    body = {"resourceType": "Parameters", "parameter": [
        {"name": "kind", "valueCode": "person"}, {"name": "subject", "valueString": "admin"},
        {"name": "reason", "valueString": "A stolen password"},
    ]}  # fmt: skip
    assert house.login("steward").post("$suspend", body).status_code == 200

    assert admin.get(PATH).status_code == 403
    answer = admin.change(f"{CHANGE}/disable", login="doctor.a", reason=REASON)
    assert answer.status_code == 403
    assert changes(house) == []
