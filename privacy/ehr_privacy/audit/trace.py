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
from typing import Any, Literal

import orjson

from ehr_fhir.errors import Invalid
from ehr_privacy.audit.checkpoint import Checkpoint, open_note
from ehr_privacy.audit.leaf import row_leaf
from ehr_privacy.audit.lineage import LAKE_REFRESH, RESEARCH_STEP, digest_json, lineage_id
from ehr_privacy.audit.proofs import verify_inclusion

__all__ = ["TRACE_FORMAT", "TraceLine", "parse_trace", "verify_trace"]

TRACE_FORMAT = "ehr-commons-trace-1"
State = Literal["shown", "gap", "fault"]
_APPROVALS = 2
# Places in a row of the log: the columns that a leaf commits to.
_ID, _INTERACTION, _QUERY = 0, 10, 14


@dataclass(frozen=True)
class TraceLine:
    """One line of a trace: which part of the chain, what is so, and the index of its leaf."""

    part: str
    state: State
    text: str
    leaf: int | None = None


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
    yield TraceLine(
        "checkpoint", "shown", f"{checkpoint.size:,} events of {checkpoint.origin} are signed for"
    )
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
        yield TraceLine("project", "fault", "a step of another project stands here", leaf.index)
    steps = [leaf for leaf in steps if leaf not in others]
    yield from _verify_release(trace["release"], steps)
    run = _find(steps, "run", trace["release"]["run"])
    if run is not None:
        refreshes = [leaf for leaf in leaves if leaf.record["kind"] == LAKE_REFRESH]
        yield from _verify_tables(run, refreshes)
    for missing in trace["missing"]:
        yield TraceLine(missing["part"], "gap", missing["text"])


def _verify_leaf(
    stored: Mapping[str, Any], checkpoint: Checkpoint
) -> tuple[list[TraceLine], _Leaf | None]:
    index, row = int(stored["index"]), stored["row"]
    record = orjson.loads(row[_QUERY])
    part = "refresh" if record["kind"] == LAKE_REFRESH else str(record["action"])
    if row[_INTERACTION] != record["kind"] or row[_ID] != lineage_id(record):
        return [TraceLine(part, "fault", "the leaf has the name of another record", index)], None
    if stored["proof"] is None:
        # Anybody can write one: what it says is not shown.
        return [TraceLine(part, "gap", "its leaf is not signed for yet", index)], None
    computed = row_leaf(base64.b64decode(stored["salt"]), row)
    proof = [base64.b64decode(node) for node in stored["proof"]]
    if not verify_inclusion(computed, index, checkpoint.size, proof, checkpoint.root):
        text = "what it says is not what was signed for: it was changed"
        return [TraceLine(part, "fault", text, index)], None
    return [], _Leaf(index, record)


def _verify_order(steps: Sequence[_Leaf]) -> Iterator[TraceLine]:
    """Find steps that were put in later: the log is told of steps in the register's order."""
    for before, leaf in pairwise(steps):
        if leaf.record["seq"] == before.record["seq"]:
            text = f"two leaves are step {leaf.record['seq']} of the register"
            yield TraceLine("register", "fault", text, leaf.index)
        elif leaf.index < before.index:
            text = f"step {before.record['seq']} came into the log after step {leaf.record['seq']}"
            yield TraceLine("register", "fault", text, before.index)


