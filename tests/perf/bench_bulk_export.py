"""How fast an export is read: `python -m tests.perf.bench_bulk_export FOLDER`.

Loads the NDJSON files of a folder into a new store, lets every patient share with a hospital and
close one label to it, and reads all files of a system export: as the author of all records, and as
that hospital. Lines are compressed as they are sent. `--postgresql URL` names a database to use in
place of SQLite, of which the processor time of the server is not counted.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import zlib
from pathlib import Path

from ehr_gateway.access import Access
from ehr_gateway.bulk_data.planner import Progress, plan_step
from ehr_gateway.bulk_data.reader import ExportReader
from ehr_gateway.bulk_data.request import ExportRequest
from ehr_gateway.bulk_data.slices import ExportSlice
from ehr_gateway.store.store import Store
from ehr_gateway.store.version_positions import newest_position
from ehr_inbound.bulk_files.load import load
from ehr_privacy.consent import Requester, parse_scopes

_AUTHOR, _HOSPITAL = "ehr-commons", "hospital-x"


def main() -> None:
    """Print resources per second of processor time, with and without the search for the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--postgresql", default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(chosen.postgresql or Path(folder) / "ehr.db", Path(folder))
        load(store, [chosen.folder], _AUTHOR)
        _share(store)
        before = _peak_mb()
        for organization in (_AUTHOR, _HOSPITAL):
            _measure(store, organization)
        _say(f"memory: {before:.0f} MB before, {_peak_mb():.0f} MB at most")
        store.close()


def _share(store: Store) -> None:
    """Let every patient join, share with the hospital, and close one label to it."""
    with store.write_transaction() as connection:
        rows = connection.execute("SELECT id FROM resource WHERE type = 'Patient'").fetchall()
        patients = [row[0] for row in rows]
        connection.executemany(
            "INSERT INTO consent_joining (consent, patient, since) VALUES (?, ?, 0)",
            [(f"joining-{patient}", patient) for patient in patients],
        )
        connection.executemany(
            "INSERT INTO consent_sharing (consent, patient, organization, since)"
            " VALUES (?, ?, ?, 0)",
            [(f"sharing-{patient}", patient, _HOSPITAL) for patient in patients],
        )
        connection.executemany(
            "INSERT INTO consent_restriction (consent, rule, patient, sealed, since, label,"
            " actor_kind, actor_value) VALUES (?, 0, ?, 0, 0, 'HIV', 'organization', ?)",
            [(f"closed-{patient}", patient, _HOSPITAL) for patient in patients],
        )


def _measure(store: Store, organization: str) -> None:
    requester = Requester(
        role="system", person="bench", organization=organization, profession=None,
        purpose="TREAT", patient=None, scopes=parse_scopes("system/*.rs"),
    )  # fmt: skip
    access = Access(requester, time.time_ns() // 1_000_000, "bench")
    with store.read_transaction() as connection:
        kinds = connection.execute("SELECT DISTINCT type FROM resource ORDER BY type").fetchall()
        last = newest_position(connection)
    request = ExportRequest("system", "", tuple(row[0] for row in kinds), bounds=(0, last))
    start, clock = time.process_time(), time.monotonic()
    slices = _plan(store, access, request)
    planned = time.process_time() - start
    lines = size = 0
    for part in slices:
        found = _read(ExportReader(store, request, part), access)
        lines, size = lines + found[0], size + found[1]
    seconds = time.process_time() - start
    _say(
        f"{organization}: {lines:,} resources, {size / 1e6:.0f} MB, {len(slices)} files;"
        f" {seconds:.2f} s of processor time ({planned:.2f} s to find the files),"
        f" {lines / seconds:,.0f} a second; {time.monotonic() - clock:.2f} s by the clock"
    )


def _plan(store: Store, access: Access, request: ExportRequest) -> list[ExportSlice]:
    slices: list[ExportSlice] = []
    progress: Progress | None = Progress()
    while progress is not None:
        found, progress = plan_step(store, access, request, progress, 1.0)
        slices += found
    return slices


def _read(reader: ExportReader, access: Access) -> tuple[int, int]:
    compressor = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    lines = size = 0
    while True:
        chunk = reader.read(access)
        content = b"".join(b"%s\n" % line for line in chunk.lines)
        compressor.compress(content)
        lines, size = lines + len(chunk.lines), size + len(content)
        if chunk.is_last:
            return lines, size


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
