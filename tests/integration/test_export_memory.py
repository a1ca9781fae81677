"""The memory of an export is that of a chunk: ten times the records take no more."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load

pytestmark = pytest.mark.slow

# Reads a whole export in a process of its own; says how many lines, their bytes and the peak.
SCRIPT = """
import resource, sys, time
from pathlib import Path
from ehr_gateway.access import Access
from ehr_gateway.bulk_data.parquet_rows import ParquetEncoder
from ehr_gateway.bulk_data.planner import Progress, plan_step
from ehr_gateway.bulk_data.reader import ExportReader
from ehr_gateway.bulk_data.request import ExportRequest
from ehr_gateway.store.store import Store
from ehr_gateway.store.version_positions import newest_position
from ehr_privacy.consent import Requester, parse_scopes

store = Store(Path(sys.argv[1]))
requester = Requester(
    role="system", person="test", organization="ehr-commons", profession=None, purpose="TREAT",
    patient=None, scopes=parse_scopes("system/*.rs"),
)
access = Access(requester, time.time_ns() // 1_000_000, "test")
with store.read_transaction() as connection:
    last = newest_position(connection)
request = ExportRequest("system", "", ("Basic",), bounds=(0, last))
progress, lines, size = Progress(), 0, 0
while progress is not None:
    parts, progress = plan_step(store, access, request, progress, 60.0)
    for part in parts:
        reader, chunk = ExportReader(store, request, part), None
        encoder = ParquetEncoder("Basic")
        while chunk is None or not chunk.is_last:
            chunk = reader.read(access)
            lines += len(chunk.lines)
            size += sum(map(len, chunk.lines))
            encoder.encode(chunk.lines, is_last=chunk.is_last)
print(lines, size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def read_export(folder: Path, records: int) -> tuple[int, int, int]:
    """Export so many records of two kilobytes; return lines, bytes, and the peak of memory."""
    folder.mkdir()
    source = folder / "Basic.ndjson"
    with source.open("w") as file:
        for number in range(records):
            text = {"status": "generated", "div": f"<div>{'x' * 2000}</div>"}
            text["div"] = text["div"].replace("<div>", '<div xmlns="http://www.w3.org/1999/xhtml">')
            body = {"resourceType": "Basic", "id": f"b-{number}", "code": {"text": "a"}}
            file.write(json.dumps({**body, "text": text}) + "\n")
    with closing(Store(folder / "ehr.db")) as store:
        report = load(store, [source], "ehr-commons")
        assert not report.rejected, report.rejects[:1]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "ehr.db")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    lines, size, peak = map(int, ran.stdout.split())
    return lines, size, peak


def test_ten_times_the_records_take_no_more_memory(tmp_path: Path) -> None:
    few = read_export(tmp_path / "few", 3000)
    many = read_export(tmp_path / "many", 30_000)

    assert (few[0], many[0]) == (3000, 30_000)
    grown, bytes_more = many[2] - few[2], many[1] - few[1]
    assert bytes_more > 50_000_000
    assert grown < bytes_more / 5, f"{grown / 1e6:.0f} MB more for {bytes_more / 1e6:.0f} MB"
