"""Binary is taken and served as what it is: its content under its own type, or the resource."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.lib.gateway import House, Session, must

PDF = b"%PDF-1.7\n\x00\xff\xfe binary \r\n"
FHIR = "application/fhir+json"
ACTIVE = ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml",
          "text/javascript", "application/javascript", "application/x-shockwave-flash",
          "multipart/related", "text/css", "application/octet-stream", "text/HTML; charset=utf-8",
          "application/hl7-v3+xml", "application/zip")  # fmt: skip
PASSIVE = ("application/pdf", "image/png", "text/plain", "audio/mpeg", "application/dicom")


@pytest.fixture
def hospital(furnished: House) -> Session:
    """Return the system of the hospital that wrote pat-1's records."""
    return furnished.system("hospital-a")


def post(session: Session, content: bytes, kind: str, **headers: str) -> Any:
    return session.request("POST", "Binary", content=content,
                           headers={"Content-Type": kind, **headers})  # fmt: skip


def stored(session: Session, content: bytes = PDF, kind: str = "application/pdf") -> str:
    return f"Binary/{must(post(session, content, kind)).json()['id']}"


def test_content_comes_back_byte_by_byte_under_its_own_type(hospital: Session) -> None:
    for kind, content in (
        ("application/pdf", PDF),
        ("text/plain; charset=utf-8", "陳大文".encode()),
        ("application/json", b'{"resourceType":"Observation"}'),
        ("application/json", b"[1, 2]"),
        ("application/x-www-form-urlencoded", b"a=b&c=d"),
        ("application/xml", b"<a/>"),
        ("application/fhir+xml", b"<Binary/>"),
        ("image/png", bytes(range(256)) * 4096),
    ):
        answer = post(hospital, content, kind)
        assert answer.status_code == 201, answer.text
        assert answer.json()["contentType"] == kind
        address = answer.headers["Location"].partition("/fhir/")[2]
        for place in (address, address.partition("/_history")[0]):
            for accept in ("*/*", kind.partition(";")[0]):
                served = hospital.get(place, headers={"Accept": accept})
                assert served.status_code == 200, served.text
                assert served.content == content
                assert served.headers["Content-Type"] == kind
                assert "Accept" in served.headers["Vary"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("accept", "served"),
    [
        ("application/pdf", "application/pdf"),
        ("application/*", "application/pdf"),
        ("*/*", "application/pdf"),
        ("", "application/pdf"),
        ("APPLICATION/PDF", "application/pdf"),
        (FHIR, FHIR),
        ("application/json", FHIR),
        ("application/json+fhir", FHIR),
        (f"{FHIR}; fhirVersion=4.0", FHIR),
        (f"application/pdf;q=0.5, {FHIR};q=0.4", "application/pdf"),
        (f"application/pdf;q=0.4, {FHIR};q=0.5", FHIR),
        (f"{FHIR};q=0.2, */*", "application/pdf"),
        (f"{FHIR}, */*;q=0.1", FHIR),
        (f"application/pdf;q=0, {FHIR}", FHIR),
        ("application/pdf;q=0, */*", 406),
        ("image/png", 406),
        ("text/*", 406),
        ("application/fhir+xml", 406),
        (f"{FHIR};q=0", 406),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/pdf"),
    ],
)
def test_accept_chooses_between_content_and_resource(
    hospital: Session, accept: str, served: Any
) -> None:
    address = stored(hospital)
    for method in ("GET", "HEAD"):
        answer = hospital.request(method, address, headers={"Accept": accept})
        if served == 406:
            assert answer.status_code == 406
        else:
            assert answer.headers["Content-Type"] == served
            assert answer.headers["Content-Length"] != "0"
    for address_with in (f"{address}?_format=json", f"{address}?_elements=contentType"):
        answer = hospital.get(address_with, headers={"Accept": "*/*"})
        assert answer.headers["Content-Type"] == FHIR
        assert answer.json()["resourceType"] == "Binary"


def test_a_client_that_has_it_gets_304_and_writes_are_conditional(hospital: Session) -> None:
    address = stored(hospital)
    first = hospital.get(address, headers={"Accept": "*/*"})
    assert first.headers["ETag"] == 'W/"1"'
    for accept in ("*/*", FHIR):
        again = hospital.get(
            address, headers={"If-None-Match": first.headers["ETag"], "Accept": accept}
        )
        assert (again.status_code, again.content) == (304, b"")

    def put(if_match: str) -> Any:
        headers = {"Content-Type": "application/pdf", "If-Match": if_match}
        return hospital.request("PUT", address, content=PDF + b"2", headers=headers)

    assert put('W/"9"').status_code == 412
    assert must(put('W/"1"')).headers["ETag"] == 'W/"2"'
    assert hospital.get(address, headers={"Accept": "*/*"}).content == PDF + b"2"
    old = hospital.get(f"{address}/_history/1", headers={"Accept": "*/*"})
    assert old.content == PDF


