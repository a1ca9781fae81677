"""Logging in and getting tokens, as a browser and a program do it."""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from ehr_fhir.errors import Invalid, NotFound, Unauthorized
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import throttle
from ehr_gateway.html import pages
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorization_codes import compute_challenge
from ehr_gateway.oauth.offline_tokens import issue_local_token, now_ms
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.tokens.access_tokens import Subject, TokenVerifier, issue_access_token
from ehr_gateway.tokens.keys import SigningKeys, open_signing_keys
from ehr_gateway.tokens.roles import grant_scopes, load_roles
from tests.lib.gateway import BASE, HKID, PASSWORD, PIN, START_MS, House, must

VERIFIER = secrets.token_urlsafe(48)
REQUEST = {
    "response_type": "code",
    "client_id": "portal",
    "redirect_uri": f"{BASE}/callback",
    "code_challenge": compute_challenge(VERIFIER),
    "code_challenge_method": "S256",
    "state": "abc",
}


def sealed(house: House, **changes: str) -> str:
    page = house.client.get("/oauth/authorize", params={**REQUEST, **changes})
    found = re.search(r'name="request" value="([^"]+)"', page.text)
    assert found, page.text
    return str(found[1])


def staff_login(house: House, password: str = PASSWORD, login: str = "doctor.a") -> Any:
    form = {"request": sealed(house), "login": login, "password": password}
    return house.client.post("/oauth/login", data=form)


def eid_login(house: House, hkid: str = HKID, pin: str = PIN) -> Any:
    page = house.client.get(eid_address(house))
    found = re.search(r'name="request" value="([^"]+)"', page.text)
    assert found, page.text
    form = {"request": found[1], "hkid": hkid, "pin": pin}
    answer = house.client.post("/oauth/eid-simulator/authorize", data=form)
    return house.client.get(answer.headers["location"]) if answer.is_redirect else answer


def eid_address(house: House, **query: str) -> str:
    answer = house.client.get("/oauth/eid", params={"request": sealed(house), **query})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def code_of(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    query = parse_qs(urlsplit(str(answer.headers["location"])).query)
    assert query["state"] == ["abc"]
    return str(query["code"][0])


def exchange(house: House, code: str, **changes: str) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": "portal",
        "redirect_uri": f"{BASE}/callback",
        "code_verifier": VERIFIER,
    }
    return house.client.post("/oauth/token", data={**form, **changes})


def test_staff_log_in_by_password_and_get_a_token_of_their_organisation(house: House) -> None:
    answer = exchange(house, code_of(staff_login(house))).json()

    assert answer["token_type"] == "Bearer"
    assert answer["ehr"]["role"] == "clinician"
    assert answer["ehr"]["organization"] == "hospital-a"
    assert "patient" not in answer


def test_a_patient_logs_in_by_eid_and_the_token_names_the_patient(house: House) -> None:
    answer = exchange(house, code_of(eid_login(house))).json()

    assert answer["patient"] == "pat-1"
    assert answer["scope"] == (
        "patient/*.rs patient/Consent.cruds patient/Patient.u patient/Observation.cu"
        " patient/Subscription.cud ehr/access"
    )
    assert answer["ehr"]["purpose"] == "PATRQT"


def test_a_token_verifies_with_the_served_keys_alone(house: House) -> None:
    token = exchange(house, code_of(staff_login(house))).json()["access_token"]
    keys = house.client.get("/oauth/jwks").json()

    claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["ES256"]).claims

    assert claims["sub"] == "doctor.a"
    assert claims["exp"] - claims["iat"] == 3600
    assert all("d" not in key for key in keys["keys"])


