"""Records of no patient that other records name: which are not there, and who names them.

Whether one is there is read by its key. In which buckets records name one that is not there is
kept in `places`, so that its arrival finds them by key too. Who names one that goes is not kept,
since nearly every record names some: silver is searched for its name then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.data_quality.shared_references import list_shared_types, read_shared_references
from ehr_etl.lake import BUCKET, Lake
from ehr_etl.tables.bucketed import Layout, cut_buckets, iterate_buckets
from ehr_etl.tables.places import (
    build_missing_place,
    find_missing_name,
    missing_place,
    record_key,
    record_keys,
)

__all__ = ["Arrivals", "Referrers", "SharedTargets"]

Row = dict[str, Any]
# More of them are not held in memory: silver is made anew instead. Chosen: some hundred MB.
_MOST_REFERRERS = 50_000
# Of one regular expression: RE2 refuses very long ones. Chosen.
_NAMES_PER_PATTERN = 400
_COLUMNS = ["type", "id", "deleted"]


@dataclass(frozen=True)
class Arrivals:
    """Shared records that are there since a batch, and those that are there no more."""

    arrived: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Referrers:
    """Rows of silver whose references are to be checked again, by `Type/id`."""

    rows: Mapping[str, Row] = field(default_factory=dict)
    # Rows of `places` that told where records name what has arrived now.
    outdated: tuple[Row, ...] = ()
    # Whether there were too many, so that silver is to be made anew.
    is_too_many: bool = False


@dataclass(frozen=True)
class SharedTargets:
    """Which of the records that others name are there, in the tables of a lake."""

    lake: Lake
    layout: Layout
    rules: QualityRules

    @cached_property
    def types(self) -> frozenset[str]:
        """The types of shared records."""
        return list_shared_types(self.rules)

    def has_type(self, key: str) -> bool:
        """Say whether a record, as `Type/id`, is a shared one."""
        return key.partition("/")[0] in self.types

    def list_targets(self, row: Mapping[str, Any]) -> set[str]:
        """Return the shared records that a row of silver names."""
        if row["deleted"] or not row["resource"] or not self.types:
            return set()
        resource = orjson.loads(row["resource"])
        return {target for _, target in read_shared_references(resource, self.rules)}

    def find_missing(self, targets: Collection[str]) -> set[str]:
        """Return those of some shared records that are not in silver."""
        return set(targets) - self._find_present(targets)

    def find_referrers(self, changes: Arrivals, replaced: Collection[str]) -> Referrers:
        """Return the rows that name what came or went, but for those that are `replaced`."""
        outdated = self._read_missing_places(changes.arrived)
        rows: dict[str, Row] = {}
        named = frozenset(filter(None, map(find_missing_name, outdated)))
        searches = (
            (named, {row["place"] for row in outdated}),
            (changes.gone, range(self.layout.buckets) if changes.gone else ()),
        )
        for names, buckets in searches:
            for row in self._search_silver(names, buckets):
                key = record_key(row["type"], row["id"])
                if key not in replaced:
                    rows[key] = row
                if len(rows) > _MOST_REFERRERS:
                    return Referrers(is_too_many=True)
        return Referrers(rows, tuple(outdated))

    def build_missing_places(
        self, row: Mapping[str, Any], missing: Collection[str]
    ) -> Iterable[Row]:
        """Return the rows of `places` for a row of silver that names what is not there."""
        for target in sorted(self.list_targets(row) & set(missing)):
            yield build_missing_place(self.layout, target, row[BUCKET])

    def _find_present(self, targets: Collection[str]) -> set[str]:
        # A record of no patient is in the bucket of its own key.
        buckets = {self.layout.place(target) for target in targets}
        present: set[str] = set()
        if not buckets:
            return present
        table = self.lake.open_table("silver")
        wanted = pa.array(sorted(targets), pa.string())
        for chosen in cut_buckets(buckets):
            files = table.to_pyarrow_dataset(file_pruning_predicate=[(BUCKET, "in", chosen)])
            of_type = pc.field("type").isin(pa.array(sorted(self.types), pa.string()))
            rows = files.to_table(columns=_COLUMNS, filter=of_type & ~pc.field("deleted"))
            keys = record_keys(rows)
            present |= set(keys.filter(pc.is_in(keys, wanted)).to_pylist())
        return present

    def _read_missing_places(self, targets: Collection[str]) -> list[Row]:
        buckets = {missing_place(self.layout, target) for target in targets}
        return [
            row
            for table in iterate_buckets(self.lake, "places", buckets)
            for row in table.to_pylist()
            if find_missing_name(row) in targets
        ]

    def _search_silver(self, targets: Collection[str], buckets: Iterable[int]) -> Iterable[Row]:
        """Yield the rows whose JSON contains the name of one of some records."""
        names = sorted(targets)
        patterns = [
            "|".join(map(re.escape, names[start : start + _NAMES_PER_PATTERN]))
            for start in range(0, len(names), _NAMES_PER_PATTERN)
        ]
        for table in iterate_buckets(self.lake, "silver", buckets):
            texts = table.column("resource")
            is_naming = reduce(
                pc.or_, (pc.match_substring_regex(texts, pattern) for pattern in patterns)
            )
            for row in table.filter(is_naming).to_pylist():
                if not self.list_targets(row).isdisjoint(targets):
                    yield row