@pytest.mark.sampled
@pytest.mark.parametrize("kind", [*ACTIVE, *PASSIVE])
def test_a_browser_runs_nothing_of_it(hospital: Session, kind: str) -> None:
    script = b"<html><script>alert(1)</script></html>"
    served = hospital.get(stored(hospital, script, kind), headers={"Accept": "*/*"})

    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert served.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in served.headers["Content-Security-Policy"]
    is_active = kind in ACTIVE
    assert ("sandbox" in served.headers["Content-Security-Policy"]) == is_active
    assert served.headers.get("Content-Disposition") == ("attachment" if is_active else None)
    for name in ("content-type", "content-security-policy", "x-content-type-options"):
        assert len(served.headers.get_list(name)) == 1


def test_a_stored_type_that_is_none_is_not_told_to_browsers(hospital: Session) -> None:
    for kind in ("x", "text/html\r\nSet-Cookie: a=b", "a b/c", "/", "text/"):
        body = {"resourceType": "Binary", "contentType": kind, "data": "AAAA"}
        answer = hospital.post("Binary", body)
        if answer.status_code == 201:
            served = hospital.get(f"Binary/{answer.json()['id']}", headers={"Accept": "*/*"})
            assert served.headers["Content-Type"] == "application/octet-stream", kind
            assert "set-cookie" not in served.headers


def test_the_security_context_closes_the_content_as_the_record_is_closed(
    furnished: House, hospital: Session
) -> None:
    header = {"X-Security-Context": "Patient/pat-1"}
    answer = must(post(hospital, PDF, "application/pdf", **header))
    assert answer.json()["securityContext"] == {"reference": "Patient/pat-1"}
    address = f"Binary/{answer.json()['id']}"
    doctor = furnished.login("doctor.b")

    for accept in ("*/*", FHIR):
        assert doctor.get(address, headers={"Accept": accept}).status_code == 404
        assert doctor.get(f"{address}/_history/1", headers={"Accept": accept}).status_code == 404
    furnished.share()
    assert doctor.get(address, headers={"Accept": "*/*"}).content == PDF
    furnished.share(status="inactive")
    assert doctor.get(address, headers={"Accept": "*/*"}).status_code == 404


def test_an_odd_security_context_is_refused_and_never_passed_over(hospital: Session) -> None:
    for value in ("Patient/no-such", "Patient", "", "\x07", b"Patient/\xff", "Patient/陳".encode()):
        headers = {"Content-Type": "application/pdf", "X-Security-Context": value}
        answer = hospital.request("POST", "Binary", content=PDF, headers=headers)
        assert answer.status_code in (400, 403, 422), (value, answer.text)
    body = {"resourceType": "Binary", "contentType": "text/plain", "data": "AAAA"}
    answer = hospital.post("Binary", body, headers={"X-Security-Context": "Patient/pat-1"})
    assert answer.status_code == 400


def test_what_is_no_content_is_refused(hospital: Session) -> None:
    for kind in ("", "pdf", "application/", "/pdf", "a/b c", "text/html, text/plain"):
        assert post(hospital, PDF, kind).status_code == 415, kind
    assert post(hospital, b"", "application/pdf").status_code == 400
    assert post(hospital, b"{}", FHIR).status_code in (400, 422)
    other = {"resourceType": "Patient"}
    assert hospital.post("Binary", other).status_code in (400, 422)


def test_the_resource_is_still_taken_as_one(hospital: Session) -> None:
    body = {"resourceType": "Binary", "contentType": "application/pdf",
            "data": base64.b64encode(PDF).decode()}  # fmt: skip
    for kind in (FHIR, "application/json", f"{FHIR}; charset=utf-8"):
        answer = must(hospital.post("Binary", body, headers={"Content-Type": kind}))
        served = hospital.get(f"Binary/{answer.json()['id']}", headers={"Accept": "*/*"})
        assert served.content == PDF


def test_content_larger_than_a_body_may_be_is_refused(furnished: House) -> None:
    limit = furnished.settings.max_body_bytes
    assert post(furnished.system("hospital-a"), b"x" * (limit + 1), "text/plain").status_code == 413


def test_content_is_taken_by_no_other_type(hospital: Session) -> None:
    for kind in ("Observation", "DocumentReference", "Media"):
        answer = hospital.request(
            "POST", kind, content=PDF, headers={"Content-Type": "application/pdf"}
        )
        assert answer.status_code == 415