def test_a_code_is_good_once(house: House) -> None:
    code = code_of(staff_login(house))
    must(exchange(house, code))

    again = exchange(house, code)

    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_code_is_good_for_sixty_seconds(house: House) -> None:
    code = code_of(staff_login(house))
    house.clock.forward(seconds=60)

    assert exchange(house, code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"code_verifier": secrets.token_urlsafe(48)},
        {"code_verifier": ""},
        {"redirect_uri": f"{BASE}/other"},
        {"client_id": "lake"},
    ],
)
def test_a_code_is_bound_to_verifier_address_and_client(
    house: House, change: dict[str, str]
) -> None:
    code = code_of(staff_login(house))

    refused = exchange(house, code, **change)

    assert refused.json()["error"] in ("invalid_grant", "invalid_client")
    if "client_id" not in change:
        assert exchange(house, code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("change", [{"client_id": "nobody"}, {"redirect_uri": "https://evil.hk/"}])
def test_nothing_is_sent_to_an_unregistered_address(house: House, change: dict[str, str]) -> None:
    answer = house.client.get("/oauth/authorize", params={**REQUEST, **change})

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"aud": "https://elsewhere.hk/fhir"}, "invalid_request"),
    ],
)
def test_a_log_in_without_pkce_goes_back_with_the_error(
    house: House, change: dict[str, str], error: str
) -> None:
    answer = house.client.get("/oauth/authorize", params={**REQUEST, **change})

    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert answer.headers["location"].startswith(f"{BASE}/callback?")
    assert (query["error"], query["state"]) == ([error], ["abc"])
    # Which server answers (RFC 9207).
    assert query["iss"] == [f"{BASE}/oauth"]


def test_unknown_name_and_wrong_password_answer_alike(house: House) -> None:
    unknown = staff_login(house, login="nobody")
    wrong = staff_login(house, password="wrong")

    def words(answer: Any) -> str:
        return re.sub(r'(value|href)="[^"]*"', "", answer.text)

    assert (unknown.status_code, wrong.status_code) == (401, 401)
    assert words(unknown) == words(wrong)


def test_after_five_failures_even_the_right_password_has_to_wait(house: House) -> None:
    for _ in range(5):
        assert staff_login(house, password="wrong").status_code == 401

    assert "Too many attempts" in staff_login(house).text
    house.clock.forward(seconds=3)
    assert staff_login(house).status_code == 303


def test_guessing_many_at_once_is_no_way_around_the_wait(house: House) -> None:
    page = sealed(house)

    def guess(number: int) -> int:
        form = {"request": page, "login": "doctor.a", "password": f"guess {number}"}
        answer = house.client.post("/oauth/login", data=form)
        return int("Too many attempts" in answer.text)

    with ThreadPoolExecutor(8) as pool:
        slowed = sum(pool.map(guess, range(20)))

    assert slowed == 15


def test_a_name_that_does_not_exist_is_slowed_down_too(house: House) -> None:
    for _ in range(5):
        staff_login(house, login="nobody")

    assert "Too many attempts" in staff_login(house, login="nobody").text


def test_a_wrong_pin_is_refused(house: House) -> None:
    answer = eid_login(house, pin="000000")

    assert answer.status_code == 401
    assert HKID not in answer.text


def test_a_typed_name_is_not_stored_after_a_failure(house: House) -> None:
    eid_login(house, hkid="ZX765432(1)")

    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT * FROM login_failure").fetchall()
    assert rows
    assert all("765432" not in str(tuple(row)) for row in rows)


def test_a_tampered_log_in_page_is_refused(house: House) -> None:
    form = {"request": sealed(house)[:-2] + "xx", "login": "doctor.a", "password": PASSWORD}

    assert house.client.post("/oauth/login", data=form).status_code == 400


def test_a_program_gets_a_token_by_its_secret(house: House) -> None:
    basic = base64.b64encode(f"lake:{PASSWORD.replace(' ', '%20')}".encode()).decode()
    answer = house.client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {basic}"},
    ).json()

    assert answer["scope"] == "ehr/feed.read"
    assert answer["ehr"]["organization"] == "ehr-commons"


def test_a_program_gets_no_more_than_it_is_registered_for(house: House) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "lake",
        "client_secret": PASSWORD,
        "scope": "system/*.cruds",
    }

    assert house.client.post("/oauth/token", data=form).json() == {"error": "invalid_scope"}


@pytest.mark.parametrize("client", ["lake", "nobody", "portal"])
def test_a_wrong_secret_an_unknown_client_and_a_public_one_answer_alike(
    house: House, client: str
) -> None:
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": "wrong"}

    answer = house.client.post("/oauth/token", data=form)

    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


def test_token_errors_have_the_form_of_oauth(house: House) -> None:
    twice = house.client.post(
        "/oauth/token",
        content="grant_type=a&grant_type=b",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    unknown = house.client.post("/oauth/token", data={"grant_type": "password"})

    assert twice.json()["error"] == "invalid_request"
    assert unknown.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "How do you want"), ("zh-Hant-HK", "請選擇登入方式"), ("zh-Hans", "请选择登录方式")],
)
def test_the_pages_speak_three_languages(house: House, language: str, words: str) -> None:
    page = house.client.get("/oauth/authorize", params={**REQUEST, "ui_locales": language})

    assert words in page.text
    assert f'<html lang="{language}">' in page.text


