"""Verify the whole log: rows to leaves, leaves to tiles, tiles to a root, roots to signatures.

Every row is read and hashed anew, 65,536 at a time, by several processes. What differs is looked
into and named with its place; a log without a fault is never looked at twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.verify_chunk import CHUNK, Chunk, read_chunk, stored_root
from ehr_gateway.database import open_database
from ehr_privacy.audit import EMPTY, TILE, Checkpoint, Finding, TileReader, open_note, root_of

__all__ = ["Report", "Task", "verify"]

_MOST_FINDINGS = 20
# Of the checkpoints signed before the newest one.
_MOST_OLDER = 1000


@dataclass(frozen=True)
class Task:
    """What is to be verified: the database, the exported log, whose signature, a witness's copy."""

    place: Path | str
    folder: Path
    name: str
    public: bytes
    witness: bytes | None = None
    processes: int = 2
    chunk: int = CHUNK


@dataclass
class Report:
    """What was found."""

    events: int = 0
    signed: int = 0
    erased: int = 0
    checkpoints: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(task: Task, on_progress: Callable[[int, int], None] = lambda done, of: None) -> Report:
    """Verify a log; `on_progress` is told how many events are done, of how many."""
    begin, report, folder = time.monotonic(), Report(), LogFolder(task.folder)
    newest = _newest(task, folder, report)
    witness = _opened(task, task.witness, "the witness's copy", report) if task.witness else None
    report.signed = newest.size if newest else 0
    report.events = _count(task.place)
    chunks = []
    for chunk in _chunks(task, report, max(report.signed, report.events)):
        chunks.append(chunk)
        on_progress(min(chunk.end, report.events), report.events)
    for chunk in chunks:
        report.findings += chunk.findings
    _erasures(chunks, report)
    if newest and not report.findings:
        _roots(task, folder, newest, chunks, report)
    if witness:
        _witnessed(task, folder, witness, newest, report)
    report.findings = _first(sorted(report.findings, key=lambda one: one.index))
    report.seconds = time.monotonic() - begin
    return report


def _first(findings: list[Finding]) -> list[Finding]:
    """Return the findings up to the first that moves all events after it."""
    for position, one in enumerate(findings):
        # Where rows say themselves that one is missing, no event is named and none has moved.
        if one.kind in ("drop", "insert") and one.event is not None:
            return findings[: position + 1]
    return findings[:_MOST_FINDINGS]


def _newest(task: Task, folder: LogFolder, report: Report) -> Checkpoint | None:
    note = folder.note()
    if note is None:
        if any(True for _ in folder.history()):
            _fault(report, "checkpoint", 0, "The newest checkpoint is missing from the folder.")
        return None
    return _opened(task, note, "the newest checkpoint", report)


def _opened(task: Task, note: bytes, which: str, report: Report) -> Checkpoint | None:
    try:
        return open_note(note, task.name, task.public)
    except Invalid as error:
        _fault(report, "checkpoint", 0, f"{error} ({which})")
        return None


def _count(place: Path | str) -> int:
    database = open_database(place)
    try:
        with database.read_transaction() as connection:
            last = connection.execute("SELECT max(seq) FROM audit").fetchone()[0]
    finally:
        database.close()
    return int(last or 0)


def _chunks(task: Task, report: Report, end: int) -> Iterator[Chunk]:
    # A chunk ends where the signed part ends, so that its root is of what was signed.
    edges = sorted({*range(0, end, task.chunk), report.signed, end})
    parts = [
        (task.place, task.folder, start, stop, report.signed) for start, stop in pairwise(edges)
    ]
    if task.processes == 1 or len(parts) < 2:
        yield from map(read_chunk, parts)
        return
    with ProcessPoolExecutor(task.processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(read_chunk, parts)


def _erasures(chunks: list[Chunk], report: Report) -> None:
    """Hold every emptied row against the events that tell of an erasure."""
    told = {event for chunk in chunks for event in chunk.told}
    for chunk in chunks:
        for index, event in chunk.erased:
            report.erased += 1
            if event not in told:
                text = f"The event of leaf {index} was emptied, and no erasure tells of it."
                report.findings.append(Finding("erase", index, event, text))


def _roots(
    task: Task, folder: LogFolder, newest: Checkpoint, chunks: list[Chunk], report: Report
) -> None:
    """Hold the root of what is there against every checkpoint that was signed."""
    signed = [chunk.root for chunk in chunks if chunk.end <= newest.size]
    if (root_of(signed) if signed else EMPTY) != newest.root:
        _fault(
            report, "rewrite", _good_until(task, folder, newest),
            "The log is not the one that was signed for: rows and tiles were rewritten together "
            "from this leaf on, or after it.",
        )  # fmt: skip
        return
    report.checkpoints = 1
    reader = folder.reader(newest.size)
    try:
        if reader.root() != newest.root:
            _fault(report, "tile", 0, "The exported tiles are not those of the signed root.")
            return
        _older(task, folder, newest, reader, report)
    except LookupError as error:
        _fault(report, "tile", 0, f"{error}.")


def _older(
    task: Task, folder: LogFolder, newest: Checkpoint, reader: TileReader, report: Report
) -> None:
    for note in list(folder.history())[:-1][-_MOST_OLDER:]:
        found = _opened(task, note, "an older checkpoint", report)
        if found is None:
            continue
        if found.size > newest.size:
            _fault(
                report, "rollback", newest.size,
                f"A checkpoint of {found.size} events was signed; the newest one has fewer.",
            )  # fmt: skip
        elif found.size and reader.root(found.size) != found.root:
            _fault(
                report, "fork", found.size - 1,
                f"The checkpoint of {found.size} events was signed for another log.",
            )  # fmt: skip
        else:
            report.checkpoints += 1


def _witnessed(
    task: Task,
    folder: LogFolder,
    witness: Checkpoint,
    newest: Checkpoint | None,
    report: Report,
) -> None:
    if witness.size > report.events:
        _fault(
            report, "rollback", report.events,
            f"The witness holds a checkpoint of {witness.size} events; the database has "
            f"{report.events}: its end was cut off, or it is an older state.",
        )  # fmt: skip
        return
    try:
        if newest and witness.size <= newest.size:
            root = folder.reader(newest.size).root(witness.size)
        else:
            # Nothing exported reaches so far: from the rows themselves.
            root = stored_root(task.place, witness.size)
    except LookupError as error:
        _fault(report, "tile", 0, f"{error}.")
        return
    if root != witness.root:
        _fault(
            report, "rewrite", witness.size - 1,
            "The log is not the one the witness's checkpoint was signed for: an event up to this "
            "leaf is another.",
        )  # fmt: skip
    else:
        report.checkpoints += 1


def _good_until(task: Task, folder: LogFolder, newest: Checkpoint) -> int:
    """Return where the exported tiles no longer fit each other, or else the checkpoints."""
    reader = folder.reader(newest.size)
    for number in range(newest.size // TILE):
        try:
            above = reader.tile(1, number // TILE)[number % TILE]
            if root_of(reader.tile(0, number)) != above:
                return number * TILE
        except LookupError:
            return number * TILE
    good = 0
    for note in folder.history():
        try:
            found = open_note(note, task.name, task.public)
            if found.size > good and folder.reader(found.size).root() == found.root:
                good = found.size
        except (Invalid, LookupError):
            continue
    return good


def _fault(report: Report, kind: str, index: int, text: str) -> None:
    report.findings.append(Finding(kind, index, None, text))
