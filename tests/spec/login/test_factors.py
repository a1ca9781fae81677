"""A second factor beside the password: one-time codes, recovery codes, who needs one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ehr_gateway.accounts import accounts, throttle
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.login import account_lifecycle
from ehr_gateway.tokens.secret_hashes import verify_secret
from tests.lib.gateway import HKID, PASSWORD, PEOPLE, PIN, House
from tests.lib.typing_styles import TYPING_STYLES
from tests.lib.visitor import Visitor, code_of


@pytest.fixture
def enrolled(house: House) -> tuple[Visitor, str, list[str]]:
    """Return a doctor with an authenticator app, its secret, and the recovery codes."""
    visitor = Visitor(house)
    visitor.log_in()
    secret, codes = visitor.enrol()
    house.clock.forward(seconds=90)
    return visitor, secret, codes


def test_once_enrolled_a_password_alone_opens_nothing(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    visitor = Visitor(house)
    visitor.ask()

    answer = visitor.password()

    assert answer.status_code == 200
    assert 'autocomplete="one-time-code"' in answer.text
    assert visitor.client.cookies.get("ehr-login") is None
    # Nor does the page for those who have told only what they know.
    assert visitor.send("/oauth/login/on").status_code == 200
    assert visitor.client.cookies.get("ehr-login") is None


def test_password_and_code_log_in_and_the_token_says_how(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    visitor, secret = Visitor(house), enrolled[1]
    visitor.ask()
    visitor.password()

    code = code_of(visitor.send("/oauth/login/code", code=visitor.totp(secret)))

    assert visitor.exchange(code).status_code == 200
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT methods FROM login_session ORDER BY created_ms")
        assert [row[0] for row in rows.fetchall()] == ["pwd", "pwd otp"]


@pytest.mark.parametrize("style", TYPING_STYLES)
def test_a_code_is_taken_however_a_keyboard_types_it(
    house: House, enrolled: tuple[Visitor, str, list[str]], style: str
) -> None:
    visitor, secret, recovery = Visitor(house), *enrolled[1:]

    for code in (visitor.totp(secret), recovery[0]):
        visitor.ask(prompt="login")
        visitor.password()
        answer = visitor.send("/oauth/login/code", code=TYPING_STYLES[style](code))
        assert answer.status_code == 303, code


def test_one_step_of_drift_is_taken(house: House, enrolled: tuple[Visitor, str, list[str]]) -> None:
    visitor, secret = Visitor(house), enrolled[1]

    for later, status in ((-2, 401), (2, 401), (-1, 303), (1, 303)):
        visitor.ask(prompt="login")
        visitor.password()
        answer = visitor.send("/oauth/login/code", code=visitor.totp(secret, later))
        assert answer.status_code == status, later


def test_a_code_is_good_once_even_for_two_at_once(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    secret = enrolled[1]
    visitors = [Visitor(house) for _ in range(4)]
    for visitor in visitors:
        visitor.ask()
        visitor.password()

    def bring(visitor: Visitor) -> int:
        return int(visitor.send("/oauth/login/code", code=visitor.totp(secret)).status_code)

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(bring, visitors))

    assert answers == [303, 401, 401, 401]


def test_codes_are_guessed_five_times_at_most(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    visitor, secret = Visitor(house), enrolled[1]
    visitor.ask()
    visitor.password()
    sealed = visitor.field("request")

    def guess(number: int) -> bool:
        form = {"request": sealed, "code": f"{number:06d}"}
        return "Too many attempts" in visitor.client.post("/oauth/login/code", data=form).text

    with ThreadPoolExecutor(8) as pool:
        slowed = sum(pool.map(guess, range(20)))

    assert slowed == 15
    answer = visitor.send("/oauth/login/code", request=sealed, code=visitor.totp(secret))
    assert "Too many attempts" in answer.text


def test_a_recovery_code_is_good_once(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    visitor, code = Visitor(house), enrolled[2][3]
    outcomes = []
    for typed in (code.upper(), code):
        visitor.ask(prompt="login")
        visitor.password()
        outcomes.append(visitor.send("/oauth/login/code", code=typed).status_code)

    assert outcomes == [303, 401]
    assert "9 unused recovery codes" in visitor.get("/oauth/account").text


def test_neither_the_secret_nor_the_recovery_codes_are_readable_in_the_database(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    with house.gateway.store.read_transaction() as connection:
        rows = [
            tuple(row)
            for table in ("totp", "recovery_code")
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]

    assert len(rows) == 11
    assert enrolled[1] not in str(rows)
    assert enrolled[2][0].replace("-", "") not in str(rows)


def test_staff_without_a_second_factor_set_one_up_before_they_get_in(house: House) -> None:
    accounts.add_account(house.gateway.store.database, PEOPLE[1], PASSWORD)
    visitor = Visitor(house)
    visitor.ask()

    page = visitor.password("doctor.b")
    secret = visitor.secret()
    refused = visitor.send("/oauth/login/enrol", code="000000")
    kept = visitor.send("/oauth/login/enrol", code=visitor.totp(secret))
    answer = visitor.send("/oauth/login/on")

    assert f"secret={secret}" in page.text
    assert "<svg" in page.text
    assert refused.status_code == 401
    assert visitor.totp(secret) not in kept.text
    assert visitor.exchange(code_of(answer)).json()["ehr"]["person"] == "doctor.b"


def test_the_last_factor_cannot_be_removed_where_the_role_needs_one(house: House) -> None:
    accounts.add_account(house.gateway.store.database, PEOPLE[1], PASSWORD)
    visitor = Visitor(house)
    visitor.ask()
    visitor.password("doctor.b")
    secret = visitor.secret()
    visitor.send("/oauth/login/enrol", code=visitor.totp(secret))
    visitor.send("/oauth/login/on")

    answer = visitor.change("/oauth/account/totp/remove")

    assert answer.status_code == 400
    assert "needs a second proof" in answer.text


def test_a_weak_password_is_refused(house: House) -> None:
    visitor = Visitor(house)
    visitor.log_in()

    for new, says in (
        ("short", "12 to 256 characters"),
        ("password12345", "tried first"),
        ("111111111111", "tried first"),
        ("my doctor.a secret", "tried first"),
    ):
        answer = visitor.change("/oauth/account/password", present=PASSWORD, new=new)

        assert answer.status_code == 400
        assert says in answer.text
        assert new not in answer.text


def test_a_changed_password_ends_the_other_sessions(house: House) -> None:
    other, visitor = Visitor(house), Visitor(house)
    other.log_in()
    visitor.log_in()
    new = "seven quiet ferries"

    wrong = visitor.change("/oauth/account/password", present="wrong", new=new)
    right = visitor.change("/oauth/account/password", present=PASSWORD, new=new)

    assert wrong.status_code == 400
    assert right.status_code == 303
    assert other.ask().status_code == 200
    assert visitor.ask().status_code == 303
    assert other.password(password=PASSWORD).status_code == 401
    other.ask()
    assert code_of(other.password(password=new))


def test_who_has_two_accounts_chooses_at_log_in(house: House) -> None:
    store = house.gateway.store.database
    first = replace(PEOPLE[0], person="dr-wong", exempt=True)
    second = Account(
        "wong.b", "clinician", "Dr Wong", "hospital-b", "doctor", person="dr-wong", exempt=True
    )
    accounts.add_account(store, first, PASSWORD)
    accounts.add_account(store, second)
    visitor = Visitor(house)
    visitor.ask()

    page = visitor.password()
    stranger = visitor.send("/oauth/login/account", account="doctor.b")
    visitor.page = page
    answer = visitor.send("/oauth/login/account", account="wong.b")

    assert "For which account" in page.text
    assert stranger.status_code == 400
    token = visitor.exchange(code_of(answer)).json()
    assert token["ehr"]["organization"] == "hospital-b"


def test_a_second_account_with_a_second_factor_is_not_opened_by_the_firsts_password(
    house: House,
) -> None:
    store = house.gateway.store.database
    accounts.add_account(store, replace(PEOPLE[0], person="dr-wong", exempt=True), PASSWORD)
    accounts.add_account(store, Account("wong.b", "clinician", "W", "hospital-b", "doctor",
                                person="dr-wong"))  # fmt: skip
    visitor = Visitor(house)
    visitor.ask()
    visitor.password()

    answer = visitor.send("/oauth/login/account", account="wong.b")

    assert answer.status_code == 200
    assert visitor.client.cookies.get("ehr-login") is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an address fail eight times; fifty hashes would take too long."""
    monkeypatch.setattr(throttle, "ADDRESS_LIMIT", replace(throttle.ADDRESS_LIMIT, free_failures=8))


