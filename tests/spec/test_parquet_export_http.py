"""`$export` as Apache Parquet: the same resources, under the same consent, in columns."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from ehr_gateway.bulk_data import planner, reader
from tests.lib.bulk import manifest, names, output, start
from tests.lib.gateway import House, Session, must, observation, restriction


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines in a file, one row in a chunk."""
    monkeypatch.setattr(planner, "LINES_OF_FILE", 2)
    monkeypatch.setattr(planner, "_WINDOW_ROWS", 1)
    monkeypatch.setattr(reader, "_ROWS", 1)


def parquet_rows(session: Session, address: str) -> list[dict[str, Any]]:
    """Export one type as Parquet; return its rows."""
    found = manifest(session, f"{address}&_outputFormat=application/vnd.apache.parquet")
    assert found["outputFormat"] == "application/vnd.apache.parquet"
    rows: list[dict[str, Any]] = []
    for file in found["output"]:
        assert file["url"].endswith(f".{file['type']}.parquet")
        answer = must(session.get(file["url"]))
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        assert "content-encoding" not in answer.headers
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.schema.metadata[b"resourceType"] == file["type"].encode()
        rows += table.to_pylist()
    return rows


@pytest.mark.usefixtures("small_chunks")
def test_a_parquet_file_has_the_same_resources_digit_for_digit(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    body = {
        **observation("lab-9", "laboratory"),
        "effectiveDateTime": "2026-01-01",
        "_effectiveDateTime": {"id": "beside"},
        "valueQuantity": {"value": 9999},
    }
    sent = json.dumps(body).replace("9999", "1.50")
    headers = {"Content-Type": "application/fhir+json"}
    must(hospital.request("PUT", "Observation/lab-9", content=sent, headers=headers))
    lines = output(hospital, manifest(hospital, "$export?_type=Observation"))

    rows = parquet_rows(hospital, "$export?_type=Observation")

    assert names([{**row, "resourceType": "Observation"} for row in rows]) == names(lines)
    (row,) = (row for row in rows if row["id"] == "lab-9")
    assert (row["status"], row["effectiveDateTime"]) == ("final", "2026-01-01")
    assert row["valueQuantity"] == '{"value":1.50}'
    assert json.loads(row["primitive_extensions"]) == {"_effectiveDateTime": {"id": "beside"}}
    for line, one in zip(lines, rows, strict=True):
        told = {key: value for key, value in one.items() if value is not None}
        read = {key: _as_json(value) for key, value in told.items()}
        beside = read.pop("primitive_extensions", {})
        assert {"resourceType": "Observation", **read, **beside} == line


def test_a_parquet_file_obeys_consent_at_the_moment_it_is_fetched(furnished: House) -> None:
    furnished.share()
    reader = furnished.system("hospital-b")
    address = "$export?_type=Observation&_outputFormat=parquet"
    found = manifest(reader, address)
    before = must(reader.get(found["output"][0]["url"])).content
    closed = restriction("close", against="Organization/hospital-b", record="Observation/lab-1")
    furnished.login("p.pat-1").store(closed)

    after = must(reader.get(found["output"][0]["url"])).content

    ids = [pq.read_table(io.BytesIO(one))["id"].to_pylist() for one in (before, after)]
    assert "lab-1" in ids[0]
    assert ids[1] == [one for one in ids[0] if one != "lab-1"]
    furnished.share(status="inactive")
    nothing = must(reader.get(found["output"][0]["url"])).content
    assert pq.read_table(io.BytesIO(nothing)).num_rows == 0


def test_deletions_are_told_as_lines_beside_parquet(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    since = "2026-01-01T00:00:00Z"
    must(hospital.delete("Observation/lab-2"))

    found = manifest(hospital, f"$export?_type=Observation&_since={since}&_outputFormat=parquet")

    (deleted,) = output(hospital, found, "deleted")
    assert deleted["entry"][0]["request"]["url"] == "Observation/lab-2"
    by_patient = start(hospital, "Patient/$export?organizeOutputBy=Patient&_outputFormat=parquet")
    assert by_patient.status_code == 400


def _as_json(value: Any) -> Any:
    if not isinstance(value, str) or value[0] not in "[{":
        return value
    return json.loads(value)
