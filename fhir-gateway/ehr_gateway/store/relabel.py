"""Relabel stored versions in the background after the label rules changed, while the store serves.

First every missing label is added, to all versions; only then are the labels removed that no rule
gives any more. So no record is open meanwhile that either the old or the new rules close. Each step
is a short transaction that continues from the position the last one saved, in whichever process;
versions written meanwhile get their labels from the write itself. What names a relabelled record
inherits from it in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson

from ehr_fhir.json_text import parse
from ehr_fhir.resource_links import list_references
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.store.inheritance import (
    WrittenRecord,
    read_outward_facts,
    settle_inheritance,
)
from ehr_gateway.store.parameter_ids import read_parameter_ids
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns, update_facts
from ehr_privacy.consent import Record, record_facts
from ehr_privacy.consent.held_facts import restate_labels
from ehr_privacy.consent.inherited_facts import (
    FactNode,
    FactTargets,
    fact_targets,
    outward_facts,
)
from ehr_privacy.consent.label_rules import load_labels

__all__ = ["is_relabelling_pending", "mark_empty_store_labelled", "relabel_step"]

_STATE_SETTING = "label-rules"
# A step takes some tens of milliseconds, so that other writers hardly wait.
_VERSIONS_PER_STEP = 200


def mark_empty_store_labelled(connection: Connection) -> None:
    """Mark a store without records as labelled by the rules in use."""
    if connection.execute("SELECT 1 FROM resource LIMIT 1").fetchone() is None:
        _save_state(connection, {**_load_state(connection), "phase": "done"})


def is_relabelling_pending(database: Database) -> bool:
    """Say whether records may still lack a label of the rules in use."""
    with database.read_transaction() as connection:
        return _load_state(connection)["phase"] != "done"


def relabel_step(database: Database, limit: int = _VERSIONS_PER_STEP) -> bool:
    """Relabel one batch of up to `limit` versions; return whether there was any work."""
    with database.read_transaction() as connection:
        state = _load_state(connection)
        if state["phase"] == "done":
            return False
        rows = connection.execute(
            "SELECT r.position, r.body,"  # noqa: S608
            f" {facts_columns(connection.dialect)} FROM resource r"
            " WHERE r.position > ? AND r.deleted = 0 ORDER BY r.position LIMIT ?",
            (state["position"], limit),
        ).fetchall()
        # A version's content never changes, so its labels can be worked out before the write
        # transaction.
        relabelled = [
            version
            for version in map(_stated_version, rows)
            if version.changed_labels(str(state["phase"]))
        ]
    with database.write_transaction() as connection:
        # Another process may have done this step meanwhile, even by other rules: then drop it.
        if _load_state(connection) == state:
            _relabel(connection, relabelled, str(state["phase"]))
            _save_state(
                connection, _advance(state, rows[-1]["position"] if len(rows) == limit else None)
            )
    return True


@dataclass(frozen=True)
class _StatedVersion:
    """The labels that a version states by the rules in use, and those its rows have."""

    position: int
    record: Record
    labels: frozenset[str]
    targets: FactTargets

    @property
    def own_labels(self) -> frozenset[str]:
        """The labels of its rows that no third party and no reference added."""
        return self.record.labels - self.record.added_labels

    def changed_labels(self, phase: str) -> frozenset[str]:
        """Return the labels that a phase adds or takes away."""
        if phase == "adding":
            return self.labels - self.own_labels
        return self.own_labels - self.labels


def _stated_version(row: Row) -> _StatedVersion:
    resource = parse(row["body"])
    references = list_references(resource)
    names = [reference for _, reference in references]
    labels = record_facts(resource, row["author"], references=names).labels
    facts = StoredFacts.from_row(row)
    return _StatedVersion(
        row["position"], facts.record, labels, fact_targets(facts.record, references)
    )


def _relabel(connection: Connection, versions: list[_StatedVersion], phase: str) -> None:
    """Write the labels of some versions, and with a current one's those of what names it."""
    written: list[WrittenRecord] = []
    for version in versions:
        # Read again: facts may have been held beside it since.
        row = connection.execute(
            f"SELECT r.pk, r.current, {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
            " WHERE r.position = ?",
            (version.position,),
        ).fetchone()
        before = StoredFacts.from_row(row)
        # What is held beside a resource concerns its current version.
        held = before.held if row["current"] else frozenset()
        own_labels = before.record.labels - before.record.added_labels
        stated = version.labels | own_labels if phase == "adding" else version.labels
        record = restate_labels(before.record, held, stated)
        if not row["current"]:
            # What third parties had said of an older version is kept in its rows alone.
            added = before.record.added_labels - stated
            record = replace(record, labels=stated | added, added_labels=added)
        update_facts(connection, row["pk"], before.record, record)
        if row["current"]:
            node = FactNode(record, held, version.targets)
            handed_on = outward_facts(before.record, before.held)
            written.append(WrittenRecord(row["pk"], node, handed_on))
    if written:
        targets = {key for record in written for key in record.node.targets.all}
        boundary = read_outward_facts(connection, targets)
        settle_inheritance(connection, read_parameter_ids(connection), written, boundary)


def _advance(state: dict[str, object], position: int | None) -> dict[str, object]:
    if position is not None:
        return {**state, "position": position}
    following = {"adding": "removing", "removing": "done"}[str(state["phase"])]
    return {**state, "phase": following, "position": 0}


def _load_state(connection: Connection) -> dict[str, object]:
    """Return the relabelling's state; rules that the store was not labelled by start it anew.

    A process that still runs older rules than the store's leaves the store alone.
    """
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (_STATE_SETTING,)
    ).fetchone()
    rules = load_labels()
    if row is not None:
        state: dict[str, object] = orjson.loads(row["value"])
        if state["digest"] == rules.digest:
            return state
        if int(str(state["number"])) > rules.number:
            return {**state, "phase": "done"}
    start = {"phase": "adding", "position": 0}
    return {"number": rules.number, "digest": rules.digest, **start}


def _save_state(connection: Connection, state: dict[str, object]) -> None:
    connection.execute(
        "INSERT INTO setting (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_STATE_SETTING, orjson.dumps(state)),
    )
