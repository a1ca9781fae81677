"""Relabel stored versions in the background after the label rules changed, while the store serves.

First every missing label is added, to all versions; only then are the labels removed that no rule
gives any more. So no record is open meanwhile that either the old or the new rules close. Each step
is a short transaction that continues from the position the last one saved, in whichever process;
versions written meanwhile get their labels from the write itself.
"""

from __future__ import annotations

import orjson

from ehr_fhir.json_text import parse
from ehr_gateway.database import Connection, Database
from ehr_privacy.consent import record_facts
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
            "SELECT pk, author, body FROM resource WHERE pk > ? AND deleted = 0"
            " ORDER BY pk LIMIT ?",
            (state["position"], limit),
        ).fetchall()
        changes = []
        for row in rows:
            # A version's content never changes, so its labels can be worked out before the write
            # transaction.
            expected = record_facts(parse(row["body"]), row["author"]).labels
            stored = {
                label["label"]
                for label in connection.execute(
                    "SELECT label FROM record_label WHERE pk = ?", (row["pk"],)
                )
            }
            change = expected - stored if state["phase"] == "adding" else stored - expected
            changes += [(row["pk"], label) for label in sorted(change)]
    statement = (
        "INSERT INTO record_label (pk, label) VALUES (?, ?) ON CONFLICT DO NOTHING"
        if state["phase"] == "adding"
        else "DELETE FROM record_label WHERE pk = ? AND label = ?"
    )
    with database.write_transaction() as connection:
        # Another process may have done this step meanwhile, even by other rules: then drop it.
        if _load_state(connection) == state:
            connection.executemany(statement, changes)
            _save_state(connection, _advance(state, rows[-1]["pk"] if len(rows) == limit else None))
    return True


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
