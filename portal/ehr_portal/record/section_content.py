"""One section of a record with what was found of it: rows or trends, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.record.rows import RecordRow
from ehr_portal.record.sections import Section
from ehr_portal.record.trends import Trend

__all__ = ["SectionContent"]

# Rows of the past on the first page. Chosen: enough to say that there is a past.
MAX_PAST_ROWS = 3


@dataclass(frozen=True)
class SectionContent:
    """One section with what was found in it: rows, newest first, or else trends."""

    section: Section
    rows: tuple[RecordRow, ...] = ()
    trends: tuple[Trend, ...] = ()
    # Statements such as "no known allergies", apart from what is known.
    none_known: tuple[RecordRow, ...] = ()
    # The reader's token does not cover these records: nobody can say whether there are any.
    is_unavailable: bool = False
    # There are more than were fetched.
    is_incomplete: bool = False
    # All that holds now was fetched, though not all of the past.
    has_all_current: bool = False
    # How many there are in all, of a section of which only the newest are fetched; statements that
    # there is none are not counted.
    total: int | None = None
    now: datetime | None = None

    @property
    def current(self) -> tuple[RecordRow, ...]:
        """Return what holds now, of a section that tells that apart; else all."""
        if not self.section.splits_past:
            return self.rows
        return tuple(row for row in self.rows if row.is_current)

    @property
    def past(self) -> tuple[RecordRow, ...]:
        """Return what holds no longer, of a section that tells that apart."""
        if not self.section.splits_past:
            return ()
        return tuple(row for row in self.rows if not row.is_current)

    @property
    def preview(self) -> list[tuple[RecordRow, int]]:
        """Return the first page's rows, each with how many rows have its title."""
        is_whole = self.has_all_current or self.whole_size == self.size
        return self._first_rows(self.current, self.section.preview_size, is_whole)

    @property
    def past_preview(self) -> list[tuple[RecordRow, int]]:
        """Return what the first page shows of the past, after all that holds now."""
        size = self.section.preview_size
        if size is not None:
            size = min(MAX_PAST_ROWS, max(0, size - len(self.preview)))
        return self._first_rows(self.past, size, self.whole_size == self.size)

    @property
    def trend_preview(self) -> tuple[Trend, ...]:
        """Return the first page's trends; what is critical now is never cut."""
        critical = sum(trend.is_critical_now(self.now) for trend in self.trends)
        size = self.section.preview_size
        return self.trends if size is None else self.trends[: max(size, critical)]

    @property
    def size(self) -> int:
        """Return how many lines the section has in all."""
        return len(self.trends) if self.section.has_trends else len(self.rows)

    @property
    def whole_size(self) -> int:
        """Return how many there are, also of those that were not fetched."""
        return self.size if self.total is None else self.total

    @property
    def past_size(self) -> int:
        """Return how many hold no longer, also of those that were not fetched."""
        return self.whole_size - len(self.current)

    @property
    def has_older_results(self) -> bool:
        """Return whether there are more results than its trends are made of."""
        return self.whole_size > sum(len(trend.points) for trend in self.trends)

    @property
    def is_cut(self) -> bool:
        """Return whether the first page shows less than there is."""
        shown = len(self.preview) + len(self.past_preview)
        return bool(self.size and self.section.has_trends) or self.whole_size > shown

    @property
    def is_contradicted(self) -> bool:
        """Return whether somebody stated that there is none, and there is."""
        return bool(self.none_known and self.current)

    def is_withheld(self, domains: Sequence[str]) -> bool:
        """Return whether something of the withheld data domains would stand here."""
        return not set(domains).isdisjoint(self.section.domains)

    def _first_rows(
        self, rows: tuple[RecordRow, ...], size: int | None, is_whole: bool
    ) -> list[tuple[RecordRow, int]]:
        if not self.section.groups_titles:
            return [(row, 1) for row in rows[:size]]
        kinds = [self._kind_of(row) for row in rows]
        counts = Counter(kinds)
        newest = {kind: row for kind, row in zip(reversed(kinds), reversed(rows), strict=True)}
        # Of what was not fetched nobody knows the title, so nothing is counted by it.
        first = [
            (row, counts[kind] if is_whole else 1)
            for kind, row in zip(kinds, rows, strict=True)
            if newest[kind] is row
        ]
        return first[:size]

    def _kind_of(self, row: RecordRow) -> str:
        """Return what rows have to share to be one line: of what holds now, all that they say."""
        if self.section.splits_past and row.is_current:
            return row.line
        return str(row.title)
