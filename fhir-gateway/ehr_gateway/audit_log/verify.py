"""Verify the whole log: rows against leaves, leaves against tiles, roots against signatures.

Several processes hash every row again, 65,536 at a time (`verify_chunk`). Only a chunk that differs
is examined row by row, so that a sound log is read once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.restores import RestoreNote
from ehr_gateway.audit_log.verify_chunk import (
    CHUNK_LEAVES,
    ChunkReport,
    ChunkTask,
    compute_stored_root,
    verify_chunk,
)
from ehr_gateway.audit_log.verify_counted import verify_counted_sets
from ehr_gateway.child_process import end_with_parent
from ehr_gateway.database import open_for_reading, readable_place
from ehr_privacy.audit import EMPTY, TILE, Checkpoint, Finding, TileReader, open_note, root_of

__all__ = ["VerifyReport", "VerifyTask", "verify_log"]

_MAX_FINDINGS = 20
# How many checkpoints before the newest are checked: each costs a root of the tiles (chosen).
_MAX_OLDER_CHECKPOINTS = 1000


@dataclass(frozen=True)
class VerifyTask:
    """What to verify: database, exported folder, log name and key, a witness's checkpoint."""

    database_place: Path | str
    folder: Path
    name: str
    public: bytes
    witness: bytes | None = None
    processes: int = 2
    chunk: int = CHUNK_LEAVES


@dataclass
class VerifyReport:
    """The result of a verification."""

    events: int = 0
    signed: int = 0
    erased: int = 0
    checkpoints: int = 0
    seconds: float = 0.0
    # Restores that the log tells of: no fault by themselves, but what they cut off is gone.
    restores: list[RestoreNote] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


def verify_log(
    task: VerifyTask, on_progress: Callable[[int, int], None] = lambda done, of: None
) -> VerifyReport:
    """Verify a log. `on_progress` gets the number of events done and of all events.

    Nothing is written: a read-only copy can be verified.
    """
    with readable_place(task.database_place) as place:
        return _verify_readable_log(replace(task, database_place=place), on_progress)


def _verify_readable_log(task: VerifyTask, on_progress: Callable[[int, int], None]) -> VerifyReport:
    begin, report, folder = time.monotonic(), VerifyReport(), LogFolder(task.folder)
    newest = _open_newest_checkpoint(task, folder, report)
    witness = (
        _open_checkpoint(task, task.witness, "the witness's copy", report) if task.witness else None
    )
    report.signed = newest.size if newest else 0
    report.events = _count_events(task.database_place)
    chunks = []
    for chunk in _verify_chunks(task, report, max(report.signed, report.events)):
        chunks.append(chunk)
        on_progress(min(chunk.end, report.events), report.events)
    for chunk in chunks:
        report.findings += chunk.findings
        report.restores += chunk.restores
    _check_erasures(chunks, report)
    named_by_erasure = {event for chunk in chunks for event in chunk.erasure_ids}
    report.findings += verify_counted_sets(task.database_place, named_by_erasure)
    if newest and not report.findings:
        _check_roots(task, folder, newest, chunks, report)
    if witness:
        _check_witness(task, folder, witness, newest, report)
    report.findings = _keep_until_shift(sorted(report.findings, key=lambda finding: finding.index))
    report.seconds = time.monotonic() - begin
    return report


def _keep_until_shift(findings: list[Finding]) -> list[Finding]:
    """Return the findings up to the first insertion or removal, which shifts every later leaf."""
    for position, finding in enumerate(findings):
        # A gap in `seq` names no event, and the rows after it have not moved.
        if finding.kind in ("drop", "insert") and finding.event is not None:
            return findings[: position + 1]
    return findings[:_MAX_FINDINGS]


def _open_newest_checkpoint(
    task: VerifyTask, folder: LogFolder, report: VerifyReport
) -> Checkpoint | None:
    note = folder.read_note()
    if note is None:
        if any(True for _ in folder.read_history()):
            _add_finding(
                report, "checkpoint", 0, "The newest checkpoint is missing from the folder."
            )
        return None
    return _open_checkpoint(task, note, "the newest checkpoint", report)


def _open_checkpoint(
    task: VerifyTask, note: bytes, which: str, report: VerifyReport
) -> Checkpoint | None:
    try:
        return open_note(note, task.name, task.public)
    except Invalid as error:
        _add_finding(report, "checkpoint", 0, f"{error} ({which})")
        return None


def _count_events(place: Path | str) -> int:
    database = open_for_reading(place)
    try:
        with database.read_transaction() as connection:
            last = connection.execute("SELECT max(seq) FROM audit").fetchone()[0]
    finally:
        database.close()
    return int(last or 0)


