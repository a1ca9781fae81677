"""Identity and epochs of a store: to which past a position of the change feed belongs.

A store keeps its id for ever. Its epoch changes when it is put back from a backup: positions after
the backup are given a second time then, to other changes. A reader of the feed says from which
epoch its position is, so that none is missed or taken twice unseen.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from ehr_fhir.errors import Conflict
from ehr_gateway.database import Connection
from ehr_gateway.store.decision_changes import last_decision_change

__all__ = ["StoreEpoch", "begin_epoch", "ensure_epoch", "load_epoch"]

_STORE, _EPOCH, _PAST = "store-id", "epoch", "past-epochs"
# As the past epochs: the last number of a changed decision that is still part of this store.
_PAST_DECISIONS = "past-decisions"
_BYTES = 16


@dataclass(frozen=True)
class StoreEpoch:
    """Which store this is, and which of its pasts it continues."""

    store: str
    epoch: str
    # Earlier epochs, each with the last of its positions that is still part of this store.
    past: Mapping[str, int]
    last: int
    # The same for numbers of changed decisions (`decision_changes`).
    past_decisions: Mapping[str, int] = field(default_factory=dict)
    last_decision: int = 0

    def check_position(self, epoch: str, position: int, decision: int = 0) -> None:
        """Raise Conflict unless a position, read in an epoch, is one of this store's past.

        Readers that name no epoch are held to the last position alone.

        >>> here = StoreEpoch("s", "new", {"old": 70}, last=90)
        >>> here.check_position("old", 70), here.check_position("new", 90)
        (None, None)
        """
        is_present = epoch in ("", self.epoch)
        limit = self.last if is_present else self.past.get(epoch, -1)
        # Of an epoch from before decisions were numbered, none was read.
        decisions = self.last_decision if is_present else self.past_decisions.get(epoch, 0)
        if position > limit or decision > decisions:
            raise Conflict(
                "The store was put back from a backup, or is another one: it does not have all "
                "the changes that were read from it before."
            )


def ensure_epoch(connection: Connection) -> None:
    """Give a new store its id and its first epoch."""
    for name in (_STORE, _EPOCH):
        connection.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT DO NOTHING",
            (name, secrets.token_hex(_BYTES).encode()),
        )


def load_epoch(connection: Connection) -> StoreEpoch:
    """Read the store's identity as a transaction sees it."""
    rows = connection.execute(
        "SELECT name, value FROM setting WHERE name IN (?, ?, ?, ?)",
        (_STORE, _EPOCH, _PAST, _PAST_DECISIONS),
    ).fetchall()
    values = {row["name"]: bytes(row["value"]).decode() for row in rows}
    last = connection.execute("SELECT max(position) FROM resource").fetchone()[0]
    return StoreEpoch(
        values[_STORE],
        values[_EPOCH],
        json.loads(values.get(_PAST, "{}")),
        int(last or 0),
        json.loads(values.get(_PAST_DECISIONS, "{}")),
        last_decision_change(connection),
    )


def begin_epoch(connection: Connection) -> StoreEpoch:
    """Begin a new epoch at the last position there is, for a store put back from a backup."""
    old = load_epoch(connection)
    past = {**old.past, old.epoch: old.last}
    decisions = {**old.past_decisions, old.epoch: old.last_decision}
    new = StoreEpoch(
        old.store, secrets.token_hex(_BYTES), past, old.last, decisions, old.last_decision
    )
    values = (
        (_EPOCH, new.epoch),
        (_PAST, json.dumps(past)),
        (_PAST_DECISIONS, json.dumps(decisions)),
    )
    for name, value in values:
        connection.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value",
            (name, value.encode()),
        )
    return new