def test_every_text_is_there_in_every_language() -> None:
    for key, versions in pages.load_texts().items():
        assert set(versions) == {language.tag for language in JURISDICTION.languages}, key


def test_no_page_loads_anything_from_elsewhere(house: House) -> None:
    page = house.client.get("/oauth/authorize", params=REQUEST)

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "<script" not in page.text
    assert not re.findall(r'(?:src|href)="https?:', page.text)
    for name in ("ehr.css", "icons.svg", "icon.svg"):
        assert house.client.get(f"/oauth/static/{name}").status_code == 200


def test_a_form_that_failed_says_so_and_keeps_the_name(house: House) -> None:
    page = staff_login(house, password="wrong").text

    assert "<title>Error: " in page
    assert 'role="alert"' in page
    assert 'value="doctor.a"' in page
    assert PASSWORD not in page


def test_the_eid_page_says_it_is_a_simulator(house: House) -> None:
    page = house.client.get(eid_address(house, lang="zh-Hans"))

    assert "这是示范用的模拟器" in page.text


def test_keys_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    first = open_signing_keys(tmp_path / "keys")
    second = open_signing_keys(tmp_path / "keys")

    assert first.access_token_key.kid == second.access_token_key.kid
    mode = os.stat(tmp_path / "keys" / "signing.jwks.json").st_mode
    assert stat.S_IMODE(mode) == 0o600


def verifier_and_token(tmp_path: Path, **changes: Any) -> tuple[TokenVerifier, str]:
    settings = GatewaySettings(data=tmp_path)
    keys = open_signing_keys(settings.keys)
    subject = Subject("doctor.a", "Dr A", "clinician", "test", "hospital-a", "doctor")
    token, _ = issue_access_token(
        keys, GatewaySettings(tmp_path, **changes), subject, "user/*.rs", START_MS
    )
    return TokenVerifier(keys, settings), token


def test_a_verified_token_gives_the_requester(tmp_path: Path) -> None:
    verifier, token = verifier_and_token(tmp_path)

    requester = verifier.authenticate(token, START_MS).requester

    assert (requester.role, requester.person) == ("clinician", "doctor.a")
    assert (requester.organization, requester.purpose) == ("hospital-a", "TREAT")


def test_an_expired_token_is_refused_even_when_it_was_seen_before(tmp_path: Path) -> None:
    verifier, token = verifier_and_token(tmp_path)
    verifier.authenticate(token, START_MS)

    with pytest.raises(Unauthorized):
        verifier.authenticate(token, START_MS + 3_600_000)


def test_a_token_for_another_service_is_refused(tmp_path: Path) -> None:
    verifier, token = verifier_and_token(tmp_path, base_url="https://other.example")

    with pytest.raises(Unauthorized):
        verifier.authenticate(token, START_MS)


FORMER = ("https://ehr-commons.hk/oauth", "https://ehr-commons.hk/fhir")
OURS = ("http://127.0.0.1:8080/oauth", "http://127.0.0.1:8080/fhir")


@pytest.mark.parametrize(
    ("issuer", "audience", "is_taken"),
    [
        (*OURS, True),
        (*FORMER, True),
        (FORMER[0], OURS[1], False),
        (OURS[0], FORMER[1], False),
        (OURS[0], "https://other.example/fhir", False),
        ("https://other.example/oauth", OURS[1], False),
    ],
)
def test_issuer_and_audience_are_the_servers_own_or_both_the_former_names(
    tmp_path: Path, issuer: str, audience: str, is_taken: bool
) -> None:
    """An upgrade ends no log-in: a token with the former names is good until it expires."""
    verifier, token = verifier_and_token(tmp_path)
    keys = open_signing_keys(tmp_path / "keys")
    claims = jwt.decode(token, keys.verification_keys, algorithms=["ES256"]).claims
    assert (claims["iss"], claims["aud"]) == OURS
    header = {"alg": "ES256", "typ": "at+jwt", "kid": keys.access_token_key.kid}
    renamed = jwt.encode(
        header, {**claims, "iss": issuer, "aud": audience}, keys.access_token_key,
        algorithms=["ES256"],
    )  # fmt: skip

    if is_taken:
        assert verifier.authenticate(renamed, START_MS).subject.login == "doctor.a"
    for at_ms in [START_MS + 3_600_000, *([] if is_taken else [START_MS])]:
        with pytest.raises(Unauthorized):
            verifier.authenticate(renamed, at_ms)


