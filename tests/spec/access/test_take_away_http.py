"""What patients take away through the portal is what the gateway shows them, and is on record."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import zipfile
from typing import Any

import pypdfium2
import pytest

from ehr_fhir.ips.conformance import find_summary_faults
from tests.lib.gateway import House, must
from tests.lib.portal_reader import Reader
from tests.spec.access.steps import named, send

PICTURE = b"\x89PNG\r\n\x1a\n and more"


def document(name: str, **attachment: str) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": name,
        "status": "current",
        "subject": {"reference": "Patient/pat-1"},
        "content": [{"attachment": attachment}],
    }


def take_everything(house: House, login: str = "p.pat-1") -> dict[str, bytes]:
    """Return the files of the copy that somebody takes away, by name."""
    answer = Reader(house, login).open("POST", "/take-away/record")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_everything_is_each_record_once_digit_by_digit_with_its_attachments(
    furnished: House,
) -> None:
    hospital = furnished.system("hospital-a")
    stored = must(hospital.get("Observation/lab-1")).json()
    del stored["valueQuantity"]
    exact = json.dumps(stored)[:-1] + ', "valueQuantity": {"value": 70.50}}'
    must(hospital.request(
        "PUT", "Observation/lab-1", content=exact,
        headers={"Content-Type": "application/fhir+json"},
    ))  # fmt: skip
    hospital.store({
        "resourceType": "Binary", "id": "picture", "contentType": "image/png",
        "securityContext": {"reference": "Patient/pat-1"},
        "data": base64.b64encode(PICTURE).decode(),
    })  # fmt: skip
    hospital.store(document("by-reference", contentType="image/png", url="Binary/picture"))
    named_by = {"custodian": {"reference": "Organization/hospital-a"}}
    text = base64.b64encode(b"Rest.").decode()
    hospital.store({**document("inline", contentType="text/plain", data=text), **named_by})

    hospital.store(document("elsewhere", contentType="text/plain", url="https://e.example/1"))

    files = take_everything(furnished)

    records = [
        json.loads(line)
        for name in files
        if name.startswith("record/")
        for line in files[name].splitlines()
    ]
    found = must(furnished.login("p.pat-1").get("Patient/pat-1/$everything?_count=1000")).json()
    matches = [one["resource"] for one in found["entry"] if one["search"]["mode"] == "match"]
    by_id = sorted(matches, key=lambda one: (one["resourceType"], one["id"]))
    assert sorted(records, key=lambda one: (one["resourceType"], one["id"])) == by_id
    assert b"70.50" in files["record/Observation.ndjson"]
    assert files["attachments/DocumentReference-by-reference-1.png"] == PICTURE
    assert files["attachments/DocumentReference-inline-1.txt"] == b"Rest."
    assert json.loads(files["contents.json"])["record/Observation.ndjson"] == len(
        files["record/Observation.ndjson"].splitlines()
    )
    contents = json.loads(files["contents.json"])
    assert contents["attachments/"] == sum(name.startswith("attachments/") for name in files)
    assert contents["attachments that are not here"] == 1
    assert b"Hospital-A" in files["referred-to/Organization.ndjson"]


def test_what_is_held_back_from_the_patient_is_in_no_copy(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    held = send(
        doctor, "Observation/lab-1/$hold", reason="To be told in person", until="2026-12-01"
    )
    assert held.status_code == 200

    files = take_everything(furnished)
    summary = Reader(furnished, "p.pat-1").open("GET", "/take-away/summary.json").text

    # That it is held they know, and may read the Consent that says so.
    assert b'"id":"lab-1"' not in files["record/Observation.ndjson"]
    assert "Observation/lab-1" not in summary


def test_the_summary_is_one_in_each_form_and_language(furnished: House) -> None:
    reader = Reader(furnished, "p.pat-1")
    for language, title in (("en", "Allergies"), ("zh-Hant-HK", "過敏"), ("zh-Hans", "过敏")):
        page = reader.open("GET", "/take-away/summary", language=language).text
        document = reader.open("GET", "/take-away/summary.json", language=language).json()
        pdf = reader.open("GET", "/take-away/summary.pdf", language=language)
        paper = "".join(
            sheet.get_textpage().get_text_range() for sheet in pypdfium2.PdfDocument(pdf.content)
        )

        assert find_summary_faults(document) == []
        assert document["language"] == language
        composition = document["entry"][0]["resource"]
        cells = re.findall("<td>(.*?)</td>", str(composition))
        assert len(cells) > 10
        for said in (title, "13.5", composition["title"], *(html.unescape(one) for one in cells)):
            assert said == "–" or said in html.unescape(page)
            assert said in paper


def test_a_copy_is_on_record_for_the_patient(furnished: House) -> None:
    take_everything(furnished)
    Reader(furnished, "p.pat-1").open("GET", "/take-away/summary.pdf")

    history = furnished.login("p.pat-1").get("Patient/pat-1/$access-history?own=true")
    visits = named(must(history))["visit"]

    assert {"everything", "summary"} <= {
        code for visit in visits for code in visit.get("operation", ())
    }


def test_a_long_text_and_signs_that_the_fonts_lack_are_told_in_the_pdf(
    furnished: House, caplog: pytest.LogCaptureFixture
) -> None:
    words = [f"word-{number}" for number in range(900)]
    furnished.system("hospital-a").store({
        "resourceType": "AllergyIntolerance", "id": "long",
        "patient": {"reference": "Patient/pat-1"}, "code": {"text": " ".join(words)},
        "reaction": [{"manifestation": [{"text": "ส \U0001f637 e\u0301\u200b"}]}],
    })  # fmt: skip

    pdf = Reader(furnished, "p.pat-1").open("GET", "/take-away/summary.pdf")
    sheets = [sheet.get_textpage().get_text_range() for sheet in pypdfium2.PdfDocument(pdf.content)]

    assert [word for word in words if word not in re.findall(r"word-\d+", "".join(sheets))] == []
    assert "□ □ é" in " ".join(sheets)
    assert "A box stands for a character" in sheets[0]
    assert [one for one in caplog.records if one.name.startswith("fpdf")] == []


def test_without_such_signs_nothing_is_told_of_boxes(furnished: House) -> None:
    pdf = Reader(furnished, "p.pat-1").open("GET", "/take-away/summary.pdf")
    text = pypdfium2.PdfDocument(pdf.content)[0].get_textpage().get_text_range()

    assert "box" not in text
