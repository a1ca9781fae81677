"""Passkeys: made from an authenticated page, shown at log-in, never another's or twice."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from fastapi import FastAPI

from ehr_gateway.accounts import accounts
from tests.lib.authenticator import PRESENT, Passkey
from tests.lib.gateway import PASSWORD, House
from tests.lib.visitor import Visitor, at_address, code_of

ORIGIN = "http://localhost"
PATH = "/oauth/account/passkeys"


@pytest.fixture
def local(house: House) -> FastAPI:
    """Serve the house where browsers let passkeys be used."""
    return at_address(house, ORIGIN)


def options(visitor: Visitor) -> Any:
    found = re.search(r'data-options="([^"]+)"', visitor.page.text)
    assert found, visitor.page.text
    return json.loads(html.unescape(found[1]))


def register(visitor: Visitor, passkey: Passkey, name: str = "my phone", **how: int) -> Any:
    visitor.get("/oauth/account")
    credential = passkey.made(options(visitor), **how)
    nonce = visitor.field("nonce")
    return visitor.change(PATH, nonce=nonce, credential=credential, name=name)


def show(visitor: Visitor, passkey: Passkey, **how: int) -> Any:
    visitor.ask(prompt="login")
    credential = passkey.shown(options(visitor), **how)
    return visitor.send("/oauth/login/passkey", credential=credential)


@pytest.fixture
def owned(house: House, local: FastAPI) -> tuple[Visitor, Passkey]:
    """Return a doctor's browser and the passkey it has made."""
    visitor, passkey = Visitor(house, app=local), Passkey("localhost", ORIGIN)
    visitor.log_in()
    assert register(visitor, passkey).status_code == 303
    return visitor, passkey


