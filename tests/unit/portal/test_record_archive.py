"""The ZIP file of a record, page by page: what is in it, and what one that was cut off is."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ehr_fhir.errors import EhrError, Unavailable
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.record.record_archive import _Archive, read_first_page, stream_archive
from tests.lib.loops import run

NEXT = "http://elsewhere.example/fhir/Patient/p/$everything?_count=200&_cursor=2"


def page(*entries: tuple[str, str, str], more: bool = False) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "link": [{"relation": "next", "url": NEXT}] if more else [],
        "entry": [
            {"resource": {"resourceType": kind, "id": name}, "search": {"mode": mode}}
            for kind, name, mode in entries
        ],
    }


def pack(second: httpx.Response) -> tuple[bytes, EhrError | None]:
    """Return the archive of a record of two pages, and the error that cut it off."""
    first = page(
        ("Patient", "p", "match"), ("Observation", "a", "match"), ("Organization", "h", "include"),
        ("OperationOutcome", "o", "outcome"), more=True,
    )  # fmt: skip
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return second if "_cursor" in request.url.params else httpx.Response(200, json=first)

    async def collect() -> tuple[bytes, EhrError | None]:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            gateway = GatewayClient(client, "token")
            parts, made = [], datetime(2026, 11, 22, tzinfo=UTC)
            try:
                beginning = await read_first_page(gateway, "p")
                async for part in stream_archive(gateway, beginning, "Read me.", made):
                    parts.append(part)
            except EhrError as error:
                return b"".join(parts), error
            return b"".join(parts), None

    packed = run(collect())
    assert {url.host for url in asked} == {"gateway.test"}
    return packed


def test_pages_are_joined_and_what_several_refer_to_is_there_once() -> None:
    second = page(("Observation", "b", "match"), ("Organization", "h", "include"))

    packed, error = pack(httpx.Response(200, json=second))

    assert error is None
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
        contents = json.loads(archive.read("contents.json"))
        lines = archive.read("record/Observation.ndjson").splitlines()
    assert names[0] == "readme.txt"
    assert names[-1] == "contents.json"
    assert contents == {
        "record/Observation.ndjson": 2,
        "record/Patient.ndjson": 1,
        "referred-to/Organization.ndjson": 1,
    }
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]


def test_another_patient_whom_the_record_names_takes_no_ones_place() -> None:
    second = page(("Observation", "b", "match"), ("Patient", "q", "match"))

    packed, _ = pack(httpx.Response(200, json=second))

    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
        own = json.loads(archive.read("record/Patient.ndjson"))
        other = json.loads(archive.read("record/Patient-others.ndjson"))
    assert len(names) == len(set(names))
    assert (own["id"], other["id"]) == ("p", "q")


def test_attachments_that_were_closed_meanwhile_are_told_of() -> None:
    archive = _Archive(datetime(2026, 11, 22, tzinfo=UTC))
    archive.count_attachments(1, 3)
    archive.close()

    with zipfile.ZipFile(io.BytesIO(archive.take())) as packed:
        assert json.loads(packed.read("contents.json")) == {
            "attachments that are not here": 2,
            "attachments/": 1,
        }


def test_one_that_was_cut_off_does_not_open() -> None:
    packed, error = pack(httpx.Response(503, headers={"Retry-After": "0"}))

    assert isinstance(error, Unavailable)
    assert packed
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(packed))
