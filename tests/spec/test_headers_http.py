"""What every answer says of itself to a browser, whatever it answers."""

from __future__ import annotations

from email.message import Message

import pytest

from tests.lib.gateway import House

PATHS = (
    "/fhir/metadata", "/fhir/openapi.json", "/fhir/.well-known/smart-configuration",
    "/fhir/Patient", "/fhir/Patient/pat-1", "/fhir/nothing/at/all", "/healthz", "/metrics",
    "/feed", "/oauth/jwks", "/oauth/login", "/oauth/account", "/oauth/authorize", "/oauth/token",
    "/oauth/static/ehr.css", "/oauth/static/icon.svg", "/oauth/static/nothing", "/oauth/nothing",
)  # fmt: skip
# What is the same for everybody, and may be kept for a while.
PUBLIC = ("/fhir/.well-known/smart-configuration", "/oauth/static/ehr.css",
          "/oauth/static/icon.svg")  # fmt: skip


@pytest.fixture
def database() -> str:
    """Name one database: headers are the same with either."""
    return "sqlite"


@pytest.mark.parametrize("who", ["", "doctor.a"])
def test_every_answer_is_marked_against_sniffing_framing_and_keeping(
    furnished: House, who: str
) -> None:
    client = furnished.login(who) if who else furnished.client

    for path in PATHS:
        headers = client.get(path).headers

        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
            assert part in policy, path
        kept = "public" if path in PUBLIC else "no-store"
        assert kept in headers["cache-control"], path
        for name in ("cache-control", "content-security-policy", "x-content-type-options"):
            assert len(headers.get_list(name)) == 1, (path, name)


def test_every_answer_says_its_type_and_charset(furnished: House) -> None:
    for path in PATHS:
        said = Message()
        said["content-type"] = furnished.client.get(path).headers["content-type"]

        kind = said.get_content_type()
        # JSON is UTF-8 by its own standard (RFC 8259 §8.1) and has no such parameter.
        json = kind in ("application/json", "application/fhir+json")
        assert said.get_content_charset() == (None if json else "utf-8"), path


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "OPTIONS"])
def test_no_method_is_echoed(house: House, method: str) -> None:
    for path in ("/fhir/Patient", "/oauth/token", "/oauth/login", "/healthz"):
        answer = house.client.request(method, path, headers={"X-Told": "secret word"})

        assert answer.status_code == 405, path
        assert "secret word" not in answer.text


def test_every_page_asset_is_a_file_of_ours(house: House) -> None:
    for path in (
        "/oauth/static/", "/oauth/static/../pages.py", "/oauth/static/%2e%2e/pages.py",
        "/oauth/static/..%2fpages.py", "/.git/config",
    ):  # fmt: skip
        assert house.client.get(path).status_code == 404, path


def test_a_log_in_form_field_stands_once(house: House) -> None:
    answer = house.client.post(
        "/oauth/login",
        content="request=a&login=x&login=y&password=z",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 400
