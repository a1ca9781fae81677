"""Parser of a line of the change feed: a version of a resource, or what is decided about research.

Pure: bytes in, values out. Nothing is refused here. A version that cannot be read becomes a fault,
so that the quarantine can hold it; facts or rules that cannot be read become null, and nothing of
what they are about is used for research until others come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from ehr_privacy.consent import TABLES, record_from_json
from ehr_privacy.consent.research import RESEARCH_TABLES

__all__ = [
    "METHODS",
    "RULE_TABLES",
    "STEWARD_DECISIONS",
    "FeedLine",
    "parse_line",
    "read_place",
]

METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Rule rows of any other table are not understood: then the patient is in doubt.
RULE_TABLES = frozenset({*RESEARCH_TABLES, "consent_membership"})
# The patient of rules that name nobody who could be read: then everybody is in doubt.
EVERYBODY = "*"

Kind = Literal["version", "facts", "rules", "quality", "erasure", "fault"]
# What a steward may have decided about a version with faults.
STEWARD_DECISIONS = frozenset({"release", "reject", "send-back"})


@dataclass(frozen=True)
class FeedLine:
    """One line: a version, facts of a record, rules of a patient (`id`), decisions, or a fault.

    Of an erasure `id` is the keyed hash of the patient.

    `key` names the line in quarantine. `facts` and `rules` are JSON; null if not understood.
    `decided` has, of a line of kind quality, what stewards decided of each version of a record.
    """

    kind: Kind
    key: str
    position: int | None = None
    type: str | None = None
    id: str | None = None
    version: int | None = None
    last_updated: str | None = None
    author: str | None = None
    deleted: bool = False
    facts: str | None = None
    rules: str | None = None
    resource: str | None = None
    fault: str | None = None
    decided: tuple[tuple[int, str], ...] = ()


class _FeedFault(ValueError):
    """The reason a line is not an entry of the feed."""


def parse_line(line: str) -> FeedLine:
    """Read one line of the feed; a fault names what is wrong with it, never a value."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        if '"decision"' in line:
            return FeedLine("rules", _digest(line), id=EVERYBODY)
        return _faulty_line(line, None, "feed-line-is-not-json")
    if not isinstance(entry, dict):
        return _faulty_line(line, None, "feed-line-is-not-an-object")
    if "decision" in entry:
        return _parse_decision(line, entry)
    position = entry.get("position")
    if not _is_integer(position):
        return _faulty_line(line, None, "feed-position-missing")
    try:
        return _parse_version(line, entry)
    except _FeedFault as fault:
        return _faulty_line(line, position, str(fault))


def read_place(line: bytes) -> tuple[int | None, int | None]:
    """Return a line's position or number of a decision; None where it has none."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(entry, dict):
        return None, None
    position, decision = entry.get("position"), entry.get("decision")
    return (
        position if _is_integer(position) else None,
        decision if _is_integer(decision) else None,
    )


def _parse_version(line: str, entry: Mapping[str, Any]) -> FeedLine:
    resource_type, resource_id = entry.get("type"), entry.get("id")
    version = entry.get("version")
    author, method = entry.get("author"), entry.get("method")
    if not (
        isinstance(resource_type, str) and isinstance(resource_id, str) and _is_integer(version)
    ):
        raise _FeedFault("feed-type-id-or-version-missing")
    if method not in METHODS:
        raise _FeedFault("feed-method-unknown")
    if author is not None and not isinstance(author, str):
        raise _FeedFault("feed-author-is-not-text")
    deleted = method == "DELETE"
    resource = None if deleted else _require_resource(entry, resource_type, resource_id)
    return FeedLine(
        kind="version",
        key=str(entry["position"]),
        position=entry["position"],
        type=resource_type,
        id=resource_id,
        version=version,
        last_updated=str(entry.get("lastUpdated")),
        author=author,
        deleted=deleted,
        facts=_read_facts(entry),
        resource=None if resource is None else _resource_text(line, resource),
    )


def _parse_decision(line: str, entry: Mapping[str, Any]) -> FeedLine:
    if isinstance(erased := entry.get("erased"), str):
        return FeedLine("erasure", erased, id=erased)
    resource_type, resource_id = entry.get("type"), entry.get("id")
    if not isinstance(resource_type, str) or not isinstance(resource_id, str):
        return FeedLine("rules", _digest(line), id=EVERYBODY)
    key = f"{resource_type}/{resource_id}"
    if "rules" in entry:
        rules = entry["rules"]
        is_understood = isinstance(rules, list) and all(map(_is_rule_row, rules))
        return FeedLine("rules", key, id=resource_id, rules=_dump(rules) if is_understood else None)
    if "quality" in entry:
        return FeedLine(
            "quality", key, type=resource_type, id=resource_id, decided=_read_decided(entry)
        )
    version = entry.get("version")
    if not _is_integer(version) or "facts" not in entry:
        # Of a kind that is not known here: whatever it says is about this record's patients.
        return FeedLine("rules", key, id=resource_id if resource_type == "Patient" else EVERYBODY)
    return FeedLine(
        "facts",
        key,
        type=resource_type,
        id=resource_id,
        version=version,
        author=entry.get("author"),
        facts=_read_facts(entry),
    )


def _read_decided(entry: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    """Return what is understood: a decision of another kind lets nothing pass."""
    listed = entry["quality"]
    return tuple(
        (one["version"], one["decision"])
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
        and _is_integer(one.get("version"))
        and one.get("decision") in STEWARD_DECISIONS
    )


def _is_rule_row(row: object) -> bool:
    if not isinstance(row, dict) or row.get("table") not in RULE_TABLES:
        return False
    columns = TABLES[row["table"]]
    # A column that is not known here may close more than is understood.
    return row.keys() - {"table"} == {column.name for column in columns} and all(
        isinstance(row[column.name], str if column.type == "TEXT" else int)
        or (row[column.name] is None and column.nullable)
        for column in columns
    )


def _read_facts(entry: Mapping[str, Any]) -> str | None:
    facts = entry.get("facts")
    try:
        record_from_json(facts or {}, str(entry["type"]), str(entry["id"]), None)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return _dump(facts)


def _require_resource(
    entry: Mapping[str, Any], resource_type: str, resource_id: str
) -> Mapping[str, Any]:
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        raise _FeedFault("feed-resource-missing")
    if resource.get("resourceType") != resource_type or resource.get("id") != resource_id:
        raise _FeedFault("feed-resource-is-another")
    return resource


def _resource_text(line: str, resource: Mapping[str, Any]) -> str:
    """Cut the resource's own text out of the line: serialized anew, 1.10 would become 1.1."""
    start = line.find('"resource":') + len('"resource":')
    text = line[start : line.rstrip().rfind("}")].strip()
    try:
        if orjson.loads(text) == resource:
            return text
    except orjson.JSONDecodeError:
        # The resource was not the last member of the line.
        pass
    return orjson.dumps(resource).decode()


def _faulty_line(line: str, position: int | None, fault: str) -> FeedLine:
    key = _digest(line) if position is None else str(position)
    return FeedLine("fault", key=key, position=position, resource=line, fault=fault)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _dump(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
