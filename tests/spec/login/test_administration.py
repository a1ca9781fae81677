"""Accounts are made, disabled and enabled by an administrator, and by nobody else."""

from __future__ import annotations

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import PASSWORD, House
from tests.lib.visitor import Visitor, code_of

PATH = "/oauth/accounts"
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

    admin.change(f"{PATH}/reset", login="doctor.a")

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

    admin.change(f"{PATH}/disable", login="doctor.a")

    fhir = {"Authorization": f"Bearer {token}"}
    assert visitor.client.get("/fhir/Organization", headers=fhir).status_code == 401
    assert visitor.ask().status_code == 200
    admin.change(f"{PATH}/enable", login="doctor.a")
    assert code_of(visitor.password())


def test_nobody_disables_themselves(house: House, admin: Visitor) -> None:
    admin.change(f"{PATH}/disable", login="admin")

    assert admin.get(PATH).status_code == 200


def test_no_other_role_manages_accounts(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    assert visitor.get(PATH).status_code == 403
    for path in (PATH, f"{PATH}/disable", f"{PATH}/enable", f"{PATH}/reset"):
        assert visitor.change(path, **NEW).status_code == 403
    assert not accounts.is_login_taken(house.gateway.store.database, "dr.lee")


def test_what_an_administrator_did_is_on_record(house: House, admin: Visitor) -> None:
    admin.change(PATH, **NEW)
    admin.change(f"{PATH}/disable", login="dr.lee")

    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT interaction FROM audit WHERE login = 'admin' ORDER BY seq"
        ).fetchall()
    assert [row[0] for row in rows][-2:] == ["account-create", "account-disable"]
    assert house.login("auditor").get("AuditEvent").status_code == 200
