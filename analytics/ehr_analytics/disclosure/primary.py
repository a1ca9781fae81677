"""Primary disclosure rules: whether a cell may be shown by itself, by its class of statistics.

Threshold, zero cells, dominance (n,k), p %, both sides of a proportion or a quantile, degrees of
freedom. What its neighbours, other tables and earlier releases tell of it is `secondary` and
`differencing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.classes import find_class
from ehr_privacy.disclosure import Policy

__all__ = [
    "MADE_OF_COUNTS", "Reason", "dominates", "find_primary_reason", "is_of_flags", "publish_value",
    "round_significant",
]  # fmt: skip

Amounts = NDArray[np.float64]

# Of zeros and ones, these are counts of persons in other words.
MADE_OF_COUNTS = frozenset({"sum", "mean", "rate", "proportion"})


class Reason(StrEnum):
    """Why a cell is hidden."""

    THRESHOLD = "threshold"
    ZERO = "zero"
    DOMINANCE = "dominance"
    P_PERCENT = "p-percent"
    ONE_SIDED = "one-sided"
    DEGREES_OF_FREEDOM = "degrees-of-freedom"
    # The value is not what the persons behind the cell give, or nothing tells who gives how much.
    NOT_ITS_VALUE = "not-its-value"
    NO_CONTRIBUTIONS = "no-contributions"
    # A class that no rule releases.
    NEEDS_PEOPLE = "needs-people"
    NEVER = "never"
    # Hidden for another cell.
    SECONDARY = "secondary"
    DIFFERENCING = "differencing"


def find_primary_reason(cell: Cell, policy: Policy) -> Reason | None:
    """Return why a cell may not be shown by itself, None when it may."""
    statistic_class = find_class(cell.statistic)
    if statistic_class.way != "rule":
        return Reason.NEVER if statistic_class.way == "never" else Reason.NEEDS_PEOPLE
    if not cell.persons:
        return Reason.ZERO if policy.hides_zero or cell.statistic != "frequency" else None
    if len(cell.persons) < policy.min_persons and (
        policy.hides_zero or cell.statistic != "frequency"
    ):
        return Reason.THRESHOLD
    if cell.statistic == "frequency" and cell.unit == "persons":
        return None
    amounts = cell.amounts
    if amounts is None:
        # Without amounts nobody can say that the value is not one person's.
        return Reason.NO_CONTRIBUTIONS
    return _CHECKS[statistic_class.name](cell, amounts, policy)


def publish_value(cell: Cell, policy: Policy, digits: int | None = 3) -> float | None:
    """Return the value as it may be shown: a count by the policy, others to three digits.

    Without `digits` what is no count is not rounded to any, for a computation that goes on.
    """
    value = _publish_exactly(cell, policy)
    if value is None or digits is None or cell.statistic == "frequency":
        return value
    return round_significant(value, min(digits, policy.significant_digits))


def is_of_flags(amounts: Amounts) -> bool:
    """Say whether amounts are zeros and ones, so that their sum counts persons."""
    return bool(((amounts == 0) | (amounts == 1)).all())


def _publish_exactly(cell: Cell, policy: Policy) -> float | None:
    if cell.value is None:
        return None
    if cell.statistic == "frequency":
        return policy.control(round(cell.value))
    if cell.statistic in MADE_OF_COUNTS or cell.statistic == "survival":
        amounts = cell.amounts
        if amounts is not None and is_of_flags(amounts):
            return _publish_from_counts(cell, int(amounts.sum()), policy)
    return cell.value


def _publish_from_counts(cell: Cell, having: int, policy: Policy) -> float | None:
    """Return a number that is made of counts of persons, from these counts as they are shown.

    The exact share of 57 in 127 would tell that it is not of 55 to 59 in 123 to 127.
    """
    if cell.statistic == "survival" and not having:
        return cell.value
    shown, everybody = policy.control(having), policy.control(len(cell.persons))
    if shown is None or not everybody or cell.value is None:
        return None
    if cell.statistic == "sum":
        return float(shown)
    if cell.statistic == "rate":
        return cell.value * shown / having if having else 0.0
    if cell.statistic == "survival":
        # What is censored stays as it is; without it this is one minus the rounded share.
        lost = (1 - cell.value) * shown / having * len(cell.persons) / everybody
        return max(0.0, 1 - lost)
    return min(shown / everybody, 1.0)


def round_significant(value: float, digits: int) -> float:
    """Round to significant digits.

    >>> round_significant(1485, 3), round_significant(-0.012345, 3)
    (1480.0, -0.0123)
    """
    if not value:
        return 0.0
    return round(float(value), digits - 1 - math.floor(math.log10(abs(value))))


def dominates(amounts: Amounts, policy: Policy) -> Reason | None:
    """Return the rule by which few persons make up a sum: (n,k) dominance or p %."""
    sizes = np.sort(np.abs(amounts))[::-1]
    total = float(sizes.sum())
    if not total:
        return None
    if float(sizes[: policy.dominance_contributors].sum()) > policy.dominance_share * total:
        return Reason.DOMINANCE
    # What the second largest, who knows their own, can tell of the largest.
    if float(sizes[2:].sum()) < policy.p_percent * float(sizes[0]):
        return Reason.P_PERCENT
    return None


def _check_frequency(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    if not _is_close(cell.value, float(amounts.sum())) or (amounts < 0).any():
        return Reason.NOT_ITS_VALUE
    if policy.control(round(float(amounts.sum()))) is None:
        return Reason.THRESHOLD
    return dominates(amounts, policy)


def _check_linear(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    if cell.statistic == "sum" and not _is_close(cell.value, float(amounts.sum())):
        return Reason.NOT_ITS_VALUE
    if cell.statistic in ("mean", "proportion") and not _is_close(
        cell.value, float(amounts.mean())
    ):
        return Reason.NOT_ITS_VALUE
    if cell.statistic == "proportion":
        return _check_sides(amounts != 0, policy)
    return dominates(amounts, policy)


def _check_position(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    if cell.value is None or not amounts.min() <= cell.value <= amounts.max():
        return Reason.NOT_ITS_VALUE
    below, above = int((amounts <= cell.value).sum()), int((amounts >= cell.value).sum())
    return Reason.ONE_SIDED if min(below, above) < policy.min_persons else None


def _check_shape(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    if len(amounts) - 1 < policy.degrees_of_freedom:
        return Reason.DEGREES_OF_FREEDOM
    squares = (amounts - amounts.mean()) ** 2
    is_of_few = float(squares.max()) > policy.dominance_share * float(squares.sum())
    return Reason.DOMINANCE if is_of_few else None


def _check_mode(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    having = int((amounts == cell.value).sum())
    return Reason.ONE_SIDED if not policy.min_persons <= having < len(amounts) else None


def _check_ratio(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    return _check_sides(amounts != 0, policy)


def _check_survival(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    events = int((amounts != 0).sum())
    return Reason.THRESHOLD if 0 < events < policy.min_persons else None


def _check_model(cell: Cell, amounts: Amounts, policy: Policy) -> Reason | None:
    # The amounts of a model's cell are ones: who is in it.
    free = len(amounts) - policy.min_persons
    return Reason.DEGREES_OF_FREEDOM if free < policy.degrees_of_freedom else None


def _check_sides(has_outcome: NDArray[np.bool_], policy: Policy) -> Reason | None:
    """Return a reason where those with, or those without, are few; or where all are alike."""
    for side in (int(has_outcome.sum()), int((~has_outcome).sum())):
        if 0 < side < policy.min_persons or (side == 0 and policy.hides_zero):
            return Reason.ONE_SIDED
    return None


def _is_close(value: float | None, computed: float) -> bool:
    return value is not None and math.isclose(value, computed, rel_tol=1e-9, abs_tol=1e-9)


_CHECKS: Mapping[str, Callable[[Cell, Amounts, Policy], Reason | None]] = {
    "frequencies": _check_frequency,
    "linear-aggregations": _check_linear,
    "position": _check_position,
    "shape": _check_shape,
    "mode": _check_mode,
    "concentration-ratios": lambda cell, amounts, policy: dominates(amounts, policy),
    "calculated-ratios": _check_ratio,
    "hazards-and-survival": _check_survival,
    "models": _check_model,
    "gini": lambda cell, amounts, policy: dominates(amounts, policy),
}
