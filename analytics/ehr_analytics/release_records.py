"""A request for release as people and checkers see it: files, checks, rules, steps, evidence.

Before a release its people see the names of the files and whether the checks passed. How many cells
are hidden, and by which rule, is the checkers': told for every request, it would say of two cohorts
that differ by a person which one is small.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_analytics import airlock
from ehr_analytics.register import Event, Register
from ehr_analytics.release_crate import CRATE_FILE
from ehr_analytics.run_log import Run, run_folder

__all__ = [
    "MEDIA_TYPES",
    "RECORD_FILES",
    "STATES",
    "Check",
    "EvidenceCell",
    "ReleaseFile",
    "ReleaseRequest",
    "ReleaseStep",
    "Rule",
    "describe_cell",
    "describe_request",
    "find_files_folder",
    "list_steps",
    "read_digests",
    "read_record_digests",
]

# State of a run in the airlock -> of its request.
STATES = {
    "proposed": "waiting",
    "failed": "refused",
    "rejected": "returned",
    "released": "released",
}
# Step of the airlock -> of a request.
_ACTIONS = {
    "propose": "request",
    "ask": "ask",
    "answer": "answer",
    "approve": "approve",
    "reject": "return",
    "lapse": "lapse",
    "release": "release",
}
MEDIA_TYPES = {".csv": "text/csv; charset=utf-8", ".png": "image/png"}
# What the platform says of a release beside its files.
RECORD_FILES = {airlock.CONTROLS_FILE: "application/json", CRATE_FILE: "application/ld+json"}
MEANINGS: Mapping[str, str] = {
    "threshold": "fewer people than the policy shows",
    "zero": "nobody, which tells it of everybody in the group",
    "dominance": "one or two people give most of the sum",
    "p-percent": "one person can tell another's amount too closely",
    "one-sided": "everybody of the group has it, which tells it of each of them",
    "degrees-of-freedom": "a model on too few people",
    "not-its-value": "the value is not what the people behind it give",
    "no-contributions": "nothing tells how much each person gives",
    "needs-people": "no rule knows this kind of number: people judge it",
    "never": "this kind of number is not released",
    "secondary": "hidden so that another hidden cell cannot be worked out",
    "differencing": "differs from another number by fewer people than the policy shows",
}


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a request; cells are None where they are not to be seen, or it has none."""

    name: str
    media_type: str
    size: int
    sha256: str
    cells: int | None = None
    cells_hidden: int | None = None


@dataclass(frozen=True)
class Check:
    """An automatic check; its detail is for checkers."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule of disclosure control, and how many cells it hides."""

    name: str
    cells: int
    meaning: str


@dataclass(frozen=True)
class ReleaseStep:
    """A step on record: an ISO instant, who, what, the reason or question."""

    at: str
    who: str
    action: str
    reason: str


@dataclass(frozen=True)
class EvidenceCell:
    """A cell for a checker: where it stands, what would be shown, what hides it."""

    file: str
    row: str
    column: str
    shown: str | None
    rule: str
    meaning: str


@dataclass(frozen=True)
class ReleaseRequest:
    """A request for the release of a run."""

    id: str
    project: str
    title: str
    is_unsafe: bool
    # waiting, refused (by a check), returned (by a checker) or released
    state: str
    asked: str
    by: str
    note: str
    files: tuple[ReleaseFile, ...]
    checks: tuple[Check, ...]
    rules: tuple[Rule, ...]
    checkers: tuple[str, ...]
    # Of all files, which an approval names.
    digest: str
    steps: tuple[ReleaseStep, ...]


def describe_request(register: Register, run: Run, *, is_checker: bool) -> ReleaseRequest:
    """Return the request for a run's release, as its people or its checkers may see it."""
    proposal = airlock.get_proposal(register, run.id)
    events = list_steps(register, run)
    asked = [event for event in events if event.action == "propose"][-1]
    sees_cells = is_checker or run.state == "released"
    # Own code decides what its files look like, so whether they pass could tell anything.
    sees_checks = is_checker or run.state == "released" or not proposal.is_unsafe
    return ReleaseRequest(
        id=run.id,
        project=run.project,
        title=_read_title(register, run),
        is_unsafe=proposal.is_unsafe,
        state=STATES[run.state],
        asked=asked.at,
        by=asked.who,
        note=str(asked.detail.get("note", "")),
        files=_list_files(register, run, sees_cells=sees_cells),
        checks=tuple(
            Check(check.name, check.passed, f"{check.file}: {check.reason}" if is_checker else "")
            for check in (proposal.checks if sees_checks else ())
        ),
        rules=_list_rules(register, run) if sees_cells else (),
        checkers=tuple(decision.person for decision in proposal.decisions),
        digest=airlock.digest_outputs(register, run.id),
        steps=tuple(
            ReleaseStep(
                event.at,
                event.who,
                _ACTIONS[event.action],
                str(event.detail.get("reason", event.detail.get("note", ""))),
            )
            for event in events
        ),
    )


