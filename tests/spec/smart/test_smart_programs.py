"""Programs: how they register, and how those that nobody sits at prove who they are."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from ehr_gateway.oauth import clients
from ehr_gateway.oauth.registration import mint_initial_access_token
from tests.lib.gateway import House, Session, must
from tests.lib.smart import CALLBACK, ISSUER, App, Signer, by_assertion

SIGNER = Signer()
RSA = Signer("RS384", "r1")


@pytest.fixture
def backend(furnished: House) -> House:
    """Register two backend services of hospital-a, one for each algorithm."""
    for name, signer in (("backend", SIGNER), ("backend-rsa", RSA)):
        one = clients.Client(
            name, "A backend", scope="system/*.rs", organization="hospital-a",
            auth_method="private_key_jwt", jwks=json.dumps(signer.jwks),
        )  # fmt: skip
        clients.register_client(furnished.gateway.store, one)
    return furnished


def refused(answer: Any) -> bool:
    return (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


@pytest.mark.parametrize(("client", "signer"), [("backend", SIGNER), ("backend-rsa", RSA)])
def test_a_backend_service_gets_a_token_by_its_signature(
    backend: House, client: str, signer: Signer
) -> None:
    answer = must(by_assertion(backend, signer.assertion(backend, client))).json()

    assert answer["scope"] == "system/*.rs"
    assert "refresh_token" not in answer
    session = Session(backend.client, answer["access_token"])
    assert session.get("Observation/lab-1").status_code == 200


def test_an_assertion_is_good_once(backend: House) -> None:
    assertion = SIGNER.assertion(backend, "backend")
    must(by_assertion(backend, assertion))

    assert refused(by_assertion(backend, assertion))
    again = SIGNER.assertion(backend, "backend", jti="same", exp=backend.clock() // 1000 + 60)
    must(by_assertion(backend, again))
    other = SIGNER.assertion(backend, "backend", jti="same", exp=backend.clock() // 1000 + 90)
    assert refused(by_assertion(backend, other))
    # The same word of another client is another.
    must(by_assertion(backend, RSA.assertion(backend, "backend-rsa", jti="same")))


def test_of_many_that_bring_one_assertion_at_once_one_gets_a_token(backend: House) -> None:
    assertion = SIGNER.assertion(backend, "backend")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: by_assertion(backend, assertion).status_code, range(6)))

    assert sorted(answers) == [200, *[401] * 5]


WRONG: tuple[dict[str, Any], ...] = (
    {"exp": -1}, {"exp": 0}, {"exp": 3600}, {"exp": None}, {"exp": "soon"}, {"exp": True},
    {"iat": 3600}, {"iat": -200}, {"nbf": 3600}, {"iat": "now"},
    {"aud": "https://elsewhere.example/token"}, {"aud": None}, {"aud": []}, {"aud": ISSUER},
    {"iss": "backend-rsa"}, {"sub": "backend-rsa"}, {"iss": None}, {"sub": "nobody"},
    {"jti": None}, {"jti": ""}, {"jti": "x" * 256}, {"jti": 7},
    {"header": {"kid": "other"}}, {"header": {"kid": ""}},
)  # fmt: skip


def test_an_assertion_that_is_wrong_anywhere_is_refused(backend: House) -> None:
    now = backend.clock() // 1000
    for change in WRONG:
        timed = {
            name: now + value if name in ("exp", "iat", "nbf") and type(value) is int else value
            for name, value in change.items()
        }

        answer = by_assertion(backend, SIGNER.assertion(backend, "backend", **timed))

        assert refused(answer), change


def test_an_assertion_for_several_audiences_is_taken(backend: House) -> None:
    assertion = SIGNER.assertion(backend, "backend", aud=["https://x.example", f"{ISSUER}/token"])

    must(by_assertion(backend, assertion))


def test_no_algorithm_but_the_two_is_taken(backend: House) -> None:
    def signed(algorithm: str, key: Any) -> str:
        header = {"alg": algorithm, "kid": "k1"}
        claims = json.loads(decoded(SIGNER.assertion(backend, "backend").split(".")[1]))
        return jwt.encode(header, claims, key, algorithms=[algorithm])

    public = json.dumps(SIGNER.jwks["keys"][0]).encode()
    whole = SIGNER.assertion(backend, "backend")
    head = encoded(b'{"alg":"none","kid":"k1"}')
    for forged in (
        signed("HS256", OctKey.import_key(public)),
        signed("HS384", OctKey.import_key(public)),
        signed("ES256", ECKey.generate_key("P-256")),
        signed("RS256", RSAKey.generate_key(2048)),
        f"{head}.{whole.split('.')[1]}.",
        ".".join(whole.split(".")[:2]) + ".",
        whole[:-4] + "AAAA",
        "a.b.c", "", "x",
    ):  # fmt: skip
        assert by_assertion(backend, forged).status_code in (400, 401), forged[:40]


def test_a_key_of_the_callers_own_choice_means_nothing(backend: House) -> None:
    thief = Signer(kid="k1")
    header = {"jwk": thief.jwks["keys"][0], "jku": "https://thief.example/jwks"}

    assert refused(by_assertion(backend, thief.assertion(backend, "backend")))
    with_key = thief.assertion(backend, "backend", header=header)
    assert refused(by_assertion(backend, with_key))
    # Another client's key does not prove this one.
    assert refused(by_assertion(backend, RSA.assertion(backend, "backend")))


def test_a_client_that_signs_has_no_other_way_in(backend: House) -> None:
    form = {"grant_type": "client_credentials", "client_id": "backend", "client_secret": ""}

    for changes in ({}, {"client_secret": "x"}):
        assert refused(backend.client.post("/oauth/token", data={**form, **changes}))
    named = by_assertion(backend, SIGNER.assertion(backend, "backend"), client_id="backend-rsa")
    assert refused(named)


def test_a_backend_service_gets_no_scope_beyond_its_registration(backend: House) -> None:
    answer = by_assertion(backend, SIGNER.assertion(backend, "backend"), "system/*.cruds")
    assert must(answer).json()["scope"] == "system/*.rs"

    none = by_assertion(backend, SIGNER.assertion(backend, "backend"), "user/*.rs ehr/feed.read")
    assert none.json()["error"] == "invalid_scope"


# Registration.

APP = {
    "client_name": "Growth chart",
    "redirect_uris": [CALLBACK],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
    "scope": "openid fhirUser launch/patient offline_access patient/*.rs",
}


def registers(house: House, body: Any = None, token: str | None = None, **changes: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    sent = {**APP, **changes} if body is None else body
    kept = {k: v for k, v in sent.items() if v is not None} if isinstance(sent, dict) else sent
    return house.client.post("/oauth/register", json=kept, headers=headers)


def invited(house: House, scope: str = "patient/*.cruds openid fhirUser launch/patient") -> str:
    return mint_initial_access_token(
        house.gateway.store.database,
        scope=scope,
        organization="hospital-a",
        now_ms=house.clock(),
    )


def test_an_app_for_people_gets_nothing_by_itself(furnished: House) -> None:
    one = clients.Client(
        "chart", "A chart", (CALLBACK,), "openid user/*.rs patient/*.rs", "hospital-a"
    )
    clients.register_client(furnished.gateway.store, one, "its secret")

    for scope in ("", "user/*.rs", "patient/*.rs", "openid"):
        answer = furnished.client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials", "scope": scope},
            auth=("chart", "its secret"),
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), scope


def test_an_app_registers_with_the_administrators_token_and_works(furnished: House) -> None:
    answer = registers(furnished, token=invited(furnished), scope="launch/patient patient/*.rs")

    assert answer.status_code == 201
    body = answer.json()
    assert (body["client_name"], body["redirect_uris"]) == ("Growth chart", [CALLBACK])
    assert "client_secret" not in body
    app = App(furnished, body["client_id"], "launch/patient patient/*.rs")
    assert "Do you allow Growth chart?" in app.asks("p.pat-1").text
    assert app.tokens("p.pat-1")["scope"] == "launch/patient patient/*.rs"


def test_an_initial_token_is_needed_and_good_once_and_for_a_day(house: House) -> None:
    token = invited(house)
    assert registers(house, token=token).status_code == 201

    for bad in (None, "wrong", token):
        answer = registers(house, token=bad)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    late = invited(house)
    house.clock.forward(seconds=86_400)
    assert registers(house, token=late).status_code == 401


def test_a_registration_that_fails_does_not_use_the_token_up(house: House) -> None:
    token = invited(house)
    assert registers(house, token=token, redirect_uris=["ftp://x"]).status_code == 400
    assert registers(house, token=token, scope="system/*.rs").status_code == 400

    assert registers(house, token=token).status_code == 201


def test_scopes_stay_within_what_the_token_allows(house: House) -> None:
    token = invited(house, "patient/Observation.rs openid")

    body = registers(house, token=token).json()

    assert body["scope"] == "openid patient/Observation.rs"


def test_a_program_that_names_no_scope_gets_the_least(house: House) -> None:
    body = registers(house, token=invited(house), scope=None).json()

    assert body["scope"] == "openid fhirUser launch/patient"


def test_a_backend_service_registers_its_keys_and_works(furnished: House) -> None:
    signer = Signer(kid="mine")
    token = invited(furnished, "system/*.rs")
    body = must(registers(furnished, token=token, body={
        "client_name": "Backend", "grant_types": ["client_credentials"], "scope": "system/*.rs",
        "token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks,
    })).json()  # fmt: skip

    answer = must(by_assertion(furnished, signer.assertion(furnished, body["client_id"]))).json()

    assert answer["ehr"]["organization"] == "hospital-a"


def test_a_confidential_app_gets_a_secret_once(house: House) -> None:
    body = must(
        registers(house, token=invited(house), token_endpoint_auth_method="client_secret_basic")
    ).json()

    again = house.client.get(
        f"/oauth/register/{body['client_id']}",
        headers={"Authorization": f"Bearer {body['registration_access_token']}"},
    ).json()

    assert len(body["client_secret"]) > 40
    assert body["client_secret_expires_at"] == 0
    assert "client_secret" not in again
    assert again["client_name"] == "Growth chart"


# A key of 1024 bits, which nobody should make any more.
SHORT = {"keys": [{"kty": "RSA", "kid": "a", "e": "AQAB", "n": "n" * 171}]}
ADDRESSES = (
    "http://app.example/cb", "javascript:alert(1)", "data:text/html,x", "/callback",
    "https://app.example/cb#part", "https://user@app.example/cb", "https:///cb",
    "https://*.example/cb", "https://app.example:x/cb", "http://localhost.evil/cb",
    "https://app.example/ cb", "https://app.example/\ncb", "//app.example/cb", "",
    "http://127.0.0.1.evil/cb", "custom.scheme:/cb", "https://app.example;x/cb",
)  # fmt: skip
METADATA: tuple[dict[str, Any], ...] = (
    {"redirect_uris": CALLBACK},
    {"redirect_uris": [7]},
    {"client_name": None},
    {"client_name": " "},
    {"client_name": "x" * 101},
    {"client_name": "a\u202eb"},
    {"grant_types": ["password"]},
    {"grant_types": []},
    {"grant_types": ["authorization_code", "client_credentials"]},
    {"response_types": ["token"]},
    {"token_endpoint_auth_method": "tls_client_auth"},
    {"token_endpoint_auth_method": "private_key_jwt"},
    {"jwks_uri": "https://app.example/jwks"},
    {"jwks": {"keys": [dict(SIGNER.key.as_dict(private=True))]}},
    {"jwks": SHORT},
    {"jwks": {"keys": []}},
    {"jwks": {"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}},
    {"jwks": {"keys": [*RSA.jwks["keys"], *RSA.jwks["keys"]]}},
    {"scope": 7},
    {"scope": "system/*.rs"},
    {"scope": "patient/Observation.rs?value-quantity=1"},
)


def test_an_address_that_may_not_be_is_refused_with_its_code(house: House) -> None:
    token = invited(house)
    lists = [None, [], [f"{CALLBACK}/{n}" for n in range(11)], *([one] for one in ADDRESSES)]

    for redirects in lists:
        answer = registers(house, token=token, redirect_uris=redirects)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


def test_metadata_that_cannot_be_is_refused_with_its_code(house: House) -> None:
    token = invited(house)

    for changes in METADATA:
        answer = registers(house, token=token, **changes)

        assert answer.status_code == 400, changes
        assert answer.json()["error"] == "invalid_client_metadata", changes


def test_a_registration_is_a_json_object(house: House) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {invited(house)}"}

    for body in (b"", b"[]", b"{", b"7", b'"x"'):
        answer = house.client.post("/oauth/register", content=body, headers=headers)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


def test_a_program_goes_by_its_own_token_and_its_tokens_go_with_it(furnished: House) -> None:
    body = registers(furnished, token=invited(furnished)).json()
    app = App(furnished, body["client_id"], "launch/patient patient/*.rs")
    tokens = app.tokens("p.pat-1")
    address = f"/oauth/register/{body['client_id']}"
    own = {"Authorization": f"Bearer {body['registration_access_token']}"}

    for wrong in ({}, {"Authorization": "Bearer x"}):
        assert furnished.client.delete(address, headers=wrong).status_code == 401
    assert app.session(tokens).get("Patient/pat-1").status_code == 200
    assert furnished.client.delete(address, headers=own).status_code == 204

    assert furnished.client.delete(address, headers=own).status_code == 401
    assert app.session(tokens).get("Patient/pat-1").status_code == 401
    assert app.asks("p.pat-1").status_code == 400


def test_open_registration_gives_what_a_person_may_allow_on_himself(furnished: House) -> None:
    object.__setattr__(furnished.gateway.settings, "registration", "open")

    body = registers(furnished, scope="patient/*.cruds user/*.rs system/*.rs openid launch")

    assert body.json()["scope"] == "patient/*.rs openid"


def test_registration_can_be_off(furnished: House) -> None:
    object.__setattr__(furnished.gateway.settings, "registration", "off")

    assert registers(furnished).status_code == 403
    document = furnished.client.get("/fhir/.well-known/smart-configuration").json()
    assert "registration_endpoint" not in document


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
