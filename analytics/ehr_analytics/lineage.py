"""Steps of research for the platform's log, and what a release says of where it came from.

Every event of the register becomes a leaf of the log: its place, who, which step, a digest of the
whole event, and the digests and versions that the step is about. The register keeps up to which
event that was done. So the register can be held against the log: a changed, removed or exchanged
event is found, as is one that was put in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_analytics.register import Register
from ehr_analytics.run_log import get_run
from ehr_etl.lake import Lake
from ehr_etl.lineage import digest_table
from ehr_fhir.errors import Conflict
from ehr_privacy.audit import RESEARCH_STEP, TraceLine, build_line, digest_json

__all__ = ["RegisterSteps", "ReleaseOrigin", "find_origin"]

# Events of a project itself; others are about a run, or about rows that left by another way.
_PROJECT_ACTIONS = (
    "new", "change", "submit", "return", "approve", "open", "close", "suspend", "resume",
)  # fmt: skip
_BEFORE_ALL = -(2**63)
_COPIED_FACTS = ("code", "checks", "policy", "application", "persons", "budget")


@dataclass(frozen=True)
class ReleaseOrigin:
    """A release, the records of the steps that led to it, and what is still there of it."""

    release: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    # What the platform itself holds against the log.
    checks: tuple[TraceLine, ...]


class RegisterSteps:
    """The register's events as records of the log, oldest first."""

    def __init__(self, register: Register) -> None:
        self.register = register

    def read_new(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of events that the log was not told yet."""
        with self.register.transaction() as connection:
            row = connection.execute("SELECT seq FROM event_on_record").fetchone()
        return self._read_after(row["seq"] if row else 0)

    def read_all(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of all events, also of those put in under a number below one."""
        return self._read_after(_BEFORE_ALL)

    def _read_after(self, after: int) -> list[Mapping[str, Any]]:
        with self.register.transaction() as connection:
            rows = connection.execute("SELECT * FROM event WHERE seq > ? ORDER BY seq", (after,))
            return [_build_record(dict(row)) for row in rows]

    def mark_recorded(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep that the log has these and all before them."""
        with self.register.transaction() as connection:
            connection.execute(
                "INSERT INTO event_on_record(one, seq) VALUES (1, ?)"
                " ON CONFLICT (one) DO UPDATE SET seq = max(seq, excluded.seq)",
                (max(record["seq"] for record in records),),
            )


def find_origin(register: Register, run_id: str) -> ReleaseOrigin:
    """Return where a release came from; Conflict where the run was not released."""
    run = get_run(register, run_id)
    if run.state != "released":
        raise Conflict(f"The run is {run.state}: only what was released is traced.")
    with register.transaction() as connection:
        row = connection.execute("SELECT outputs FROM run WHERE id = ?", (run_id,)).fetchone()
    files: dict[str, str] = json.loads(row["outputs"])
    records = tuple(
        record
        for record in RegisterSteps(register).read_all()
        if record["run"] == run_id
        or (
            record["project"] == run.project
            and record["run"] is None
            and record["action"] in _PROJECT_ACTIONS
        )
    )
    release = {"run": run.id, "project": run.project, "study": run.study, "files": files}
    checks = [*_check_files(register, release), *_check_tables(register, records)]
    checks += _check_persons(register, run_id, records)
    return ReleaseOrigin(release, records, tuple(checks))


def _build_record(event: Mapping[str, Any]) -> Mapping[str, Any]:
    detail: Mapping[str, Any] = json.loads(event["detail"])
    facts: dict[str, Any] = {name: detail[name] for name in _COPIED_FACTS if name in detail}
    if "lineage" in detail:
        facts["tables"] = detail["lineage"]
    if isinstance(detail.get("files"), dict):
        # Their names are the study's own words.
        facts["files"] = digest_json(detail["files"])
    names = ("seq", "at", "project", "run", "who", "action", "before", "after")
    return {
        "kind": RESEARCH_STEP,
        **{name: event[name] for name in names},
        "digest": digest_json({**event, "detail": detail}),
        "facts": facts,
    }


def _check_files(register: Register, release: Mapping[str, Any]) -> Iterator[TraceLine]:
    folder = register.folder / "released" / release["project"] / release["run"]
    same = 0
    for name, digest in sorted(release["files"].items()):
        path = folder / name
        if not path.exists():
            yield build_line("files", "fault", "file-gone", file=name)
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield build_line("files", "fault", "file-changed", file=name)
        else:
            same += 1
    every = len(release["files"])
    yield build_line("files", "shown", "files-same", same=same, all=every)


def _check_tables(register: Register, records: Sequence[Mapping[str, Any]]) -> Iterator[TraceLine]:
    """Hold versions of tables that are still there against what the run read."""
    lake = Lake(register.data / "lake")
    for record in records:
        for table in record["facts"].get("tables", ()) if record["action"] == "run" else ():
            name, version = table["name"], table["version"]
            if table["digest"] is None:
                continue
            try:
                opened = DeltaTable(lake.table_url(name), version=version)
            except (DeltaError, OSError):
                # Old versions go with upkeep; what was on record of them stays.
                continue
            is_same = digest_table(opened) == table["digest"]
            yield build_line(
                "tables",
                "shown" if is_same else "fault",
                "table-same" if is_same else "table-changed",
                table=name,
                version=version,
            )


def _check_persons(
    register: Register, run_id: str, records: Sequence[Mapping[str, Any]]
) -> Iterator[TraceLine]:
    recorded = next(
        (each["facts"]["persons"] for each in records if "persons" in each["facts"]), None
    )
    if recorded is None:
        return
    digest, erased = ReleaseHistory(register).digest_persons(run_id)
    if erased:
        yield build_line("persons", "shown", "persons-erased", places=erased)
        return
    if digest == recorded:
        yield TraceLine("persons", "shown", "persons-same")
    else:
        yield TraceLine("persons", "fault", "persons-changed")
