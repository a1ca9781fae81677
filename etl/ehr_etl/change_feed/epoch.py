"""Epoch of the feed that a lake follows: the store and the past its positions belong to.

A store put back from a backup gives positions a second time, to other changes. A lake that had read
further would miss them, and keep what is no longer there; so it says where it is with every
question, and the gateway refuses what is no part of its past.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from ehr_etl.atomic_files import replace_file
from ehr_etl.lake import Lake
from ehr_fhir.errors import Conflict

__all__ = ["FeedEpoch", "load_epoch", "rebuild_hint", "save_epoch"]

_REBUILD = "Remove the folder {} and run the lake again: it is read anew from the beginning."


@dataclass(frozen=True)
class FeedEpoch:
    """A store and one of its epochs, as the gateway names them."""

    store: str
    epoch: str

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> FeedEpoch | None:
        """Read an answer's headers; None for a gateway that names no epoch."""
        if "X-Feed-Store" not in headers or "X-Feed-Epoch" not in headers:
            return None
        return cls(headers["X-Feed-Store"], headers["X-Feed-Epoch"])

    def check_same_store(self, other: FeedEpoch, lake: Lake) -> None:
        """Raise Conflict when another epoch is another store's."""
        if other.store != self.store:
            raise Conflict(f"The lake was filled from another store. {rebuild_hint(lake)}")


def rebuild_hint(lake: Lake) -> str:
    """Return what an operator does with a lake that no longer fits its store."""
    return _REBUILD.format(lake.root)


def load_epoch(lake: Lake) -> FeedEpoch | None:
    """Return the epoch a lake was last filled from, None before the first run."""
    if not lake.feed_epoch.exists():
        return None
    values = orjson.loads(lake.feed_epoch.read_bytes())
    return FeedEpoch(values["store"], values["epoch"])


def save_epoch(lake: Lake, epoch: FeedEpoch) -> None:
    """Keep the epoch on disk, before anything read in it is landed."""
    replace_file(lake.feed_epoch, orjson.dumps(asdict(epoch)), is_durable=True)
