"""Codes, refresh tokens, revocation, introspection: each for its own client, until it ends."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ehr_gateway.app import create_gateway
from ehr_gateway.oauth import clients, refresh_tokens, registration
from ehr_gateway.tokens.keys import rotate_keys
from tests.lib.gateway import PASSWORD, House, Session, must
from tests.lib.smart import App, verified

LASTING = "launch/patient offline_access patient/*.rs"


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def reads(app: App, tokens: dict[str, Any]) -> int:
    return int(app.session(tokens).get("Patient/pat-1").status_code)


def test_a_code_that_comes_back_ends_what_it_gave(app: App) -> None:
    code = app.code("p.pat-1", scope=LASTING)
    tokens = must(app.exchange(code)).json()
    assert reads(app, tokens) == 200

    assert error(app.exchange(code)) == (400, "invalid_grant")

    assert reads(app, tokens) == 401
    assert error(app.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_code_of_another_client_gives_nothing(app: App) -> None:
    other = App(app.house, "other", verifier=app.verifier).register()

    assert error(other.exchange(app.code("p.pat-1"))) == (400, "invalid_grant")


def test_a_wrong_verifier_spends_the_code(app: App) -> None:
    for verifier in ("", "short", secrets.token_urlsafe(48), "a" * 129, app.verifier + "a"):
        code = app.code("p.pat-1")

        assert error(app.exchange(code, code_verifier=verifier)) == (400, "invalid_grant")
        assert error(app.exchange(code)) == (400, "invalid_grant")


def test_a_challenge_is_no_verifier(app: App) -> None:
    from ehr_gateway.oauth.authorization_codes import compute_challenge

    code = app.code("p.pat-1")

    assert (
        error(app.exchange(code, code_verifier=compute_challenge(app.verifier)))[1]
        == "invalid_grant"
    )


def test_without_a_lasting_scope_there_is_no_refresh_token(app: App) -> None:
    assert "refresh_token" not in app.tokens("p.pat-1", scope="patient/*.rs")


def test_a_refresh_token_gives_the_next_and_is_good_once(app: App) -> None:
    first = app.tokens("p.pat-1", scope=LASTING)

    second = must(app.refresh(first["refresh_token"])).json()
    third = must(app.refresh(second["refresh_token"])).json()

    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    assert third["scope"] == first["scope"]
    assert third["patient"] == "pat-1"
    assert reads(app, third) == 200


def test_a_used_refresh_token_that_comes_back_ends_the_family(app: App) -> None:
    first = app.tokens("p.pat-1", scope=LASTING)
    second = must(app.refresh(first["refresh_token"])).json()
    other = app.tokens("p.pat-1", scope=LASTING)

    assert error(app.refresh(first["refresh_token"])) == (400, "invalid_grant")

    assert error(app.refresh(second["refresh_token"])) == (400, "invalid_grant")
    assert [reads(app, one) for one in (first, second, other)] == [401, 401, 200]
    assert must(app.refresh(other["refresh_token"]))


def test_of_two_that_refresh_at_once_one_wins_and_the_family_ends(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: app.refresh(tokens["refresh_token"]), range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert error(app.refresh(won["refresh_token"])) == (400, "invalid_grant")


def test_a_refresh_token_is_its_own_clients(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)
    other = App(app.house, "other").register()

    assert error(other.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert must(app.refresh(tokens["refresh_token"]))


def test_a_public_app_need_not_name_itself_to_refresh_one_with_a_secret_must(app: App) -> None:
    backed = App(app.house, "backed", LASTING, secret=PASSWORD).register(auth_method=None)
    tokens = [one.tokens("p.pat-1", scope=LASTING)["refresh_token"] for one in (app, backed)]

    def bare(token: str) -> Any:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return app.house.client.post("/oauth/token", data=form)

    assert must(bare(tokens[0])).json()["patient"] == "pat-1"
    assert error(bare(tokens[1])) == (401, "invalid_client")
    assert error(bare("nonsense")) == (400, "invalid_grant")
    assert error(bare("")) == (400, "invalid_grant")


def test_a_refresh_may_ask_for_less_but_never_for_more(app: App) -> None:
    token = app.tokens("p.pat-1", scope=LASTING)["refresh_token"]

    less = must(app.refresh(token, scope="patient/Observation.r")).json()
    assert less["scope"] == "patient/Observation.r"
    assert app.session(less).get("Observation/lab-1").status_code == 200
    assert app.session(less).get("Condition/con-1").status_code == 403
    for more in (
        "patient/*.cruds", "user/*.rs", "system/*.rs", "openid", "patient/Consent.u", "nonsense",
        "patient/Observation.rs patient/Observation.c", "ehr/feed.read",
    ):  # fmt: skip
        assert error(app.refresh(less["refresh_token"], scope=more)) == (400, "invalid_scope")
    # The permission itself is as wide as before.
    assert must(app.refresh(less["refresh_token"])).json()["scope"] == LASTING


def test_refresh_tokens_are_over_when_idle_and_in_the_end(app: App) -> None:
    settings = app.house.settings
    idle = app.tokens("p.pat-1", scope=LASTING)["refresh_token"]
    app.house.clock.forward(seconds=settings.refresh_idle_seconds)
    assert error(app.refresh(idle)) == (400, "invalid_grant")

    token = app.tokens("p.pat-1", scope=LASTING)["refresh_token"]
    for _ in range(settings.refresh_seconds // settings.refresh_idle_seconds):
        token = must(app.refresh(token)).json()["refresh_token"]
        app.house.clock.forward(seconds=settings.refresh_idle_seconds - 60)
    app.house.clock.forward(seconds=3 * 60)
    assert error(app.refresh(token)) == (400, "invalid_grant")


def test_online_access_is_for_the_working_day(furnished: House) -> None:
    app = App(furnished, scope="patient/*.rs online_access").register()
    token = app.tokens("p.pat-1")["refresh_token"]
    token = must(app.refresh(token)).json()["refresh_token"]

    furnished.clock.forward(seconds=furnished.settings.online_seconds)

    assert error(app.refresh(token)) == (400, "invalid_grant")


def test_no_token_is_stored_as_it_is(app: App) -> None:
    code = app.code("p.pat-1", scope=LASTING)
    token = must(app.exchange(code)).json()["refresh_token"]

    with app.house.gateway.store.read_transaction() as connection:
        stored = [
            str(tuple(row))
            for table in ("refresh_token", "token_family", "auth_code")
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]
    assert stored
    assert not any(token in row or code in row for row in stored)


def test_permissions_of_long_ago_are_forgotten(app: App) -> None:
    app.tokens("p.pat-1", scope=LASTING)
    app.house.clock.forward(seconds=401 * 86_400)
    app.tokens("p.pat-1", scope=LASTING)

    with app.house.gateway.store.read_transaction() as connection:
        for table in ("refresh_token", "token_family"):
            count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            assert count == 1


def test_a_client_gives_back_a_refresh_token_and_all_that_came_from_it(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)

    assert must(app.post("revoke", {"token": tokens["refresh_token"]})).status_code == 200

    assert reads(app, tokens) == 401
    assert error(app.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_client_gives_back_one_access_token(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)
    assert reads(app, tokens) == 200

    must(app.post("revoke", {"token": tokens["access_token"]}))

    assert reads(app, tokens) == 401
    assert reads(app, must(app.refresh(tokens["refresh_token"])).json()) == 200


def test_nobody_gives_back_what_is_anothers(app: App) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)
    other = App(app.house, "other").register()

    for token in (tokens["refresh_token"], tokens["access_token"], "no token"):
        assert other.post("revoke", {"token": token}).status_code == 200

    assert reads(app, tokens) == 200
    assert must(app.refresh(tokens["refresh_token"]))


@pytest.fixture
def neighbour(app: App) -> TestClient:
    """Return another process of the same platform, that has seen nothing yet."""
    return TestClient(create_gateway(app.house.settings, clock=app.house.clock))


def both(app: App, neighbour: TestClient, token: str) -> list[int]:
    clients_ = (app.house.client, neighbour)
    return [Session(one, token).get("Patient/pat-1").status_code for one in clients_]


@pytest.mark.parametrize("what", ["token", "family", "account", "client"])
def test_what_is_called_back_ends_at_the_next_request_in_every_process(
    app: App, neighbour: TestClient, what: str
) -> None:
    tokens = app.tokens("p.pat-1", scope=LASTING)
    access = tokens["access_token"]
    assert both(app, neighbour, access) == [200, 200]

    if what == "token":
        must(app.post("revoke", {"token": access}))
    elif what == "family":
        must(app.post("revoke", {"token": tokens["refresh_token"]}))
    elif what == "account":
        app.house.gateway.revocations.revoke("account", "p.pat-1", app.house.clock())
    else:
        registration.delete_client(app.house.gateway, "app")

    assert both(app, neighbour, access) == [401, 401]


def test_a_person_who_may_again_logs_in_again(app: App) -> None:
    app.house.gateway.revocations.revoke("account", "p.pat-1", app.house.clock())
    app.house.clock.forward(seconds=1)

    assert reads(app, app.tokens("p.pat-1")) == 200


def test_refresh_tokens_of_an_account_that_is_disabled_are_no_good(app: App) -> None:
    token = app.tokens("p.pat-1", scope=LASTING)["refresh_token"]
    store = app.house.gateway.store
    with store.write_transaction() as connection:
        connection.execute("UPDATE account SET disabled = 1 WHERE login = 'p.pat-1'")

    assert error(app.refresh(token)) == (400, "invalid_grant")


def test_refresh_tokens_of_an_account_end_together(app: App) -> None:
    token = app.tokens("p.pat-1", scope=LASTING)["refresh_token"]

    refresh_tokens.end_families_of_login(
        app.house.gateway.store.database, "p.pat-1", app.house.clock()
    )

    assert error(app.refresh(token)) == (400, "invalid_grant")


@pytest.fixture
def server(app: App) -> App:
    """Return a resource server that may ask about every token."""
    one = App(app.house, "server", "ehr/introspect", secret=PASSWORD)
    return one.register(redirect_uris=(), auth_method=None)


def test_a_resource_server_learns_what_a_token_stands_for(app: App, server: App) -> None:
    tokens = app.tokens("p.pat-1")

    answer = server.post("introspect", {"token": tokens["access_token"]}).json()

    claims = verified(app.house, tokens["access_token"], "ES256")
    assert answer["active"] is True
    assert (answer["client_id"], answer["sub"], answer["patient"]) == ("app", "p.pat-1", "pat-1")
    assert (answer["scope"], answer["exp"]) == (tokens["scope"], claims["exp"])
    assert answer["fhirUser"].endswith("/fhir/Patient/pat-1")
    refresh = server.post("introspect", {"token": tokens["refresh_token"]}).json()
    assert (refresh["active"], refresh["client_id"]) == (True, "app")


def test_a_token_that_ended_is_inactive_and_nothing_else_is_said(app: App, server: App) -> None:
    tokens = app.tokens("p.pat-1")
    must(app.post("revoke", {"token": tokens["refresh_token"]}))

    for token in (tokens["access_token"], tokens["refresh_token"], tokens["id_token"], "x"):
        assert server.post("introspect", {"token": token}).json() == {"active": False}


def test_only_a_client_that_proves_itself_asks_and_of_its_own_tokens_alone(app: App) -> None:
    token = app.tokens("p.pat-1")["access_token"]
    other = App(app.house, "confidential", secret=PASSWORD).register(auth_method=None)

    assert error(app.post("introspect", {"token": token})) == (401, "invalid_client")
    assert other.post("introspect", {"token": token}).json() == {"active": False}
    own = other.tokens("p.pat-1")["access_token"]
    assert other.post("introspect", {"token": own}).json()["active"] is True


def test_a_program_asks_with_its_access_token_a_person_may_not(app: App) -> None:
    token = app.tokens("p.pat-1")["access_token"]
    program = app.house.system("ehr-commons", "ehr/introspect")
    person = app.house.login("steward")

    answer = program.request("POST", "/oauth/introspect", data={"token": token})

    assert answer.json()["active"] is True
    assert person.request("POST", "/oauth/introspect", data={"token": token}).status_code == 403


def test_a_confidential_app_proves_itself_at_every_step(furnished: House) -> None:
    app = App(furnished, "backed", LASTING, secret=PASSWORD).register(auth_method=None)
    public = App(furnished, "backed", LASTING, verifier=app.verifier)
    wrong = App(furnished, "backed", LASTING, verifier=app.verifier, secret="wrong")

    for thief in (public, wrong):
        assert error(thief.exchange(app.code("p.pat-1"))) == (401, "invalid_client")
    tokens = app.tokens("p.pat-1")
    for thief in (public, wrong):
        assert error(thief.refresh(tokens["refresh_token"])) == (401, "invalid_client")
    assert must(app.refresh(tokens["refresh_token"]))


def test_new_keys_sign_and_old_ones_verify_until_their_tokens_are_over(
    app: App, neighbour: TestClient
) -> None:
    house = app.house
    before = house.token("p.pat-1")
    assert both(app, neighbour, before) == [200, 200]
    old = house.gateway.keys.access_token_key.kid

    name = rotate_keys(house.settings.keys, house.clock(), house.settings.token_seconds)

    after = house.token("p.pat-1")
    served = {key["kid"] for key in neighbour.get("/oauth/jwks").json()["keys"]}
    assert {old, name} <= served
    assert both(app, neighbour, before) == [200, 200]
    assert both(app, neighbour, after) == [200, 200]
    assert verified(house, after, "ES256")["sub"] == "p.pat-1"
    house.clock.forward(seconds=house.settings.token_seconds + 1)
    rotate_keys(house.settings.keys, house.clock(), house.settings.token_seconds)
    house.clock.forward(seconds=house.settings.token_seconds + 1)
    rotate_keys(house.settings.keys, house.clock(), house.settings.token_seconds)
    assert old not in {key["kid"] for key in neighbour.get("/oauth/jwks").json()["keys"]}


def test_keys_that_became_known_end_at_once_with_what_they_signed(
    app: App, neighbour: TestClient
) -> None:
    before = app.house.token("p.pat-1")
    assert both(app, neighbour, before) == [200, 200]

    rotate_keys(app.house.settings.keys, app.house.clock(), 3600, at_once=True)
    app.house.gateway.revocations.notify_processes()

    assert both(app, neighbour, before) == [401, 401]
    assert both(app, neighbour, app.house.token("p.pat-1")) == [200, 200]


def test_clients_prove_themselves_in_one_way_alone(house: House) -> None:
    clients.register_client(
        house.gateway.store, clients.Client("c", "C", scope="system/*.rs"), PASSWORD
    )
    form = {"grant_type": "client_credentials", "client_id": "c", "client_secret": PASSWORD}

    answer = house.client.post("/oauth/token", data=form, auth=("c", PASSWORD))

    assert error(answer) == (400, "invalid_request")
