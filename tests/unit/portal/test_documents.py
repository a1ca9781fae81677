"""Documents of the record: shown safely, each by what it is, through the gateway alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ehr_portal.record.documents import clean_html, render_text
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
PDF = b"%PDF-1.4 and so on"
ATTACKS = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '<a href="javascript:alert(1)">x</a>',
    '<svg onload="alert(1)"><script>alert(1)</script></svg>',
    '<iframe src="https://evil.example"></iframe>',
    '<div style="position:fixed;top:0" class="ehr-header" id="main">x</div>',
    '<form action="https://evil.example"><input name="pin"></form>',
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<link rel="stylesheet" href="https://evil.example/x.css"><style>body{display:none}</style>',
    "[x](javascript:alert(1))",
    "![x](https://evil.example/track.png)",
    '<b onmouseover="alert(1)">x</b>',
]
# Elements that do nothing, and attributes by element that lead nowhere by themselves.
HARMLESS = frozenset(
    "a b blockquote br code div em h3 h4 h5 h6 hr i li ol p pre strong table tbody td th thead tr "
    "ul".split()
)
HARMLESS_ATTRIBUTES = {"a": {"href", "rel", "title"}, "td": {"colspan"}, "th": {"colspan"}}


class Markup(HTMLParser):
    """Collects what a browser would act on in a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.active: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, an attribute or an address that is not harmless."""
        if tag not in HARMLESS:
            self.active.append(tag)
        for name, value in attrs:
            is_web = name == "href" and str(value).startswith(("https://", "mailto:"))
            if name not in HARMLESS_ATTRIBUTES.get(tag, ()) or (name == "href" and not is_web):
                self.active.append(f"{tag} {name}={value}")


def document(content: bytes | None, media_type: str, **more: Any) -> dict[str, Any]:
    """Return a DocumentReference with one attachment."""
    data = {} if content is None else {"data": base64.b64encode(content).decode()}
    return {
        "resourceType": "DocumentReference",
        "id": "doc-1",
        "subject": {"reference": "Patient/pat-1"},
        "content": [{"attachment": {"contentType": media_type, **data, **more}}],
    }


def put(portal: PortalHouse, resource: dict[str, Any]) -> None:
    """Store a resource in the fake gateway."""
    portal.fake.resources[(resource["resourceType"], resource["id"])] = resource


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("media_type", ["text/html", "text/markdown", "text/plain"])
def test_no_markup_of_a_document_does_anything(
    portal: PortalHouse, attack: str, media_type: str
) -> None:
    put(portal, document(f"before {attack} after".encode(), media_type))

    shown = portal.log_in("patient").get("/record/item/DocumentReference/doc-1").text
    frame = re.search(r'<div class="ehr-document"[^>]*>(.*?)</article>', shown, re.S)
    assert frame
    text = frame[1].replace('<pre class="ehr-document__text">', "<pre>")

    assert "before" in text and "after" in text
    assert Markup(text).active == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_narrative_is_cleaned_as_well(portal: PortalHouse, attack: str) -> None:
    section = {"title": "S", "text": {"status": "additional", "div": f"<div>in {attack}</div>"}}
    put(
        portal,
        {
            "resourceType": "Composition",
            "id": "c-1",
            "subject": {"reference": "Patient/pat-1"},
            "title": "Summary",
            "section": [section],
        },
    )

    shown = portal.log_in("patient").get("/record/item/Composition/c-1").text
    frame = re.search(r'<div class="ehr-document">(.*?)</dd>', shown, re.S)
    assert frame

    assert "in " in frame[1]
    assert Markup(frame[1]).active == []


def test_markdown_is_shown_with_its_structure() -> None:
    text = "# Plan\n\n| Test | Value |\n| --- | --- |\n| K | 7.2 |\n\n- **rest**\n"

    shown = render_text(text.encode(), "text/markdown")

    assert "<h3>Plan</h3>" in shown
    assert "<td>7.2</td>" in shown
    assert "<strong>rest</strong>" in shown


def test_a_text_is_read_in_its_own_character_set() -> None:
    assert "血壓正常" in render_text("血壓正常".encode("big5"), "text/plain; charset=big5")
    assert "血壓正常" in render_text("血壓正常".encode(), "text/plain; charset=made-up")


def test_headings_of_a_document_stand_below_those_of_the_page() -> None:
    assert clean_html("<h1>a</h1><h5>b</h5>") == "<h3>a</h3><h6>b</h6>"


@pytest.mark.parametrize(
    ("content", "declared", "sent", "disposition"),
    [
        (PNG, "image/png", "image/png", "inline"),
        (PDF, "application/pdf", "application/pdf", "inline"),
        # A file is what it begins with, whatever the record says.
        (PNG, "text/html", "image/png", "inline"),
        (b"<script>alert(1)</script>", "image/png", "application/octet-stream", "attachment"),
        (b"<svg onload='x'/>", "image/svg+xml", "application/octet-stream", "attachment"),
        (b"<html>", "application/pdf", "application/octet-stream", "attachment"),
        (b"PK..", "application/zip", "application/octet-stream", "attachment"),
    ],
)
@pytest.mark.parametrize("where", ["in the record", "in a Binary"])
def test_a_file_is_sent_as_what_it_is(
    portal: PortalHouse, content: bytes, declared: str, sent: str, disposition: str, where: str
) -> None:
    put(portal, document(content, declared))
    if where == "in a Binary":
        data = base64.b64encode(content).decode()
        put(portal, {"resourceType": "Binary", "id": "b", "contentType": declared, "data": data})
        put(portal, document(None, declared, url="Binary/b"))

    answer = portal.log_in("patient").get("/record/item/DocumentReference/doc-1/attachment/0")

    assert answer.content == content
    assert answer.headers["content-type"] == sent
    assert answer.headers["content-disposition"].startswith(disposition)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


def test_a_picture_and_a_pdf_are_on_the_page_of_their_report(portal: PortalHouse) -> None:
    forms = [
        {"contentType": kind, "title": title, "data": base64.b64encode(content).decode()}
        for kind, title, content in (("image/png", "X-ray", PNG), ("application/pdf", "P", PDF))
    ]
    put(
        portal,
        {
            "resourceType": "DiagnosticReport",
            "id": "r-1",
            "subject": {"reference": "Patient/pat-1"},
            "code": {"text": "Chest X-ray"},
            "presentedForm": forms,
        },
    )

    for who, base in (("patient", "/record"), ("doctor", "/patients/pat-1")):
        browser = portal.log_in(who)
        path = f"{base}/item/DiagnosticReport/r-1"
        shown = browser.get(path).text
        assert f'<img class="ehr-picture" src="{path}/attachment/0" alt="X-ray">' in shown
        assert f'href="{path}/attachment/1"' in shown
        assert browser.get(f"{path}/attachment/0").content == PNG


@pytest.mark.parametrize("url", ["https://elsewhere.example/x.pdf", "Binary/hidden", "/etc/passwd"])
def test_what_is_elsewhere_or_hidden_is_never_fetched(portal: PortalHouse, url: str) -> None:
    put(portal, document(None, "application/pdf", url=url))
    browser = portal.log_in("patient")
    portal.fake.asked.clear()

    shown = browser.get("/record/item/DocumentReference/doc-1")
    sent = browser.get("/record/item/DocumentReference/doc-1/attachment/0")

    assert "not kept here, or you may not see it" in shown.text
    assert sent.status_code == 404
    assert {request.url.host for request in portal.fake.asked} == {"gateway.test"}


@pytest.mark.parametrize("index", ["1", "-1", "x", "99999999999999999999"])
def test_there_is_no_other_attachment(portal: PortalHouse, index: str) -> None:
    put(portal, document(PNG, "image/png"))

    path = f"/record/item/DocumentReference/doc-1/attachment/{index}"

    assert portal.log_in("patient").get(path).status_code == 404


def test_a_document_of_another_patient_is_not_there(portal: PortalHouse) -> None:
    put(portal, document(PNG, "image/png") | {"subject": {"reference": "Patient/pat-2"}})

    path = "/record/item/DocumentReference/doc-1"
    browser = portal.log_in("patient")

    assert browser.get(path).status_code == 404
    assert browser.get(f"{path}/attachment/0").status_code == 404


def test_the_documents_of_a_report_and_of_a_visit_are_on_their_pages(portal: PortalHouse) -> None:
    about = {"subject": {"reference": "Patient/pat-1"}}
    put(
        portal,
        {
            "resourceType": "DiagnosticReport",
            "id": "r-1",
            **about,
            "code": {"text": "Panel"},
            "encounter": {"reference": "Encounter/e-1"},
        },
    )
    put(
        portal, {"resourceType": "Encounter", "id": "e-1", **about, "type": [{"text": "Ward stay"}]}
    )
    context = {
        "related": [{"reference": "DiagnosticReport/r-1"}],
        "encounter": [{"reference": "Encounter/e-1"}],
    }
    put(portal, document(b"x", "text/plain") | {"description": "Letter of it", "context": context})
    browser = portal.log_in("patient")

    report = browser.get("/record/item/DiagnosticReport/r-1").text
    visit = browser.get("/record/item/Encounter/e-1").text

    assert 'href="/record/item/Encounter/e-1">' in report
    assert "Ward stay" in report
    assert "Letter of it" in report
    assert "Letter of it" in visit
    assert "Panel" in visit


def test_a_hidden_result_of_a_report_looks_like_one_that_is_not_there(portal: PortalHouse) -> None:
    results = [{"reference": "Observation/lab-2025"}, {"reference": "Observation/hidden"}]
    put(
        portal,
        {
            "resourceType": "DiagnosticReport",
            "id": "r-1",
            "subject": {"reference": "Patient/pat-1"},
            "code": {"text": "Panel"},
            "result": results,
        },
    )

    shown = portal.log_in("doctor").get("/patients/pat-1/item/DiagnosticReport/r-1").text

    assert "13.46" in shown
    assert "Observation/hidden" not in shown
    assert re.search(r">[^<]*hidden", shown.partition("<main")[2]) is None