def test_a_local_token_is_for_the_address_that_the_folder_is_served_under(
    tmp_path: Path,
) -> None:
    House(tmp_path / "data", address="https://records.example")

    token = issue_local_token(tmp_path / "data", client="x", base_url="http://127.0.0.1:9")

    settings = GatewaySettings(tmp_path / "data", base_url="https://records.example")
    verifier = TokenVerifier(open_signing_keys(settings.keys), settings)
    assert verifier.authenticate(token, now_ms()).subject.login == "x"


def test_a_token_of_another_key_or_of_no_key_is_refused(tmp_path: Path) -> None:
    verifier, _ = verifier_and_token(tmp_path)
    stranger = SigningKeys([ECKey.generate_key("P-256", auto_kid=True)])
    subject = Subject("doctor.a", "Dr A", "clinician", "test")
    forged, _ = issue_access_token(
        stranger, GatewaySettings(tmp_path), subject, "user/*.rs", START_MS
    )
    head, body, _ = forged.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()

    for token in (forged, f"{none}.{body}.", f"{head}.{body}.", "", "a.b.c", "ÿ" * 10):
        with pytest.raises(Unauthorized):
            verifier.authenticate(token, START_MS)


def test_a_local_token_is_the_accounts_own(house: House, tmp_path: Path) -> None:
    token = issue_local_token(
        tmp_path / "data", user="doctor.a", database_url=house.settings.database_url
    )

    caller = TokenVerifier(house.gateway.keys, house.settings).authenticate(token, START_MS)

    assert caller.requester.organization == "hospital-a"


def test_a_local_token_of_an_unknown_client_acts_for_the_platform(
    house: House, tmp_path: Path
) -> None:
    token = issue_local_token(
        tmp_path / "data",
        client="bench",
        scope="system/*.cruds",
        database_url=house.settings.database_url,
    )

    caller = TokenVerifier(house.gateway.keys, house.settings).authenticate(token, START_MS)

    assert caller.requester.role == "system"
    assert caller.requester.organization == "ehr-commons"


def test_a_local_token_needs_one_known_user_or_client_and_known_scopes(
    house: House, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        issue_local_token(
            tmp_path / "data", user="nobody", database_url=house.settings.database_url
        )
    with pytest.raises(Invalid):
        issue_local_token(tmp_path / "data", database_url=house.settings.database_url)
    with pytest.raises(Invalid):
        issue_local_token(
            tmp_path / "data",
            client="bench",
            scope="everything",
            database_url=house.settings.database_url,
        )


def test_no_role_grants_what_it_was_not_given() -> None:
    # What patients decide on paper, the register, and corrections of persons; no clinical record.
    assert grant_scopes("user/*.cruds", load_roles()["steward"].scopes) == (
        "user/*.rs user/Consent.cud user/Organization.cud user/PractitionerRole.cud user/Patient.u"
    )
    assert grant_scopes("system/*.cruds", load_roles()["patient"].scopes) == ""
    assert "user/Organization" not in grant_scopes(
        "user/Organization.cud", load_roles()["clinician"].scopes
    )
    assert load_roles()["researcher"].scopes == ()


def test_waiting_doubles_and_is_forgotten_after_a_day(house: House) -> None:
    with house.gateway.store.write_transaction() as connection:
        for _ in range(7):
            throttle.record_failure(connection, "x", 1000)

        assert throttle.remaining_wait_ms(connection, "x", 1000) == 8000
        assert throttle.remaining_wait_ms(connection, "y", 1000) == 0
        assert throttle.remaining_wait_ms(connection, "x", 1000 + 24 * 3_600_000) == 0


def test_redirect_addresses_are_compared_letter_by_letter() -> None:
    client = clients.Client("c", "C", ("/callback", "https://app.hk/cb"))

    assert clients.accepts_redirect(client, "http://me/callback", "http://me")
    assert clients.accepts_redirect(client, "https://app.hk/cb", "http://me")
    for address in ("", "http://me/callback/", "https://app.hk/cb?x=1", "//me/callback"):
        assert not clients.accepts_redirect(client, address, "http://me")


def test_discovery_names_the_endpoints(house: House) -> None:
    found = house.client.get("/fhir/.well-known/smart-configuration").json()

    assert found["token_endpoint"] == f"{BASE}/oauth/token"
    assert found["code_challenge_methods_supported"] == ["S256"]
