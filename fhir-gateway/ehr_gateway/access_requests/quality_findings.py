"""Faults of quality that the lake found, and a steward's decisions about them.

The lake tells which versions break which rules, and in which elements, never a value. A steward
sees the elements at fault, read from the stored version and nothing else of the record, and
releases the version, rejects it, or sends it back to its author as a correction request. What was
decided goes to the lake with the change feed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_fhir.definitions import resource_types
from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable
from ehr_fhir.json_text import parse
from ehr_gateway.access_requests.correction_requests import (
    insert_correction,
    require_no_waiting_correction,
)
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.journal.redo_actions import append_redo_actions, build_quality_decision_redo
from ehr_gateway.store.decision_changes import mark_quality
from ehr_gateway.store.stored_facts import read_current_body
from ehr_privacy.consent import Requester, load_roles

__all__ = [
    "DECISIONS",
    "Element",
    "Finding",
    "count_open_findings",
    "decide_finding",
    "find_finding",
    "list_findings",
    "pick_elements",
    "store_findings",
]

DECISIONS = ("release", "reject", "send-back")
# After these there is nothing more to decide about a version.
FINAL_DECISIONS = frozenset({"release", "reject"})
_SEVERITIES = ("error", "warning")
_NO_FINDING = "There is no such finding, or a newer version of the record took its place."
# A path of JSON keys and places in lists; of another record behind its name.
_PATH = re.compile(
    r"(?:([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})#)?([A-Za-z]+(?:\[\d{1,4}\])?(?:\.[A-Za-z]+(?:\[\d{1,4}\])?)*)"
)
_STEP = re.compile(r"([A-Za-z]+)(?:\[(\d+)\])?")
_LONGEST_VALUE = 2000
_MOST_ELEMENTS = 40
_COLUMNS = (
    "f.type, f.id, f.version, f.severity, f.rules, f.elements, f.found_ms, r.pk, r.author,"
    " d.decision, d.reason, d.display, d.decided_ms"
)
# The version that the lake saw is the current one still: a newer one supersedes it.
# CROSS JOIN: SQLite begins at the findings, which are few, and never at the records.
_FROM = (
    " FROM quality_finding f CROSS JOIN resource r"
    " LEFT JOIN quality_decision d ON d.type = f.type AND d.logical_id = f.id"
    " AND d.version = f.version AND NOT EXISTS (SELECT 1 FROM quality_decision n"
    " WHERE n.type = d.type AND n.logical_id = d.logical_id AND n.version = d.version"
    " AND (n.decided_ms > d.decided_ms OR (n.decided_ms = d.decided_ms AND n.id > d.id)))"
    " WHERE r.type = f.type AND r.id = f.id AND r.current = 1 AND r.deleted = 0"
    " AND r.version = f.version"
)
_FINALS = ", ".join(f"'{decision}'" for decision in sorted(FINAL_DECISIONS))
_OPEN = f"(d.decision IS NULL OR d.decision NOT IN ({_FINALS}))"
_DECIDED = f"d.decision IN ({_FINALS})"


@dataclass(frozen=True)
class Element:
    """An element at fault or beside it: its path, and its value as JSON; None if it is absent."""

    path: str
    value: str | None


@dataclass(frozen=True)
class Finding:
    """A version with faults, and the newest decision about it."""

    record: str
    version: int
    severity: str
    rules: tuple[str, ...]
    elements: tuple[str, ...]
    found_ms: int
    author: str | None
    patients: tuple[str, ...] = ()
    decision: str | None = None
    reason: str | None = None
    decided_by: str | None = None
    decided_ms: int | None = None

    @property
    def is_final(self) -> bool:
        """Say whether nothing more is to be decided."""
        return self.decision in FINAL_DECISIONS


def _require_steward(requester: Requester) -> None:
    """Raise Forbidden for anybody but a steward in person."""
    if requester.role != "steward":
        raise Forbidden("Findings of quality are for a steward.")


def store_findings(
    connection: Connection, findings: Iterable[Mapping[str, Any]], *, is_all: bool, now_ms: int
) -> int:
    """Store what the lake found of some records; with `is_all`, of all there are.

    A record without rules has no fault any more. Returns how many have one.
    """
    listed = [_check_finding(finding) for finding in findings]
    if is_all:
        keys = {(finding["type"], finding["id"]) for finding in listed}
        rows = connection.execute("SELECT type, id FROM quality_finding").fetchall()
        gone = [(row["type"], row["id"]) for row in rows if (row["type"], row["id"]) not in keys]
    else:
        gone = [(finding["type"], finding["id"]) for finding in listed if not finding["rules"]]
    for key in gone:
        connection.execute("DELETE FROM quality_finding WHERE type = ? AND id = ?", key)
    stored = [finding for finding in listed if finding["rules"]]
    for finding in stored:
        connection.execute(
            "INSERT INTO quality_finding (type, id, version, severity, rules, elements, found_ms)"
            " VALUES (:type, :id, :version, :severity, :rules, :elements, :now)"
            " ON CONFLICT (type, id) DO UPDATE SET version = excluded.version,"
            " severity = excluded.severity, rules = excluded.rules, elements = excluded.elements",
            {
                **{name: finding[name] for name in ("type", "id", "version", "severity")},
                "rules": orjson.dumps(finding["rules"]).decode(),
                "elements": orjson.dumps(finding["elements"]).decode(),
                "now": now_ms,
            },
        )
    return len(stored)


def list_findings(
    connection: Connection,
    requester: Requester,
    *,
    organization: str | None = None,
    rule: str | None = None,
    state: str = "open",
    limit: int,
) -> list[Finding]:
    """Return what waits for a steward, or was decided: the oldest first.

    A steward of an organisation has what that organisation wrote.
    """
    _require_steward(requester)
    conditions, values = _build_conditions(requester)
    if organization is not None:
        conditions.append("r.author = :organization")
        values["organization"] = organization
    if rule is not None:
        # Names of rules are quoted in the list.
        conditions.append("f.rules LIKE :rule")
        values["rule"] = f'%"{rule}"%'
    conditions.append(_OPEN if state == "open" else _DECIDED)
    rows = connection.execute(
        f"SELECT {_COLUMNS}{_FROM} AND {' AND '.join(conditions)}"
        " ORDER BY f.found_ms, f.type, f.id LIMIT :limit",
        {**values, "limit": limit},
    ).fetchall()
    return [_build_finding(row, ()) for row in rows]


def count_open_findings(connection: Connection, requester: Requester) -> int:
    """Return how many findings wait for a steward: those that their list shows."""
    _require_steward(requester)
    conditions, values = _build_conditions(requester)
    where = " AND ".join([_OPEN, *conditions])
    row = connection.execute(f"SELECT count(*){_FROM} AND {where}", values).fetchone()
    return int(row[0])


def find_finding(connection: Connection, requester: Requester, record: str) -> Finding:
    """Return the finding of a record; NotFound where there is none for this steward."""
    _require_steward(requester)
    kind, _, identity = record.partition("/")
    conditions, values = _build_conditions(requester)
    row = connection.execute(
        f"SELECT {_COLUMNS}{_FROM} AND f.type = :type AND f.id = :id"
        + "".join(f" AND {condition}" for condition in conditions),
        {**values, "type": kind, "id": identity},
    ).fetchone()
    if row is None:
        raise NotFound(_NO_FINDING)
    patients = connection.execute(
        "SELECT patient FROM record_patient WHERE pk = ? ORDER BY patient", (row["pk"],)
    ).fetchall()
    return _build_finding(row, tuple(str(named["patient"]) for named in patients))


def pick_elements(connection: Connection, finding: Finding) -> list[Element]:
    """Return the elements that a finding names, as they are stored, and nothing beside them.

    Of another record only what the finding names, and only if it is of the same patient, or the
    other one of two that may be one person.
    """
    bodies: dict[str, Any] = {}
    found = []
    for path in finding.elements[:_MOST_ELEMENTS]:
        match = _PATH.fullmatch(path)
        if match is None:
            continue
        kind, identity, steps = match.groups()
        record = finding.record if kind is None else f"{kind}/{identity}"
        if kind is not None and steps != "id" and not _is_beside(connection, finding, record):
            continue
        if record not in bodies:
            bodies[record] = _read_body(connection, record)
        value = _find_value(bodies[record], steps)
        text = None if value is None else orjson.dumps(value).decode()[:_LONGEST_VALUE]
        found.append(Element(path, text))
    return found


def decide_finding(
    context: RequestContext, record: str, version: int, decision: str, reason: str
) -> None:
    """Keep a decision about a version, for the lake and on record.

    Raises NotFound where a newer version came, Conflict where it was decided.
    """
    requester, now = context.access.requester, context.access.now_ms
    _require_steward(requester)
    with step_transaction(context, "$decide-finding") as step:
        connection = step.connection
        finding = find_finding(connection, requester, record)
        if finding.version != version:
            raise NotFound(_NO_FINDING)
        if finding.is_final:
            raise Conflict("This was decided already.")
        kind, _, identity = record.partition("/")
        decision_id, request_id = new_id(), None
        if decision == "send-back":
            request_id = _ask_author(connection, context, finding, reason)
        connection.execute(
            "INSERT INTO quality_decision (id, type, logical_id, version, decision, reason, person,"
            " display, decided_ms) VALUES (:id, :type, :logical_id, :version, :decision, :reason,"
            " :person, :display, :now)",
            {
                "id": decision_id,
                "type": kind,
                "logical_id": identity,
                "version": version,
                "decision": decision,
                "reason": reason,
                "person": requester.person,
                "display": context.caller.subject.display,
                "now": now,
            },
        )
        mark_quality(connection, kind, identity)
        redo_action = build_quality_decision_redo(connection, decision_id, request_id=request_id)
        append_redo_actions(connection, [redo_action])
        step.patients += finding.patients
        step.entities.append(record)


def _ask_author(
    connection: Connection, context: RequestContext, finding: Finding, reason: str
) -> str:
    """Put a correction request before the organisation that wrote a version; return its id."""
    if finding.author is None or not finding.patients:
        raise Unprocessable("No organisation wrote this for a patient: release it or reject it.")
    patient = finding.patients[0]
    require_no_waiting_correction(connection, patient, finding.record)
    request = insert_correction(
        connection, context, patient,
        record=finding.record, version=finding.version, organization=finding.author, reason=reason,
    )  # fmt: skip
    return request.id


def _build_conditions(requester: Requester) -> tuple[list[str], dict[str, object]]:
    """Return the conditions on the findings that a steward has, with their values."""
    # The platform's own stewards have all.
    if requester.organization in (None, "", load_roles().platform):
        return [], {}
    return ["r.author = :own"], {"own": requester.organization}


def _build_finding(row: Mapping[str, Any], patients: tuple[str, ...]) -> Finding:
    return Finding(
        record=f"{row['type']}/{row['id']}",
        version=int(row["version"]),
        severity=row["severity"],
        rules=tuple(orjson.loads(row["rules"])),
        elements=tuple(orjson.loads(row["elements"])),
        found_ms=int(row["found_ms"]),
        author=row["author"],
        patients=patients,
        decision=row["decision"],
        reason=row["reason"],
        decided_by=row["display"],
        decided_ms=row["decided_ms"],
    )


def _check_finding(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a finding whose members are of their types; Unprocessable for any other."""
    texts = [finding.get("rules"), finding.get("elements")]
    is_sound = (
        finding.get("type") in resource_types()
        and isinstance(finding.get("id"), str)
        and isinstance(finding.get("version"), int)
        and finding.get("severity") in _SEVERITIES
        and all(
            isinstance(listed, list) and all(isinstance(text, str) for text in listed)
            for listed in texts
        )
    )
    if not is_sound:
        raise Unprocessable("A finding has type, id, version, severity, rules and elements.")
    return finding


def _read_body(connection: Connection, record: str) -> Any:
    kind, _, identity = record.partition("/")
    body = read_current_body(connection, kind, identity)
    return None if body is None else parse(body)


def _is_beside(connection: Connection, finding: Finding, record: str) -> bool:
    """Say whether another record is of a patient of the finding."""
    kind, _, identity = record.partition("/")
    rows = connection.execute(
        "SELECT p.patient FROM resource r JOIN record_patient p ON p.pk = r.pk"
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (kind, identity),
    ).fetchall()
    return not {str(row[0]) for row in rows}.isdisjoint(finding.patients)


def _find_value(value: Any, path: str) -> Any:
    """Return the value at a path; None where there is none."""
    for step in path.split("."):
        match = _STEP.fullmatch(step)
        if match is None or not isinstance(value, dict):
            return None
        value = value.get(match[1])
        if match[2] is not None:
            place = int(match[2])
            value = value[place] if isinstance(value, list) and place < len(value) else None
    return value
