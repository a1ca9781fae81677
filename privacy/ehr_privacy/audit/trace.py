"""Verify the trace of a release: from its files back to the changes that the lake was made of.

A trace is a JSON document (`ehr-commons-trace-1`): the release, the leaves of its steps and of the
refreshes that made its tables, each with salt, row and inclusion proof, and a signed checkpoint.
Whoever has the log's public key verifies it without the platform. Each line that comes out is
`shown`, a `gap` (it cannot be shown, and why) or a `fault` (it is not so).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from ehr_fhir.errors import Invalid
from ehr_privacy.audit.checkpoint import Checkpoint, open_note
from ehr_privacy.audit.leaf import row_leaf
from ehr_privacy.audit.lineage import LAKE_REFRESH, RESEARCH_STEP, digest_json, lineage_id
from ehr_privacy.audit.proofs import verify_inclusion
from ehr_privacy.audit.trace_lines import State, TraceLine, build_line

__all__ = ["TRACE_FORMAT", "parse_trace", "verify_trace"]

TRACE_FORMAT = "ehr-commons-trace-1"
_APPROVALS = 2
# Places in a row of the log: the columns that a leaf commits to.
_ID, _INTERACTION, _QUERY = 0, 10, 14


@dataclass(frozen=True)
class _Leaf:
    """A leaf that the checkpoint holds: nothing else is evidence."""

    index: int
    record: Mapping[str, Any]


def parse_trace(content: bytes) -> dict[str, Any]:
    """Read a trace; Invalid where it is none."""
    try:
        trace = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Invalid("The trace is no JSON.") from error
    if not isinstance(trace, dict) or trace.get("format") != TRACE_FORMAT:
        raise Invalid(f"The trace is not of the form {TRACE_FORMAT}.")
    return trace


def verify_trace(trace: Mapping[str, Any], name: str, public: bytes) -> list[TraceLine]:
    """Verify a trace by the name and the public key of the log; Invalid where it is malformed."""
    try:
        return list(_verify(trace, name, public))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, binascii.Error) as error:
        raise Invalid("The trace is malformed.") from error


def _verify(trace: Mapping[str, Any], name: str, public: bytes) -> Iterator[TraceLine]:
    checkpoint = open_note(trace["checkpoint"].encode(), name, public)
    size = f"{checkpoint.size:,}"
    yield build_line("checkpoint", "shown", "signed", events=size, log=checkpoint.origin)
    leaves: list[_Leaf] = []
    for stored in trace["leaves"]:
        lines, leaf = _verify_leaf(stored, checkpoint)
        yield from lines
        if leaf is not None:
            leaves.append(leaf)
    steps = sorted(
        (leaf for leaf in leaves if leaf.record["kind"] == RESEARCH_STEP),
        key=lambda leaf: int(leaf.record["seq"]),
    )
    yield from _verify_order(steps)
    others = [leaf for leaf in steps if leaf.record["project"] != trace["release"]["project"]]
    for leaf in others:
        yield TraceLine("project", "fault", "other-project", leaf.index)
    steps = [leaf for leaf in steps if leaf not in others]
    yield from _verify_release(trace["release"], steps)
    run = _find(steps, "run", trace["release"]["run"])
    if run is not None:
        refreshes = [leaf for leaf in leaves if leaf.record["kind"] == LAKE_REFRESH]
        yield from _verify_tables(run, refreshes)
    for missing in trace["missing"]:
        # Of a trace from before steps were numbered here, the text alone is known.
        seq = missing.get("seq")
        message, values = (
            ("told", {"text": missing["text"]}) if seq is None else ("no-leaf", {"step": seq})
        )
        yield build_line(missing["part"], "gap", message, **values)


def _verify_leaf(
    stored: Mapping[str, Any], checkpoint: Checkpoint
) -> tuple[list[TraceLine], _Leaf | None]:
    index, row = int(stored["index"]), stored["row"]
    record = orjson.loads(row[_QUERY])
    part = "refresh" if record["kind"] == LAKE_REFRESH else str(record["action"])
    if row[_INTERACTION] != record["kind"] or row[_ID] != lineage_id(record):
        return [TraceLine(part, "fault", "other-record", index)], None
    if stored["proof"] is None:
        # Anybody can write one: what it says is not shown.
        return [TraceLine(part, "gap", "not-signed", index)], None
    computed = row_leaf(base64.b64decode(stored["salt"]), row)
    proof = [base64.b64decode(node) for node in stored["proof"]]
    if not verify_inclusion(computed, index, checkpoint.size, proof, checkpoint.root):
        return [TraceLine(part, "fault", "changed", index)], None
    return [], _Leaf(index, record)


def _verify_order(steps: Sequence[_Leaf]) -> Iterator[TraceLine]:
    """Find steps that were put in later: the log is told of steps in the register's order."""
    for before, leaf in pairwise(steps):
        if leaf.record["seq"] == before.record["seq"]:
            yield build_line("register", "fault", "same-step", leaf.index, step=leaf.record["seq"])
        elif leaf.index < before.index:
            earlier, later = before.record["seq"], leaf.record["seq"]
            yield build_line(
                "register", "fault", "late-step", before.index, step=earlier, other=later
            )