@pytest.mark.usefixtures("impatient")
def test_an_address_that_guesses_many_names_has_to_wait_but_no_other_address(
    house: House,
) -> None:
    guesser = Visitor(house, address="198.51.100.7")
    guesser.ask()
    sealed = guesser.field("request")

    def guess(number: int) -> bool:
        form = {"request": sealed, "login": f"name{number}", "password": "x"}
        return "Too many attempts" in guesser.client.post("/oauth/login", data=form).text

    with ThreadPoolExecutor(8) as pool:
        slowed = sum(pool.map(guess, range(14)))

    assert slowed == 6
    assert "Too many attempts" in guesser.password().text
    visitor = Visitor(house, address="192.0.2.9")
    visitor.ask()
    assert code_of(visitor.password())


@pytest.mark.usefixtures("impatient")
def test_failures_at_a_counter_slow_down_their_card_alone(house: House) -> None:
    database, now = house.gateway.store.database, house.clock()
    for number in range(9):
        with pytest.raises(accounts.LoginRefused):
            accounts.verify_eid(database, f"ZX00000{number}", "000000", now)

    assert accounts.verify_eid(database, HKID, PIN, now).login == "p.pat-1"


@pytest.mark.usefixtures("impatient")
def test_log_ins_of_ones_own_do_not_reset_the_count_of_an_address(house: House) -> None:
    visitor = Visitor(house)
    visitor.ask()
    for number in range(7):
        visitor.send("/oauth/login", login=f"name{number}", password="x")
    visitor.log_in()
    visitor.ask(prompt="login")

    visitor.send("/oauth/login", login="another", password="x")
    answer = visitor.send("/oauth/login", login="one-more", password="x")

    assert "Too many attempts" in answer.text


