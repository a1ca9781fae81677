"""Find the files of an export, in steps that each take a bounded time.

A file ends after so many lines that the requester may see, so that how many files there are tells
of nothing else. A step is made while the client asks for the status: it needs that client's token,
and a process that is killed loses one step at most.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import orjson

from ehr_gateway.access import Access
from ehr_gateway.bulk_data.members import list_members
from ehr_gateway.bulk_data.request import PROVENANCE, ExportRequest
from ehr_gateway.bulk_data.selection import RowSelection, list_stored_types
from ehr_gateway.bulk_data.slices import ExportSlice, Section
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store

__all__ = ["LINES_OF_FILE", "PATIENTS_OF_FILE", "Progress", "plan_step"]

# Chosen: some tens of megabytes, which a client fetches again where a connection broke.
LINES_OF_FILE = 50_000
PATIENTS_OF_FILE = 250
# Rows of one statement. Chosen: some hundred milliseconds.
_WINDOW_ROWS = 20_000


@dataclass(frozen=True)
class Progress:
    """Where the search for files goes on."""

    unit: int = 0
    # The place that the next step begins at; None at the beginning of a unit.
    place: int | None = None
    # Where the file that is being filled begins, and how many lines it has so far.
    begin: int = 0
    lines: int = 0

    def to_json(self) -> str:
        """Return the progress as it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Return progress that was kept."""
        values: dict[str, Any] = orjson.loads(text)
        return cls(**values)


@dataclass(frozen=True)
class _Unit:
    """What is gone through in one go: the feed of a type, or the list of members."""

    section: Section
    walk: Literal["feed", "members", "patients"]
    type: str | None = None


def plan_step(
    store: Store, access: Access, request: ExportRequest, progress: Progress, seconds: float
) -> tuple[list[ExportSlice], Progress | None]:
    """Return the files found in about so many seconds, and where to go on; None at the end."""
    units, found = _list_units(request), list[ExportSlice]()
    deadline = time.monotonic() + seconds
    while progress.unit < len(units):
        unit = units[progress.unit]
        with store.read_transaction() as connection:
            planner = _Planner(connection, store, access, request)
            step = planner.walk_members if unit.walk == "members" else planner.walk_feed
            slices, progress = step(unit, progress)
        found += slices
        if time.monotonic() >= deadline:
            break
    return found, progress if progress.unit < len(units) else None


def _list_units(request: ExportRequest) -> list[_Unit]:
    patient_types = () if request.level == "system" else request.patient_types
    others = [kind for kind in request.types if kind not in patient_types]
    sections: list[Section] = ["output", "deleted"] if request.since is not None else ["output"]
    units = []
    for section in sections:
        if patient_types and request.has_members:
            units.append(_Unit(section, "members"))
        elif patient_types and request.by_patient and section == "output":
            units.append(_Unit(section, "patients", "Patient"))
        else:
            units += [_Unit(section, "feed", kind) for kind in patient_types]
        units += [_Unit(section, "feed", kind) for kind in others]
    return units


@dataclass(frozen=True)
class _Planner:
    connection: Connection
    store: Store
    access: Access
    request: ExportRequest

    def walk_feed(self, unit: _Unit, progress: Progress) -> tuple[list[ExportSlice], Progress]:
        """Go through some of the versions of a type; cut after so many visible ones."""
        assert unit.type is not None  # noqa: S101 - of such a unit
        first, last = self.request.bounds
        if unit.type == PROVENANCE and self.request.provenance:
            # Whenever it was recorded: what counts is when its target changed.
            first = 0
        if progress.place is None:
            progress = Progress(progress.unit, first, first)
        assert progress.place is not None  # noqa: S101 - set above
        selection = RowSelection(
            self.connection, self.store, self.access, self.request, unit.type,
            deleted=unit.section == "deleted",
            about_patients=self.request.level != "system"
            and unit.type in self.request.patient_types,
        )  # fmt: skip
        by_patient = unit.walk == "patients"
        most = PATIENTS_OF_FILE if by_patient else LINES_OF_FILE
        end = selection.find_window(progress.place, last, _WINDOW_ROWS)
        found, begin, lines = [], progress.begin, progress.lines
        for position in selection.find_positions(progress.place, end):
            lines += 1
            if lines == most:
                found.append((begin, position))
                begin, lines = position, 0
        if end >= last:
            if lines:
                found.append((begin, last))
            progress = Progress(progress.unit + 1)
        else:
            progress = replace(progress, place=end, begin=begin, lines=lines)
        kind = None if by_patient else unit.type
        slices = [
            ExportSlice(unit.section, kind, after, until, by_patient=by_patient)
            for after, until in found
        ]
        return slices, progress

    def walk_members(self, unit: _Unit, progress: Progress) -> tuple[list[ExportSlice], Progress]:
        """Find which types some of the patients have records of."""
        members = list_members(self.connection, self.access, self.request)
        place = progress.place or 0
        end = min(place + PATIENTS_OF_FILE, len(members))
        kinds = self._find_types(members[place:end], deleted=unit.section == "deleted")
        named: Sequence[str | None] = kinds
        if kinds and (unit.section == "deleted" or self.request.by_patient):
            named = [None]
        slices = [ExportSlice(unit.section, kind, place, end, of_members=True) for kind in named]
        if end >= len(members):
            return slices, Progress(progress.unit + 1)
        return slices, replace(progress, place=end)

    def _find_types(self, patients: Sequence[str], *, deleted: bool) -> list[str]:
        # First what there is at all, in one go: to look for each of R4's types would go through
        # all records of the patients as often.
        stored = list_stored_types(self.connection, patients)
        found = []
        for kind in self.request.patient_types:
            if kind not in stored:
                continue
            selection = RowSelection(
                self.connection, self.store, self.access, self.request, kind, deleted=deleted
            )
            if selection.has_any_of(patients):
                found.append(kind)
        return found
