"""Read the lines of one file of an export, a chunk at a time, each judged as it is read.

A chunk is read in a transaction of its own under the `Access` of that moment: what was closed
meanwhile is in no later chunk. Memory is that of one chunk, however long the file is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from ehr_fhir.errors import Invalid, operation_outcome
from ehr_gateway.access import Access
from ehr_gateway.bulk_data.associated import keep_associated
from ehr_gateway.bulk_data.members import list_members, require_group
from ehr_gateway.bulk_data.request import PROVENANCE, ExportRequest, ignored_issues
from ehr_gateway.bulk_data.selection import ExportedRow, RowSelection
from ehr_gateway.bulk_data.slices import ExportSlice
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store

__all__ = ["ExportReader", "LineChunk"]

# Rows and bytes of one chunk. Chosen: a statement of some tens of milliseconds, and what a process
# can hold for each of the files that are fetched at once.
_ROWS, _BYTES = 2000, 4 * 2**20
# Entries in one Bundle of deletions.
_DELETIONS = 500


@dataclass
class LineChunk:
    """Some lines, without their ends, and what they disclose."""

    lines: list[bytes] = field(default_factory=list)
    rows: list[ExportedRow] = field(default_factory=list)
    is_last: bool = False


@dataclass(frozen=True)
class _Candidate:
    """A version of a patient's that may be exported, if it is visible."""

    position: int
    type: str
    patient: str
    size: int