def rows_of(house: House, interaction: str) -> list[tuple[str, str]]:
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT login, outcome FROM audit WHERE interaction = ? ORDER BY seq", (interaction,)
        ).fetchall()
    return [(row[0], row[1]) for row in rows]


def test_refused_log_ins_are_on_record_but_never_a_name_that_does_not_exist(
    house: House,
) -> None:
    visitor = Visitor(house)
    visitor.ask()
    for name in ("doctor.a", "my-secret-typed-here"):
        visitor.send("/oauth/login", login=name, password="wrong")

    assert rows_of(house, "login") == [("doctor.a", "4"), ("unknown", "4")]


def test_changes_of_how_one_logs_in_are_on_record(
    house: House, enrolled: tuple[Visitor, str, list[str]]
) -> None:
    visitor = enrolled[0]
    visitor.change("/oauth/account/totp/remove")
    visitor.change("/oauth/account/password", present=PASSWORD, new="seven quiet ferries")
    visitor.change("/oauth/logout")

    for interaction in ("totp-set", "totp-remove", "password-change", "logout"):
        assert rows_of(house, interaction) == [("doctor.a", "0")]


def test_every_refused_name_costs_the_same_work(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    noted = recorder.build_refusal_rows

    def counted(stored: str | None, given: str) -> bool:
        done.append("hash")
        return verify_secret(stored, given)

    def recorded(*arguments: Any) -> list[RowValues]:
        done.append("row")
        return noted(*arguments)

    monkeypatch.setattr("ehr_gateway.accounts.accounts.verify_secret", counted)
    monkeypatch.setattr("ehr_gateway.audit_log.recorder.build_refusal_rows", recorded)
    accounts.add_account(house.gateway.store.database, Account("gone", "steward", "G"), PASSWORD)
    account_lifecycle.disable_account(house.gateway, "gone")
    work = {}
    for name in ("doctor.a", "nobody", "p.pat-1", "gone"):
        visitor = Visitor(house)
        visitor.ask()
        done.clear()
        assert visitor.password(name, "wrong").status_code == 401
        work[name] = list(done)

    # Known, unknown, without a password, disabled.
    assert all(one == ["hash", "row"] for one in work.values()), work


def test_a_secret_that_was_shown_to_another_account_is_not_taken(house: House) -> None:
    accounts.add_account(
        house.gateway.store.database,
        Account("eve", "patient", "Eve", patient="pat-2"),
        PASSWORD,
    )
    eve, visitor = Visitor(house), Visitor(house)
    eve.log_in("eve")
    eve.change("/oauth/account/totp")
    sealed, code = eve.field("secret"), eve.totp(eve.secret())
    visitor.log_in()

    answer = visitor.change("/oauth/account/totp/confirm", code=code, secret=sealed)

    assert answer.status_code == 400
    assert "Not set up" in visitor.get("/oauth/account").text


def test_a_page_that_shows_the_secret_shows_the_same_in_another_language(house: House) -> None:
    accounts.add_account(house.gateway.store.database, PEOPLE[1], PASSWORD)
    visitor = Visitor(house)
    visitor.ask()
    visitor.password("doctor.b")
    shown = visitor.secret()

    visitor.get("/oauth/login", request=visitor.field("request"), lang="zh-Hans")

    assert visitor.secret() == shown
    assert "设置验证应用程序" in visitor.page.text