def _list_files(register: Register, run: Run, *, sees_cells: bool) -> tuple[ReleaseFile, ...]:
    folder = find_files_folder(register, run)
    controls = json.loads((run_folder(register, run.id) / airlock.CONTROLS_FILE).read_text("utf-8"))
    files = []
    for name, digest in sorted(read_digests(register, run).items()):
        record: Mapping[str, Any] = controls.get(name, {})
        has_cells = sees_cells and name.endswith(".csv") and record.get("cells")
        files.append(
            ReleaseFile(
                name,
                MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
                (folder / name).stat().st_size,
                digest,
                record["cells"] if has_cells else None,
                record["cells_hidden"] if has_cells else None,
            )
        )
    for name, media_type in RECORD_FILES.items() if run.state == "released" else ():
        # Releases of before have no crate.
        if (folder / name).exists():
            content = (folder / name).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            files.append(ReleaseFile(name, media_type, len(content), digest))
    return tuple(files)


def _list_rules(register: Register, run: Run) -> tuple[Rule, ...]:
    hidden = Counter(
        str(cell["hidden_by"])
        for cell in airlock.read_evidence(register, run.id)
        if cell.get("hidden_by")
    )
    return tuple(Rule(name, cells, MEANINGS.get(name, name)) for name, cells in hidden.items())


def describe_cell(cell: Mapping[str, Any]) -> EvidenceCell:
    """Return a cell of the airlock's evidence without how many people are behind it."""
    table, rule = str(cell["table"]), str(cell["hidden_by"] or "")
    labels = cell["labels"]
    if cell["unit"] == "own code":
        # A column of a table that own code wrote: no rule knows its cells.
        return EvidenceCell(table, "", labels["column"], None, "", str(cell["statistic"]))
    frequency = cell["statistic"] == "frequency"
    column = str(cell["unit"]) if frequency else f"{cell['statistic']} of {cell['unit']}"
    return EvidenceCell(
        file=f"{table}.csv",
        row=", ".join(map(str, labels.values())),
        column=column,
        shown=None if cell["shown"] is None else f"{cell['shown']:.10g}",
        rule=rule,
        meaning=MEANINGS.get(rule, rule),
    )


def _read_title(register: Register, run: Run) -> str:
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT title FROM requested_run WHERE id = ?", (run.id,)
        ).fetchone()
    return run.study if row is None else str(row["title"])


def read_digests(register: Register, run: Run) -> Mapping[str, str]:
    """Return the SHA-256 of each file, as it was checked."""
    with register.transaction() as connection:
        row = connection.execute("SELECT outputs FROM run WHERE id = ?", (run.id,)).fetchone()
    digests: Mapping[str, str] = json.loads(row["outputs"])
    return digests


def read_record_digests(register: Register, run: Run) -> Mapping[str, str]:
    """Return the SHA-256 of each file that the platform wrote of a release, as it left.

    It is empty for releases made before the log kept it.
    """
    if run.state != "released":
        return {}
    (release,) = [e for e in register.events(run.project, run.id) if e.action == "release"]
    kept = release.detail.get("records")
    if isinstance(kept, dict):
        return {str(name): str(digest) for name, digest in kept.items()}
    folder = find_files_folder(register, run)
    return {name: "" for name in RECORD_FILES if (folder / name).exists()}


def find_files_folder(register: Register, run: Run) -> Path:
    """Return where the files of a request lie: the released ones once they are."""
    if run.state == "released":
        return register.folder / "released" / run.project / run.id
    return run_folder(register, run.id) / "outputs"


def list_steps(register: Register, run: Run) -> Sequence[Event]:
    """Return the steps of a request, oldest first."""
    return [event for event in register.events(run.project, run.id) if event.action in _ACTIONS]