class ExportReader:
    """Reads one file; keeps its place between chunks."""

    def __init__(self, store: Store, request: ExportRequest, part: ExportSlice) -> None:
        self._store = store
        self._request = request
        self._slice = part
        # The place from which the next chunk is read: a position, or a place among the members.
        self._place = part.after
        # What is left of the patients that the last chunk began.
        self._candidates: list[_Candidate] = []
        self._last_patient: str | None = None
        self._patients: Sequence[str] | None = None

    def read(self, access: Access) -> LineChunk:
        """Read the next chunk."""
        part = self._slice
        if part.section == "error":
            issues = ignored_issues(self._request)
            lines = [orjson.dumps(operation_outcome(Invalid("", issues=[one]))) for one in issues]
            return LineChunk(lines, is_last=True)
        with self._store.read_transaction() as connection:
            if part.of_members or part.by_patient:
                return self._read_of_patients(connection, access)
            return self._read_range(connection, access)

    def _read_range(self, connection: Connection, access: Access) -> LineChunk:
        part = self._slice
        assert part.type is not None  # noqa: S101 - a range is of one type
        selection = self._select(connection, access, part.type)
        end = selection.find_window_of_bytes(self._place, part.until, _ROWS, _BYTES)
        rows = self._keep(selection, selection.load_range(self._place, end))
        self._place = end
        chunk = LineChunk(self._write(part.type, rows), rows, is_last=end >= part.until)
        return chunk

    def _read_of_patients(self, connection: Connection, access: Access) -> LineChunk:
        """Read records patient by patient, until the chunk is full."""
        members = self._list_patients(connection, access)
        numbers = {patient: number for number, patient in enumerate(members)}
        end = min(self._slice.until, len(members)) if self._slice.of_members else len(members)
        taken, size = self._candidates, sum(one.size for one in self._candidates)
        self._candidates = []
        place = self._place
        while place < end and len(taken) < _ROWS and size < _BYTES:
            more = self._find_candidates(connection, members[place])
            taken += more
            size += sum(one.size for one in more)
            place += 1
        taken, self._candidates = _split(taken)
        self._place = place
        chunk = LineChunk(is_last=place >= end and not self._candidates)
        rows = self._load(connection, access, taken)
        for candidate in taken:
            row = rows.get((candidate.type, candidate.position))
            if row is None:
                continue
            if not self._request.by_patient and candidate.patient != _first_member(row, numbers):
                # It is about several members, and stands with the first of them.
                continue
            chunk.rows.append(row)
            if self._request.by_patient and candidate.patient != self._last_patient:
                chunk.lines.append(_header(candidate.patient))
                self._last_patient = candidate.patient
            chunk.lines += self._write(candidate.type, [row])
        return chunk

    def _list_patients(self, connection: Connection, access: Access) -> Sequence[str]:
        """Return the patients of the file, in one order for all its chunks."""
        if self._patients is not None:
            require_group(connection, access, self._request)
        elif self._slice.of_members:
            self._patients = list_members(connection, access, self._request)
        else:
            part = self._slice
            selection = RowSelection(connection, self._store, access, self._request, "Patient")
            found = selection.load_range(part.after, part.until)
            self._patients, self._place = [row.id for row in found], 0
        return self._patients

    def _find_candidates(self, connection: Connection, patient: str) -> list[_Candidate]:
        part, (first, last) = self._slice, self._request.bounds
        types = (part.type,) if part.type else self._request.patient_types
        rows = connection.execute(
            "SELECT r.position, r.type, length(r.body) FROM record_patient q"
            " JOIN resource r ON r.pk = q.pk WHERE q.patient = :patient AND r.deleted = :deleted"
            " AND r.position > :first AND r.position <= :last",
            {
                "patient": patient,
                "deleted": int(part.section == "deleted"),
                "first": 0 if part.type == PROVENANCE and self._request.provenance else first,
                "last": last,
            },
        )
        order = {kind: number for number, kind in enumerate(types)}
        found = [_Candidate(row[0], row[1], patient, row[2]) for row in rows if row[1] in order]
        # The Patient first.
        return sorted(found, key=lambda one: (one.type != "Patient", order[one.type], one.position))

    def _load(
        self, connection: Connection, access: Access, taken: Sequence[_Candidate]
    ) -> dict[tuple[str, int], ExportedRow]:
        positions: dict[str, list[int]] = {}
        for candidate in taken:
            positions.setdefault(candidate.type, []).append(candidate.position)
        found = {}
        for kind, some in positions.items():
            selection = self._select(connection, access, kind)
            for row in self._keep(selection, selection.load_positions(some)):
                found[kind, row.position] = row
        return found

    def _select(self, connection: Connection, access: Access, kind: str) -> RowSelection:
        request = self._request
        return RowSelection(
            connection, self._store, access, request, kind,
            deleted=self._slice.section == "deleted",
            about_patients=request.level != "system" and kind in request.patient_types,
        )  # fmt: skip

    def _keep(self, selection: RowSelection, rows: list[ExportedRow]) -> list[ExportedRow]:
        """Leave out Provenance of what is not exported, where that was asked for."""
        is_provenance = selection.resource_type == PROVENANCE and not selection.deleted
        if not rows or not is_provenance or not self._request.provenance:
            return rows
        return keep_associated(selection, rows)

    def _write(self, kind: str, rows: Sequence[ExportedRow]) -> list[bytes]:
        if self._slice.section == "deleted":
            return list(_deletions(kind, rows))
        subset = self._request.subset(kind)
        if subset is None:
            return [_one_line(row.body) for row in rows]
        return [_one_line(subset.cut(row.body)) for row in rows]


def _split(taken: list[_Candidate]) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return what one chunk holds, and what is left for the next one."""
    size = 0
    for place, candidate in enumerate(taken):
        size += candidate.size
        if place and (place >= _ROWS or size > _BYTES):
            return taken[:place], taken[place:]
    return taken, []


def _first_member(row: ExportedRow, numbers: dict[str, int]) -> str | None:
    known = [patient for patient in row.patients if patient in numbers]
    return min(known, key=numbers.__getitem__, default=None)


def _header(patient: str) -> bytes:
    """Return the line that begins a patient's block (Bulk Data Access 3.0)."""
    value = {"name": "header", "valueReference": {"reference": f"Patient/{patient}"}}
    return orjson.dumps({"resourceType": "Parameters", "parameter": [value]})


def _deletions(kind: str, rows: Sequence[ExportedRow]) -> Iterator[bytes]:
    for start in range(0, len(rows), _DELETIONS):
        entries = [
            {"request": {"method": "DELETE", "url": f"{kind}/{row.id}"}}
            for row in rows[start : start + _DELETIONS]
        ]
        yield orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _one_line(body: bytes) -> bytes:
    """Return JSON without line ends, which stand between its tokens alone."""
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def disclosed_patients(rows: Iterable[ExportedRow]) -> frozenset[str]:
    """Return whose records some rows are."""
    return frozenset(patient for row in rows for patient in row.patients)
