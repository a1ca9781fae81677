"""Index rows of versions that a transaction has stored, written in batches."""

from __future__ import annotations

from typing import NamedTuple

from ehr_gateway.database import Connection
from ehr_gateway.store import full_text
from ehr_gateway.store.index_rows import (
    IndexValues,
    group_by_table,
    insert_index,
    replace_index,
)
from ehr_gateway.store.search_registry import SearchRegistry
from ehr_gateway.store.store import Version
from ehr_gateway.transaction.prepared_resource import PreparedResource

__all__ = ["PendingIndex"]

# As quick as larger batches, in less memory (measured with Bundles when it was introduced).
_INDEX_BATCH = 100


class _Unindexed(NamedTuple):
    """A version whose index rows wait, and whether those of the version before are there."""

    version: Version
    prepared: PreparedResource
    has_index: bool


class PendingIndex:
    """The versions of one transaction whose index rows wait."""

    def __init__(self, connection: Connection, registry: SearchRegistry) -> None:
        self._connection = connection
        self._registry = registry
        # By pk.
        self._versions: dict[int, _Unindexed] = {}

    def add(self, version: Version, prepared: PreparedResource, *, is_new: bool) -> None:
        """Let the rows of a version wait; `is_new`: none of an earlier version are there."""
        waiting = self._versions.get(version.pk)
        has_index = waiting.has_index if waiting else not is_new
        self._versions[version.pk] = _Unindexed(version, prepared, has_index)
        if len(self._versions) >= _INDEX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Write pending index rows in one batch, sorted by key to touch fewer B-tree pages."""
        if not self._versions:
            return
        batch, self._versions = self._versions, {}
        registry = self._registry
        inserted: list[tuple[int, IndexValues]] = []
        replaced: list[tuple[int, IndexValues]] = []
        for pk, (version, prepared, has_index) in batch.items():
            added_rows = registry.extract_rows(version.type, version.body)
            rows = group_by_table(registry.ids, version.type, (*prepared.rows, *added_rows))
            (replaced if has_index else inserted).append((pk, rows))
        insert_index(self._connection, inserted)
        replace_index(self._connection, replaced)
        words = [(version, prepared.words) for version, prepared, _ in batch.values()]
        full_text.write_words(self._connection, words)
