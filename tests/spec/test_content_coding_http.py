"""Bodies compressed by gzip: taken within the limit, sent where the client takes them."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from tests.lib.gateway import BASE, House, Session, must, observation

GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
def database() -> str:
    """Name one database: no body is stored compressed."""
    return "sqlite"


@pytest.fixture
def hospital(furnished: House) -> Session:
    """Return the system of hospital-a."""
    return furnished.system("hospital-a")


def body() -> bytes:
    resource = observation("", "laboratory")
    del resource["id"]
    return json.dumps(resource).encode()


def send(session: Session, content: bytes, coding: str, path: str = "Observation") -> Any:
    headers = {"Content-Type": "application/fhir+json", "Content-Encoding": coding}
    return session.request("POST", path, content=content, headers=headers)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
def test_a_gzip_body_is_unfolded(hospital: Session, coding: str) -> None:
    assert send(hospital, gzip.compress(body()), coding).status_code == 201


def test_members_one_after_another_are_one_body(hospital: Session) -> None:
    whole = body()
    content = gzip.compress(whole[:50]) + gzip.compress(whole[50:])
    assert send(hospital, content, "gzip").status_code == 201


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "x"])
def test_another_coding_is_refused_with_the_one_that_is_taken(
    hospital: Session, coding: str
) -> None:
    answer = send(hospital, body(), coding)

    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "gzip"


def test_what_is_no_gzip_is_refused(hospital: Session) -> None:
    whole = gzip.compress(body())
    for content in (body(), whole[:-9], whole[:20], whole + b"x", zlib.compress(body()), b"\x1f"):
        assert send(hospital, content, "gzip").status_code == 400
    assert send(hospital, b"", "gzip").status_code == 400


def test_a_bomb_ends_at_the_limit(furnished: House, hospital: Session) -> None:
    limit = furnished.settings.max_body_bytes
    bomb = gzip.compress(b" " * (limit * 3), 9)
    nested = gzip.compress(b" " * limit, 9) * 3
    assert len(bomb) < 120_000
    for content in (bomb, nested):
        for path in ("Observation", ""):
            assert send(hospital, content, "gzip", path).status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    answer = hospital.request("POST", "Observation/_search", content=bomb, headers=form)
    assert answer.status_code == 413


def test_forms_and_patches_are_unfolded_too(hospital: Session) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    found = hospital.request("POST", "Observation/_search", content=gzip.compress(b"_id=lab-1"),
                             headers=form)  # fmt: skip
    assert len(must(found).json()["entry"]) == 1
    patch = json.dumps([{"op": "replace", "path": "/status", "value": "amended"}]).encode()
    headers = {"Content-Type": "application/json-patch+json", "Content-Encoding": "gzip"}
    answer = hospital.request("PATCH", "Observation/lab-1", content=gzip.compress(patch),
                              headers=headers)  # fmt: skip
    assert must(answer).json()["status"] == "amended"


@pytest.mark.parametrize(
    "address", ["metadata", "openapi.json", "Observation", "Observation?_count=2&_pretty=true"]
)
def test_a_long_answer_is_compressed_where_the_client_takes_it(
    hospital: Session, address: str
) -> None:
    plain = hospital.get(address, headers={"Accept-Encoding": "identity"})
    packed = hospital.get(address, headers=GZIP)

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 2
    assert packed.content == plain.content
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Accept-Encoding" in packed.headers["Vary"]
    head = hospital.request("HEAD", address, headers=GZIP)
    assert head.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("header", ["", "identity", "gzip;q=0", "br", "gzip;q=0.000, *", "*;q=0"])
def test_no_answer_is_compressed_for_who_does_not_take_it(hospital: Session, header: str) -> None:
    answer = hospital.get("metadata", headers={"Accept-Encoding": header})
    assert "Content-Encoding" not in answer.headers


def test_the_style_sheet_of_the_log_in_is_compressed(furnished: House) -> None:
    packed = furnished.client.get("/oauth/static/ehr.css", headers=GZIP)
    plain = furnished.client.get("/oauth/static/ehr.css", headers={"Accept-Encoding": "identity"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content


def test_short_answers_and_images_stay_as_they_are(hospital: Session) -> None:
    assert "Content-Encoding" not in hospital.get("Observation/lab-1", headers=GZIP).headers
    content = b"\x89PNG" + bytes(4000)
    made = hospital.request("POST", "Binary", content=content,
                            headers={"Content-Type": "image/png"})  # fmt: skip
    served = hospital.get(f"Binary/{made.json()['id']}", headers={**GZIP, "Accept": "*/*"})
    assert served.content == content
    assert "Content-Encoding" not in served.headers


def test_an_answer_keeps_its_etag(hospital: Session) -> None:
    note = [{"text": "long " * 1000}]
    resource = {**observation("", "laboratory"), "note": note}
    del resource["id"]
    made = must(hospital.post("Observation", resource)).json()
    answer = hospital.get(f"Observation/{made['id']}", headers=GZIP)

    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["ETag"] == 'W/"1"'
    again = {**GZIP, "If-None-Match": answer.headers["ETag"]}
    assert hospital.get(f"Observation/{made['id']}", headers=again).status_code == 304


def test_what_holds_secrets_is_never_compressed(furnished: House) -> None:
    """A page with a secret beside what a client sent tells it by its length (BREACH)."""
    client = furnished.client
    form = {"grant_type": "client_credentials", "scope": "x" * 2000}
    for answer in (
        client.get("/oauth/login", headers=GZIP),
        client.get("/oauth/account", headers=GZIP),
        client.get(f"/oauth/authorize?client_id={'x' * 3000}", headers=GZIP),
        client.post("/oauth/token", data=form, headers=GZIP),
    ):
        assert "Content-Encoding" not in answer.headers
    assert client.base_url == BASE
