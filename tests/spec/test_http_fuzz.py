"""Whatever is sent, the gateway answers: never with a fault of its own, never in another form."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lib.gateway import House

NAMES = st.sampled_from(
    ["_id", "_count", "_cursor", "_sort", "_include", "_total", "_summary", "_lastUpdated", "code",
     "date", "patient", "subject", "value-quantity", "category:not", "code:missing", "_format",
     "_has:Observation:patient:code", "identifier", "name:exact", "birthdate", "url:below"]
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["|", "||", ",", "$", "\\", "%", "'", '"', "ge", "2026-13-45", "1e999", "-0",
                     "Patient/", "http://", "ge2026-01-01T00:00:00Z", "9" * 40, "\x00"]),
)  # fmt: skip
HEADER_NAMES = st.sampled_from(
    ["Accept", "Prefer", "If-Match", "If-None-Match", "If-Modified-Since", "If-None-Exist",
     "Content-Type", "X-Request-Id", "Accept-Language", "Content-Length"]
)  # fmt: skip
HEADER_VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return one furnished house for every example."""
    built = House(tmp_path_factory.mktemp("fuzz") / "data")
    built.invite()
    built.furnish()
    with built.client:
        yield built


CALM = settings(max_examples=150)


@CALM
@given(
    kind=st.sampled_from(["Observation", "Patient", "AuditEvent", "ValueSet", "Nothing"]),
    pairs=st.lists(st.tuples(NAMES, VALUES), max_size=3),
    lenient=st.booleans(),
)
def test_no_search_is_too_odd(
    house: House, kind: str, pairs: list[tuple[str, str]], lenient: bool
) -> None:
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    headers = {"Prefer": "handling=lenient"} if lenient else {}

    for login in ("doctor.a", "auditor"):
        answer = house.login(login).get(f"{kind}?{query}", headers=headers)
        assert answer.status_code in (200, 400, 403, 404, 406), (query, answer.text)
        expected = "Bundle" if answer.status_code == 200 else "OperationOutcome"
        assert answer.json()["resourceType"] == expected


@CALM
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    path=st.lists(st.text(max_size=12), max_size=4),
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=3),
    body=st.binary(max_size=60),
)
def test_no_request_is_too_odd(
    house: House, method: str, path: list[str], headers: dict[str, str], body: bytes
) -> None:
    headers.pop("Content-Length", None)
    address = "/fhir/" + "/".join(quote(part, safe="") for part in path)

    answer = house.login("doctor.a").request(
        method,
        address,
        headers={name: value.encode("latin-1") for name, value in headers.items()},
        content=body,
    )

    assert answer.status_code < 500, (method, address, headers)


LOG_IN = (
    "/oauth/token", "/oauth/login", "/oauth/login/code", "/oauth/login/passkey",
    "/oauth/login/enrol", "/oauth/login/on", "/oauth/login/account", "/oauth/login/password",
    "/oauth/eid-simulator/authorize", "/oauth/eid-simulator/token",
)  # fmt: skip
FIELDS = st.sampled_from(
    ["grant_type", "code", "client_id", "client_secret", "redirect_uri", "code_verifier", "scope",
     "request", "login", "password", "hkid", "pin", "credential", "account"]
)  # fmt: skip


@CALM
@given(form=st.dictionaries(FIELDS, st.text(max_size=20), max_size=6))
def test_no_log_in_is_too_odd(house: House, form: dict[str, str]) -> None:
    for address in LOG_IN:
        assert house.client.post(address, data=form).status_code in (400, 401), form
    assert house.client.get("/oauth/authorize", params=form).status_code == 400