def _verify_release(release: Mapping[str, Any], steps: Sequence[_Leaf]) -> Iterator[TraceLine]:
    run_id = str(release["run"])
    released = _find(steps, "release", run_id)
    run = _find(steps, "run", run_id)
    proposed = _find(steps, "propose", run_id, after="proposed")
    if released is None:
        yield build_line("release", "gap", "not-released", run=run_id)
    else:
        yield _compare_files(
            "release", released, digest_json(release["files"]), "released", "other-files-released",
            run=run_id, who=released.record["who"], at=released.record["at"],
        )  # fmt: skip
    if proposed is None:
        yield TraceLine("checks", "gap", "not-checked")
    else:
        facts = proposed.record["facts"]
        yield _compare_files(
            "checks", proposed, digest_json(release["files"]), "checked", "other-files-checked",
            at=proposed.record["at"], policy=facts.get("policy", "?"),
        )  # fmt: skip
    yield from _verify_approvals(steps, run_id, run, proposed, released)
    if run is None:
        yield build_line("run", "gap", "not-run", run=run_id)
    else:
        code = run.record["facts"].get("code", "")
        yield build_line(
            "run", "shown", "ran", run.index,
            who=run.record["who"], at=run.record["at"], code=code[:16],
        )  # fmt: skip
    yield from _verify_project(steps, run)


def _verify_approvals(
    steps: Sequence[_Leaf],
    run_id: str,
    run: _Leaf | None,
    proposed: _Leaf | None,
    released: _Leaf | None,
) -> Iterator[TraceLine]:
    first = proposed.record["seq"] if proposed else 0
    last = released.record["seq"] if released else 2**63
    approvals = [
        leaf
        for leaf in steps
        if leaf.record["run"] == run_id
        and leaf.record["action"] == "approve"
        and first < leaf.record["seq"] < last
    ]
    for leaf in approvals:
        who, at = leaf.record["who"], leaf.record["at"]
        yield build_line("approval", "shown", "approved", leaf.index, who=who, at=at)
    people = {leaf.record["who"] for leaf in approvals}
    if run is not None and run.record["who"] in people:
        yield TraceLine("approval", "fault", "own-approval")
    if len(people) < _APPROVALS:
        state: State = "fault" if released else "gap"
        found = len(people)
        yield build_line("approval", state, "few-approvals", people=found, needed=_APPROVALS)


def _verify_project(steps: Sequence[_Leaf], run: _Leaf | None) -> Iterator[TraceLine]:
    before = run.record["seq"] if run else 2**63
    decided = [leaf for leaf in steps if leaf.record["run"] is None and leaf.record["seq"] < before]
    # What was approved before the project went back to its applicant counts no more.
    since = max(
        (leaf.record["seq"] for leaf in decided if leaf.record["action"] == "submit"), default=0
    )
    approvals = [
        leaf
        for leaf in decided
        if leaf.record["action"] == "approve" and leaf.record["seq"] > since
    ]
    for leaf in approvals:
        application = str(leaf.record["facts"].get("application", ""))[:16] or "–"
        yield build_line(
            "project", "shown", "project-approved", leaf.index, who=leaf.record["who"],
            project=leaf.record["project"], at=leaf.record["at"], application=application,
        )  # fmt: skip
    if len({leaf.record["who"] for leaf in approvals}) < _APPROVALS:
        yield build_line("project", "gap", "few-project-approvals", needed=_APPROVALS)
    if len({leaf.record["facts"].get("application") for leaf in approvals}) > 1:
        yield TraceLine("project", "fault", "different-applications")
    states = [leaf for leaf in decided if leaf.record["after"]]
    if states and run is not None:
        state, leaf = states[-1].record["after"], states[-1]
        is_open: State = "shown" if state == "open" else "fault"
        yield build_line("project", is_open, "project-state", leaf.index, state=state)


def _verify_tables(run: _Leaf, refreshes: Sequence[_Leaf]) -> Iterator[TraceLine]:
    rules: dict[str, int] = {}
    if "tables" not in run.record["facts"]:
        yield TraceLine("table", "gap", "no-tables", run.index)
        return
    for table in run.record["facts"]["tables"]:
        name, version = table["name"], int(table["version"])
        for refresh in refreshes:
            entry = _entry_with(refresh.record, name, version)
            if entry is None:
                continue
            record = refresh.record
            rules[record["rules"]] = refresh.index
            made = {
                "table": name, "version": version, "store": record["store"] or "–",
                "position": record["position"], "decision": record["decision"],
            }  # fmt: skip
            if entry["version"] != version:
                message, made["next"] = "table-passed", entry["version"]
            elif table["digest"] is None:
                message = "table-without-digest"
            elif table["digest"] != entry["digest"]:
                named = {"table": name, "version": version}
                yield build_line("table", "fault", "other-table", refresh.index, **named)
                continue
            else:
                message, made["digest"] = "table-made", entry["digest"][:16]
            yield build_line("table", "shown", message, refresh.index, **made)
            break
        else:
            yield build_line("table", "gap", "table-unknown", table=name, version=version)
    for digest, index in rules.items():
        yield build_line("rules", "shown", "rules", index, digest=digest[:16])


def _entry_with(record: Mapping[str, Any], name: str, version: int) -> Mapping[str, Any] | None:
    """Return what a refresh says of a table if it made this version of it."""
    for entry in record["tables"]:
        if entry["name"] == name and entry["version"] is not None:
            since = -1 if entry["since"] is None else int(entry["since"])
            if since < version <= int(entry["version"]):
                found: Mapping[str, Any] = entry
                return found
    return None


def _compare_files(
    part: str, leaf: _Leaf, wanted: str, message: str, fault: str, **values: object
) -> TraceLine:
    found = leaf.record["facts"].get("files")
    if found is None:
        return build_line(part, "gap", f"{message}-without-files", leaf.index, **values)
    if found != wanted:
        return TraceLine(part, "fault", fault, leaf.index)
    return build_line(part, "shown", message, leaf.index, **values)


def _find(
    steps: Sequence[_Leaf], action: str, run: str, *, after: str | None = None
) -> _Leaf | None:
    """Return the last step of a run of one action."""
    for leaf in reversed(steps):
        record = leaf.record
        if record["run"] == run and record["action"] == action:
            if after is None or record["after"] == after:
                return leaf
    return None