def _verify_chunks(task: VerifyTask, report: VerifyReport, end: int) -> Iterator[ChunkReport]:
    # A chunk ends at the signed tree size, so that the chunks before it give the signed root.
    edges = sorted({*range(0, end, task.chunk), report.signed, end})
    parts = [
        ChunkTask(task.database_place, task.folder, start, stop, report.signed)
        for start, stop in pairwise(edges)
    ]
    if task.processes == 1 or len(parts) < 2:
        yield from map(verify_chunk, parts)
        return
    pool = ProcessPoolExecutor(task.processes, get_context("spawn"), end_with_parent)
    try:
        yield from pool.map(verify_chunk, parts)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_erasures(chunks: list[ChunkReport], report: VerifyReport) -> None:
    """Check that an erasure event names every emptied row."""
    erased_by_event = {event for chunk in chunks for event in chunk.erasure_ids}
    for chunk in chunks:
        for index, event in chunk.erased:
            report.erased += 1
            if event not in erased_by_event:
                text = f"The event of leaf {index} was emptied, and no erasure tells of it."
                report.findings.append(Finding("erase", index, event, text))


def _check_roots(
    task: VerifyTask,
    folder: LogFolder,
    newest: Checkpoint,
    chunks: list[ChunkReport],
    report: VerifyReport,
) -> None:
    """Check the root of the rows against every signed checkpoint."""
    signed = [chunk.root for chunk in chunks if chunk.end <= newest.size]
    if (root_of(signed) if signed else EMPTY) != newest.root:
        _add_finding(
            report, "rewrite", _find_first_bad_leaf(task, folder, newest),
            "The log is not the one that was signed for: rows and tiles were rewritten together "
            "from this leaf on, or after it.",
        )  # fmt: skip
        return
    report.checkpoints = 1
    reader = folder.tree_reader(newest.size)
    try:
        if reader.root() != newest.root:
            _add_finding(report, "tile", 0, "The exported tiles are not those of the signed root.")
            return
        _check_older_checkpoints(task, folder, newest, reader, report)
    except LookupError as error:
        _add_finding(report, "tile", 0, f"{error}.")


def _check_older_checkpoints(
    task: VerifyTask,
    folder: LogFolder,
    newest: Checkpoint,
    reader: TileReader,
    report: VerifyReport,
) -> None:
    for note in list(folder.read_history())[:-1][-_MAX_OLDER_CHECKPOINTS:]:
        checkpoint = _open_checkpoint(task, note, "an older checkpoint", report)
        if checkpoint is None:
            continue
        if checkpoint.size > newest.size:
            _add_finding(
                report, "rollback", newest.size,
                f"A checkpoint of {checkpoint.size} events was signed; the newest one has fewer.",
            )  # fmt: skip
        elif checkpoint.size and reader.root(checkpoint.size) != checkpoint.root:
            _add_finding(
                report, "fork", checkpoint.size - 1,
                f"The checkpoint of {checkpoint.size} events was signed for another log.",
            )  # fmt: skip
        else:
            report.checkpoints += 1


def _check_witness(
    task: VerifyTask,
    folder: LogFolder,
    witness: Checkpoint,
    newest: Checkpoint | None,
    report: VerifyReport,
) -> None:
    if witness.size > report.events:
        if _is_cut_off_by_restore(witness, report):
            return
        _add_finding(
            report, "rollback", report.events,
            f"The witness holds a checkpoint of {witness.size} events; the database has "
            f"{report.events}: its end was cut off, or it is an older state.",
        )  # fmt: skip
        return
    try:
        if newest and witness.size <= newest.size:
            root = folder.tree_reader(newest.size).root(witness.size)
        else:
            # The exported tiles do not reach that size: compute the root from the rows.
            root = compute_stored_root(task.database_place, witness.size)
    except LookupError as error:
        _add_finding(report, "tile", 0, f"{error}.")
        return
    if root != witness.root:
        if _is_cut_off_by_restore(witness, report):
            return
        _add_finding(
            report, "rewrite", witness.size - 1,
            "The log is not the one the witness's checkpoint was signed for: an event up to this "
            "leaf is another.",
        )  # fmt: skip
    else:
        report.checkpoints += 1


def _is_cut_off_by_restore(witness: Checkpoint, report: VerifyReport) -> bool:
    """Report that a restore on record cut off what a witness's checkpoint was signed for."""
    note = next((note for note in report.restores if note.size < witness.size), None)
    if note is None:
        return False
    _add_finding(
        report, "restore", note.size,
        f"The witness holds a checkpoint of {witness.size} events of the log as it was before it "
        f"was restored: its events from leaf {note.size} on were cut off. Only a copy of at most "
        f"{note.size} events shows that those before it are the same.",
    )  # fmt: skip
    return True


def _find_first_bad_leaf(task: VerifyTask, folder: LogFolder, newest: Checkpoint) -> int:
    """Return the leaf index where tiles contradict each other, or of the last good checkpoint."""
    reader = folder.tree_reader(newest.size)
    for number in range(newest.size // TILE):
        try:
            above = reader.tile(1, number // TILE)[number % TILE]
            if root_of(reader.tile(0, number)) != above:
                return number * TILE
        except LookupError:
            return number * TILE
    last_good = 0
    for note in folder.read_history():
        try:
            checkpoint = open_note(note, task.name, task.public)
            if (
                checkpoint.size > last_good
                and folder.tree_reader(checkpoint.size).root() == checkpoint.root
            ):
                last_good = checkpoint.size
        except (Invalid, LookupError):
            continue
    return last_good


def _add_finding(report: VerifyReport, kind: str, index: int, text: str) -> None:
    report.findings.append(Finding(kind, index, None, text))
