"""Disclosure control of small numbers: named policies applied to tables of counts.

A table is one-dimensional: each row is a group, each count column is controlled by itself. What
this does not see: differences between two count columns, between two tables, or between two
releases; a checker looks for those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ehr_fhir.errors import Invalid

Row = Mapping[str, object]


@dataclass(frozen=True)
class Policy:
    """A rule for counts, by its published name."""

    name: str
    version: str
    # Counts up to this one are suppressed, zero included: that nobody has it may disclose too.
    suppress_up_to: int
    method: Literal["nearest", "midpoint", "exact"]
    base: int
    # (n,k) dominance and p % of sums, degrees of freedom of models: ACRO's defaults (1.0).
    dominance_contributors: int = 2
    dominance_share: float = 0.90
    p_percent: float = 0.10
    degrees_of_freedom: int = 10
    # Of what is no count, a mean or a ratio. Chosen: what tables in print have.
    significant_digits: int = 3

    @property
    def min_persons(self) -> int:
        """Fewest persons that a number may be about, and that two released groups may differ by."""
        return (self.suppress_up_to if self.suppress_up_to >= 0 else self.base) + 1

    @property
    def protection(self) -> int:
        """How wide the interval must be in which a reader can place a small count.

        As wide as the policy leaves it by itself: of 0 to 7 for a hidden one, of 1 to 6 for a
        midpoint.
        """
        return self.suppress_up_to if self.suppress_up_to > 0 else self.base - 1

    @property
    def hides_zero(self) -> bool:
        """Whether a count of nobody is hidden."""
        return self.suppress_up_to >= 0

    def interval(self, published: int) -> tuple[int, int]:
        """Return the smallest and the largest count that is published as this one.

        >>> POLICIES["opensafely-7-5"].interval(10), POLICIES["midpoint-6"].interval(9)
        ((8, 12), (7, 12))
        """
        if self.method == "nearest":
            half = self.base // 2
            return max(published - half, self.suppress_up_to + 1), published + half
        if self.method == "midpoint" and published:
            return published - self.base // 2 + 1, published + self.base // 2
        return published, published

    def control(self, count: int) -> int | None:
        """Return the count as it may be published; None is suppressed.

        >>> [POLICIES["opensafely-7-5"].control(n) for n in (0, 7, 8, 12, 13)]
        [None, None, 10, 10, 15]
        >>> [POLICIES["midpoint-6"].control(n) for n in (0, 1, 6, 7, 13)]
        [0, 3, 3, 9, 15]
        """
        if count <= self.suppress_up_to:
            return None
        if self.method == "nearest":
            return (count + self.base // 2) // self.base * self.base
        if self.method == "midpoint":
            return -(-count // self.base) * self.base - (self.base // 2 if count else 0)
        return count


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        # OpenSAFELY (2026): redact up to 7, then round to the nearest 5.
        Policy("opensafely-7-5", "1", 7, "nearest", 5),
        # OpenSAFELY: the middle of each six; nothing is suppressed, and zero stays zero.
        Policy("midpoint-6", "1", -1, "midpoint", 6),
        # ACRO 1.0: fewer than 10 suppressed, the rest exact.
        Policy("acro-10", "1", 9, "exact", 1),
    )
}


@dataclass(frozen=True)
class ControlRecord:
    """What was done to one released file, for machines (SATRE 3.3.09)."""

    policy: str
    version: str
    threshold: int
    method: str
    base: int
    cells: int
    suppressed: int
    secondary: int
    rounded: int
    sha256: str | None = None

    def released_as(self, sha256: str) -> ControlRecord:
        """Return the record with the hash of the file it belongs to."""
        return replace(self, sha256=sha256)


@dataclass(frozen=True)
class Controlled:
    """A table that may be checked for release: a suppressed count is None."""

    rows: tuple[dict[str, object], ...]
    totals: Mapping[str, int]
    control: ControlRecord

    @property
    def record(self) -> dict[str, object]:
        """The controls as a plain JSON object."""
        return asdict(self.control)


def control_table(policy: str, rows: Sequence[Row], counts: Sequence[str]) -> Controlled:
    """Apply a policy to the count columns of a table.

    Where a policy leaves counts exact and exactly one cell of a column is suppressed, the next
    smallest is suppressed too, so that a total known from elsewhere does not give it away. Totals
    are sums of what is published, never of what is not.
    """
    rule = _policy(policy)
    before = [[_count(row, name) for name in counts] for row in rows]
    primary = [[rule.control(count) for count in cells] for cells in before]
    after = [list(cells) for cells in primary]
    if rule.method == "exact":
        for column in range(len(counts)):
            _suppress_a_second(after, column)
    controlled = tuple(
        {**row, **dict(zip(counts, cells, strict=True))}
        for row, cells in zip(rows, after, strict=True)
    )
    totals = {
        name: sum(cells[column] or 0 for cells in after) for column, name in enumerate(counts)
    }
    return Controlled(controlled, totals, _record(rule, before, primary, after))


def _policy(name: str) -> Policy:
    if name not in POLICIES:
        raise Invalid(f"No disclosure policy has this name; there are {', '.join(POLICIES)}.")
    return POLICIES[name]


def _count(row: Row, name: str) -> int:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Invalid(f"Column {name} holds something that is not a count.")
    return value


def _suppress_a_second(cells: list[list[int | None]], column: int) -> None:
    shown = [row for row in cells if row[column] is not None]
    if len(cells) - len(shown) == 1 and shown:
        # Equal cells: the first, so that the same table always gives the same answer.
        min(shown, key=lambda row: row[column] or 0)[column] = None


def _record(
    rule: Policy,
    before: list[list[int]],
    primary: list[list[int | None]],
    after: list[list[int | None]],
) -> ControlRecord:
    triples = [
        cell
        for rows in zip(before, primary, after, strict=True)
        for cell in zip(*rows, strict=True)
    ]
    return ControlRecord(
        policy=rule.name,
        version=rule.version,
        threshold=rule.suppress_up_to,
        method=rule.method,
        base=rule.base,
        cells=len(triples),
        suppressed=sum(last is None for _, _, last in triples),
        secondary=sum(first is not None and last is None for _, first, last in triples),
        rounded=sum(last is not None and last != count for count, _, last in triples),
    )


__all__ = ["POLICIES", "ControlRecord", "Controlled", "Policy", "control_table"]
