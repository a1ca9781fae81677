"""Identity and epochs of a store: to which past a position of the change feed belongs.

A store keeps its id for ever. Its epoch changes when it is put back from a backup: positions after
the backup are given a second time then, to other changes. A reader of the feed says from which
epoch its position is, so that none is missed or taken twice unseen.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ehr_fhir.errors import Conflict
from ehr_gateway.database import Connection

__all__ = ["StoreEpoch", "begin_epoch", "ensure_epoch", "load_epoch"]

_STORE, _EPOCH, _PAST = "store-id", "epoch", "past-epochs"
_BYTES = 16


@dataclass(frozen=True)
class StoreEpoch:
    """Which store this is, and which of its pasts it continues."""

    store: str
    epoch: str
    # Earlier epochs, each with the last of its positions that is still part of this store.
    past: Mapping[str, int]
    last: int

    def check_position(self, epoch: str, position: int) -> None:
        """Raise Conflict unless a position, read in an epoch, is one of this store's past.

        Readers that name no epoch are held to the last position alone.

        >>> here = StoreEpoch("s", "new", {"old": 70}, last=90)
        >>> here.check_position("old", 70), here.check_position("new", 90)
        (None, None)
        """
        limit = self.last if epoch in ("", self.epoch) else self.past.get(epoch, -1)
        if position > limit:
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
        "SELECT name, value FROM setting WHERE name IN (?, ?, ?)", (_STORE, _EPOCH, _PAST)
    ).fetchall()
    values = {row["name"]: bytes(row["value"]).decode() for row in rows}
    last = connection.execute("SELECT max(position) FROM resource").fetchone()[0]
    past = json.loads(values.get(_PAST, "{}"))
    return StoreEpoch(values[_STORE], values[_EPOCH], past, int(last or 0))


def begin_epoch(connection: Connection) -> StoreEpoch:
    """Begin a new epoch at the last position there is, for a store put back from a backup."""
    old = load_epoch(connection)
    past = {**old.past, old.epoch: old.last}
    new = StoreEpoch(old.store, secrets.token_hex(_BYTES), past, old.last)
    for name, value in ((_EPOCH, new.epoch), (_PAST, json.dumps(past))):
        connection.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value",
            (name, value.encode()),
        )
    return new