def test_a_passkey_logs_in_by_itself(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    visitor = Visitor(house, app=local)

    answer = show(visitor, owned[1])

    assert visitor.exchange(code_of(answer)).json()["ehr"]["person"] == "doctor.a"
    assert "my phone" in visitor.get("/oauth/account").text


def test_a_passkey_is_a_second_factor_too(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    visitor = Visitor(house, app=local)
    visitor.ask()

    visitor.password()
    held = visitor.client.cookies.get("ehr-login")
    credential = owned[1].shown(options(visitor))
    answer = visitor.send("/oauth/login/passkey", credential=credential)

    assert held is None
    assert code_of(answer)


def test_a_challenge_is_good_once(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    visitor = Visitor(house, app=local)
    visitor.ask()
    sealed, asked = visitor.field("request"), options(visitor)
    bad = owned[1].shown({**asked, "challenge": "AAAA"})

    first = visitor.send("/oauth/login/passkey", request=sealed, credential=bad)
    second = visitor.send("/oauth/login/passkey", request=sealed, credential=owned[1].shown(asked))

    assert (first.status_code, second.status_code) == (401, 401)


def test_what_was_shown_once_is_not_taken_again(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    visitor, thief = Visitor(house, app=local), Visitor(house, app=local)
    visitor.ask()
    credential = owned[1].shown(options(visitor))
    sealed = visitor.field("request")
    assert visitor.send("/oauth/login/passkey", credential=credential).status_code == 303
    thief.ask()

    own_page = thief.send("/oauth/login/passkey", credential=credential)
    same_page = thief.send("/oauth/login/passkey", request=sealed, credential=credential)

    assert own_page.status_code == 401
    assert same_page.status_code == 400


def test_without_user_verification_a_passkey_is_refused(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    assert show(Visitor(house, app=local), owned[1], flags=PRESENT).status_code == 401
    other = Passkey("localhost", ORIGIN)
    assert register(owned[0], other, flags=PRESENT).status_code == 400


def test_a_copied_key_is_noticed_by_its_counter(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    passkey = owned[1]
    assert show(Visitor(house, app=local), passkey).status_code == 303

    passkey.count -= 1

    assert show(Visitor(house, app=local), passkey).status_code == 401


@pytest.mark.parametrize(
    "site", [("localhost", "https://evil.hk"), ("evil.hk", ORIGIN)], ids=["origin", "party"]
)
def test_a_passkey_shown_to_another_site_is_refused(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey], site: tuple[str, str]
) -> None:
    passkey = owned[1]
    passkey.party, passkey.origin = site

    assert show(Visitor(house, app=local), passkey).status_code == 401


def test_the_passkey_of_another_account_does_not_finish_a_log_in(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    database = house.gateway.store.database
    accounts.add_account(
        database, accounts.Account("eve", "patient", "Eve", patient="pat-2"), PASSWORD
    )
    eve, key = Visitor(house, app=local), Passkey("localhost", ORIGIN)
    eve.log_in("eve")
    register(eve, key)
    visitor = Visitor(house, app=local)
    visitor.ask()
    visitor.password()

    answer = visitor.send("/oauth/login/passkey", credential=key.shown(options(visitor)))

    assert answer.status_code == 401
    assert visitor.client.cookies.get("ehr-login") is None


def test_a_key_that_says_it_is_somebody_elses_is_refused(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    owned[1].handle = "AAAA"

    assert show(Visitor(house, app=local), owned[1]).status_code == 401


def test_an_unknown_key_and_a_wrong_one_answer_alike(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    unknown = Passkey("localhost", ORIGIN, handle=owned[1].handle)
    forged = Passkey("localhost", ORIGIN, handle=owned[1].handle, id=owned[1].id)
    forged.count = 10

    answers = [show(Visitor(house, app=local), one) for one in (unknown, forged)]

    def words(answer: Any) -> str:
        return re.sub(r'(value|href|data-options)="[^"]*"', "", answer.text)

    assert [answer.status_code for answer in answers] == [401, 401]
    assert words(answers[0]) == words(answers[1])


def test_a_challenge_of_another_session_makes_no_passkey(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    other = Visitor(house, app=local)
    accounts.add_account(
        house.gateway.store.database,
        accounts.Account("eve", "patient", "Eve", patient="pat-2"),
        PASSWORD,
    )
    other.log_in("eve")
    other.get("/oauth/account")
    key = Passkey("localhost", ORIGIN)
    credential, nonce = key.made(options(other)), other.field("nonce")

    answer = owned[0].change(PATH, nonce=nonce, credential=credential, name="planted")

    assert answer.status_code == 400
    assert "planted" not in owned[0].get("/oauth/account").text


def test_a_removed_passkey_logs_nobody_in(
    house: House, local: FastAPI, owned: tuple[Visitor, Passkey]
) -> None:
    owner, passkey = owned
    owner.get("/oauth/account")
    shown = owner.field("passkey", f"{PATH}/remove")

    owner.change(f"{PATH}/remove", passkey=shown)

    assert show(Visitor(house, app=local), passkey).status_code == 401


def test_no_credential_is_too_odd(house: House, local: FastAPI) -> None:
    visitor = Visitor(house, app=local)
    visitor.ask()

    for credential in ("", "{}", "[]", "null", '{"id": "x"}', "é"):
        assert visitor.send("/oauth/login/passkey", credential=credential).status_code == 401


def test_pages_with_passkeys_run_one_script_of_ours(house: House, local: FastAPI) -> None:
    visitor = Visitor(house, app=local)

    page = visitor.ask()

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert re.findall(r"<script[^>]*>", page.text) == [
        '<script src="/oauth/static/passkey.js" defer>'
    ]
    script = visitor.get("/oauth/static/passkey.js")
    assert script.headers["content-type"].startswith("text/javascript")


def test_where_browsers_have_no_passkeys_none_are_offered(house: House) -> None:
    visitor = Visitor(house, app=at_address(house, "http://127.0.0.1:8080"))

    page = visitor.ask()

    assert "data-options" not in page.text
    assert "<script" not in page.text
