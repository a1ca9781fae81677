"""Label what is in the store already by label rules that have changed, while it is used.

First every label that is missing is added, to all versions; only then are those taken away that no
rule gives any more. So nothing is open that either rules close. Each step is a short transaction
that begins where the last one ended, whichever process made it; what is written meanwhile gets its
labels from the write itself.
"""

from __future__ import annotations

import orjson

from ehr_fhir.json_text import parse
from ehr_gateway.database import Connection, Database
from ehr_privacy.consent import record_facts
from ehr_privacy.consent.label_rules import load_labels

__all__ = ["mark_empty_store_labelled", "pending", "relabel_step"]

_STATE_SETTING = "label-rules"
# Versions of a step: some tens of milliseconds, so that other writers hardly wait.
_VERSIONS_PER_STEP = 200


def mark_empty_store_labelled(connection: Connection) -> None:
    """Note of a store without records that nothing is left to be done."""
    if connection.execute("SELECT 1 FROM resource LIMIT 1").fetchone() is None:
        _save_state(connection, {**_load_state(connection), "phase": "done"})


def pending(database: Database) -> bool:
    """Say whether records may still lack a label of the rules in use."""
    with database.read_transaction() as connection:
        return _load_state(connection)["phase"] != "done"


def relabel_step(database: Database, most: int = _VERSIONS_PER_STEP) -> bool:
    """Do the next piece of work; say whether there was any."""
    with database.read_transaction() as connection:
        state = _load_state(connection)
        if state["phase"] == "done":
            return False
        rows = connection.execute(
            "SELECT pk, author, body FROM resource WHERE pk > ? AND deleted = 0"
            " ORDER BY pk LIMIT ?",
            (state["position"], most),
        ).fetchall()
        changes = []
        for row in rows:
            # What a version is labelled by does not change, so it need not be the writer's time.
            wanted = record_facts(parse(row["body"]), row["author"]).labels
            has = connection.execute("SELECT label FROM record_label WHERE pk = ?", (row["pk"],))
            found = {one["label"] for one in has.fetchall()}
            change = wanted - found if state["phase"] == "adding" else found - wanted
            changes += [(row["pk"], label) for label in sorted(change)]
    statement = (
        "INSERT INTO record_label (pk, label) VALUES (?, ?) ON CONFLICT DO NOTHING"
        if state["phase"] == "adding"
        else "DELETE FROM record_label WHERE pk = ? AND label = ?"
    )
    with database.write_transaction() as connection:
        # Another process may have gone on meanwhile, by other rules even: then this step is void.
        if _load_state(connection) == state:
            connection.executemany(statement, changes)
            _save_state(connection, _advance(state, rows[-1]["pk"] if len(rows) == most else None))
    return True


def _advance(state: dict[str, object], position: int | None) -> dict[str, object]:
    if position is not None:
        return {**state, "position": position}
    following = {"adding": "removing", "removing": "done"}[str(state["phase"])]
    return {**state, "phase": following, "position": 0}


def _load_state(connection: Connection) -> dict[str, object]:
    """Return how far the rules in use are; other rules than the store was labelled by begin anew.

    A process that still has older rules than the store leaves it alone.
    """
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (_STATE_SETTING,)
    ).fetchone()
    rules = load_labels()
    if row is not None:
        found: dict[str, object] = orjson.loads(row["value"])
        if found["digest"] == rules.digest:
            return found
        if int(str(found["number"])) > rules.number:
            return {**found, "phase": "done"}
    start = {"phase": "adding", "position": 0}
    return {"number": rules.number, "digest": rules.digest, **start}


def _save_state(connection: Connection, state: dict[str, object]) -> None:
    connection.execute(
        "INSERT INTO setting (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_STATE_SETTING, orjson.dumps(state)),
    )