def _verify_release(release: Mapping[str, Any], steps: Sequence[_Leaf]) -> Iterator[TraceLine]:
    run_id = str(release["run"])
    released = _find(steps, "release", run_id)
    run = _find(steps, "run", run_id)
    proposed = _find(steps, "propose", run_id, after="proposed")
    if released is None:
        yield TraceLine("release", "gap", f"no leaf says that {run_id} was released")
    else:
        yield _compare(
            "release", released, "files", digest_json(release["files"]),
            f"{run_id} was released by {released.record['who']} at {released.record['at']}",
            "the files that were released are others",
        )  # fmt: skip
    if proposed is None:
        yield TraceLine("checks", "gap", "no leaf says that its checks passed")
    else:
        facts = proposed.record["facts"]
        yield _compare(
            "checks", proposed, "files", digest_json(release["files"]),
            f"its checks passed at {proposed.record['at']} under {facts.get('policy', '?')}",
            "other files were checked than were released",
        )  # fmt: skip
    yield from _verify_approvals(steps, run_id, run, proposed, released)
    if run is None:
        yield TraceLine("run", "gap", f"no leaf says that {run_id} ran")
    else:
        code = run.record["facts"].get("code", "")
        yield TraceLine(
            "run", "shown",
            f"{run.record['who']} ran it at {run.record['at']}, code {code[:16]}", run.index,
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
        text = f"{leaf.record['who']} approved its files at {leaf.record['at']}"
        yield TraceLine("approval", "shown", text, leaf.index)
    people = {leaf.record["who"] for leaf in approvals}
    if run is not None and run.record["who"] in people:
        yield TraceLine("approval", "fault", "who ran it approved it")
    if len(people) < _APPROVALS:
        yield TraceLine(
            "approval", "fault" if released else "gap",
            f"{len(people)} people approved it between the checks and the release, of {_APPROVALS}",
        )  # fmt: skip


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
        application = str(leaf.record["facts"].get("application", ""))[:16] or "not on record"
        yield TraceLine(
            "project", "shown",
            f"{leaf.record['who']} approved project {leaf.record['project']} at"
            f" {leaf.record['at']}, application {application}", leaf.index,
        )  # fmt: skip
    if len({leaf.record["who"] for leaf in approvals}) < _APPROVALS:
        text = f"no {_APPROVALS} leaves of different people approve the project before the run"
        yield TraceLine("project", "gap", text)
    if len({leaf.record["facts"].get("application") for leaf in approvals}) > 1:
        yield TraceLine("project", "fault", "its approvers approved different applications")
    states = [leaf for leaf in decided if leaf.record["after"]]
    if states and run is not None:
        state, leaf = states[-1].record["after"], states[-1]
        yield TraceLine(
            "project", "shown" if state == "open" else "fault",
            f"the project was {state} when it ran", leaf.index,
        )  # fmt: skip


def _verify_tables(run: _Leaf, refreshes: Sequence[_Leaf]) -> Iterator[TraceLine]:
    rules: dict[str, int] = {}
    if "tables" not in run.record["facts"]:
        yield TraceLine("table", "gap", "the run does not say which tables it read", run.index)
        return
    for table in run.record["facts"]["tables"]:
        name, version = table["name"], int(table["version"])
        for refresh in refreshes:
            entry = _entry_with(refresh.record, name, version)
            if entry is None:
                continue
            record = refresh.record
            rules[record["rules"]] = refresh.index
            text = (
                f"{name} version {version} was made of the feed of {record['store'] or 'a store'}"
                f" up to position {record['position']} and decision {record['decision']}"
            )
            if entry["version"] != version:
                text += f"; it was passed through on the way to version {entry['version']}"
            elif table["digest"] is None:
                text += "; the run did not keep its digest"
            elif table["digest"] != entry["digest"]:
                yield TraceLine(
                    "table", "fault",
                    f"{name} version {version} was another when it was read than when it was made",
                    refresh.index,
                )  # fmt: skip
                continue
            else:
                text += f"; digest {entry['digest'][:16]}"
            yield TraceLine("table", "shown", text, refresh.index)
            break
        else:
            yield TraceLine("table", "gap", f"no leaf here says what made {name} {version}")
    for digest, index in rules.items():
        yield TraceLine("rules", "shown", f"the rules, keys and views: {digest[:16]}", index)


def _entry_with(record: Mapping[str, Any], name: str, version: int) -> Mapping[str, Any] | None:
    """Return what a refresh says of a table if it made this version of it."""
    for entry in record["tables"]:
        if entry["name"] == name and entry["version"] is not None:
            since = -1 if entry["since"] is None else int(entry["since"])
            if since < version <= int(entry["version"]):
                found: Mapping[str, Any] = entry
                return found
    return None


def _compare(part: str, leaf: _Leaf, fact: str, wanted: str, text: str, fault: str) -> TraceLine:
    found = leaf.record["facts"].get(fact)
    if found is None:
        return TraceLine(part, "gap", f"{text}; its leaf names no {fact}", leaf.index)
    if found != wanted:
        return TraceLine(part, "fault", fault, leaf.index)
    return TraceLine(part, "shown", text, leaf.index)


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
