"""Exposure and outcome: two-by-two tables, drug-outcome pairs, propensity matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.analyses.estimation import MAX_ITERATIONS, Bools, Floats
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.analyses.model_matrix import build_model_matrix
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.two_by_two import COUNT_NAMES, calculate_ratios
from ehr_fhir.errors import Unprocessable

__all__ = ["drug_outcome_pairs", "fit_logistic", "match_nearest", "propensity", "two_by_two"]

_MAX_PAIRS = 200
# Austin (2011): a fifth of the standard deviation of the logit removes most of the bias.
_CALIPER = 0.2


def two_by_two(frame: CohortFrame, table: str, exposure: str, outcome: str) -> list[Cell]:
    """Return the four counts, and the risk and odds ratio with their 95 % intervals (Katz; Woolf).

    The control sees who has the outcome. A ratio with an empty cell does not exist.
    """
    exposed, ill = frame.flags(exposure), frame.flags(outcome)
    everybody = frame.everybody
    pair = (("exposure", exposure), ("outcome", outcome))
    groups = (exposed & ill, exposed & ~ill, ~exposed & ill, ~exposed & ~ill)
    cells = [
        frame.count(table, (*pair, ("measure", name)), people)
        for name, people in zip(COUNT_NAMES, groups, strict=True)
    ]
    figures = calculate_ratios([len(cell.persons) for cell in cells])
    ones, flags = np.ones(len(everybody)), ill.astype(float)
    for name in ("risk ratio", "odds ratio"):
        labels = (*pair, ("measure", name))
        statistic, value = name.replace(" ", "-"), figures.get(name)
        cells.append(frame.cell(table, labels, statistic, value, "ratio", everybody, flags))
        for limit in (f"{name}, lower limit", f"{name}, upper limit") if name in figures else ():
            labels, value = (*pair, ("measure", limit)), figures[limit]
            cells.append(
                frame.cell(table, labels, "confidence-limit", value, "ratio", everybody, ones)
            )
    return cells


def drug_outcome_pairs(
    frame: CohortFrame, table: str, drugs: Sequence[str], outcomes: Sequence[str]
) -> list[Cell]:
    """Return the two-by-two table of every drug and every outcome; each is a column yes or no."""
    if not 0 < len(drugs) * len(outcomes) <= _MAX_PAIRS:
        raise Unprocessable(f"There are 1 to {_MAX_PAIRS} pairs of drug and outcome.")
    return [
        cell
        for drug in drugs
        for outcome in outcomes
        for cell in two_by_two(frame, table, drug, outcome)
    ]


def propensity(
    frame: CohortFrame, table: str, treatment: str, outcome: str, columns: Sequence[str]
) -> list[Cell]:
    """Match treated people to untreated by propensity; return balance, and the effect among them.

    Logistic regression; each treated person, the highest score first, gets the nearest untreated
    one within 0.2 standard deviations of the logit, without replacement (Austin 2011). Balance is
    the standardised mean difference before and after; the effect is the risk difference.
    """
    treated, ill = frame.flags(treatment), frame.flags(outcome)
    matrix = build_model_matrix(frame, columns)
    known, values = matrix.complete, matrix.values
    if not matrix.terms or treated[known].all() or not treated[known].any():
        raise Unprocessable("Propensity needs treated and untreated people, and columns that vary.")
    places = np.flatnonzero(known)
    logits = fit_logistic(values[known], treated[known])
    pairs = match_nearest(logits, treated[known])
    matched = np.zeros(len(treated), dtype=bool)
    matched[places[pairs.ravel()]] = True
    ones = np.ones(len(treated))
    cells = []
    for phase, mask in (("before", known), ("after", matched)):
        for group, members in (("treated", mask & treated), ("untreated", mask & ~treated)):
            labels = (("row", "people"), ("phase", phase), ("measure", group))
            cells.append(frame.count(table, labels, members))
        for number, term in enumerate(matrix.terms):
            difference = _standardised_difference(values[:, number], treated, mask, known)
            labels = (("row", term), ("phase", phase), ("measure", "standardised difference"))
            cells.append(frame.cell(table, labels, "coefficient", difference, "", mask, ones))
        labels = (("row", outcome), ("phase", phase), ("measure", "risk difference"))
        effect = _risk(ill, mask & treated) - _risk(ill, mask & ~treated)
        # What each gives to the difference, so that the control can make it of rounded counts.
        amounts = np.where(treated, 1.0, -1.0) * ill.astype(float)
        cells.append(frame.cell(table, labels, "risk-difference", effect, "", mask, amounts))
    return cells


def fit_logistic(values: Floats, happened: Bools) -> Floats:
    """Return the fitted logits of a logistic regression by iterated weighted least squares."""
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    rows = np.column_stack([np.ones(len(scaled)), scaled])
    coefficients = np.zeros(rows.shape[1])
    for _ in range(MAX_ITERATIONS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ coefficients, -30, 30)))
        weights = np.maximum(chance * (1 - chance), 1e-12)
        information = rows.T @ (rows * weights[:, None])
        step = np.linalg.pinv(information) @ (rows.T @ (happened - chance))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-8:
            return np.asarray(rows @ coefficients)
    raise Unprocessable("The columns tell who is treated: nobody is comparable.")


def match_nearest(logits: Floats, treated: Bools, caliper: float = _CALIPER) -> NDArray[np.int64]:
    """Return pairs of places, treated and untreated, greedily.

    A pair differs by at most `caliper` standard deviations of the logits; `math.inf` pairs all.
    """
    most = caliper * float(logits.std(ddof=1))
    untreated = np.flatnonzero(~treated)
    order = untreated[np.argsort(logits[untreated], kind="stable")]
    scores = logits[order]
    # Places from 1; a used one links to its neighbour, so that the nearest free one is found fast.
    left, right = np.arange(len(order) + 1), np.arange(len(order) + 2)
    pairs = []
    candidates = np.flatnonzero(treated)
    for person in candidates[np.argsort(-logits[candidates], kind="stable")]:
        place = int(np.searchsorted(scores, logits[person]))
        below, above = _find_free_place(left, place), _find_free_place(right, place + 1)
        free = [n for n in (below, above) if 1 <= n <= len(order)]
        if not free:
            break
        best = min(free, key=lambda n: abs(scores[n - 1] - logits[person]))
        if abs(scores[best - 1] - logits[person]) > most:
            continue
        pairs.append((person, order[best - 1]))
        left[best], right[best] = best - 1, best + 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _find_free_place(links: NDArray[np.int64], place: int) -> int:
    """Return where the links from a place end, and shorten the path to it (union-find)."""
    end = place
    while links[end] != end:
        end = int(links[end])
    while links[place] != end:
        links[place], place = end, int(links[place])
    return end


def _standardised_difference(values: Floats, treated: Bools, mask: Bools, whole: Bools) -> float:
    """Return the difference of means over the treated people's deviation before matching."""
    deviation = float(values[whole & treated].std(ddof=1)) if (whole & treated).sum() > 1 else 0.0
    if not deviation or not (mask & treated).any() or not (mask & ~treated).any():
        return float("nan")
    return float(values[mask & treated].mean() - values[mask & ~treated].mean()) / deviation


def _risk(ill: Bools, mask: Bools) -> float:
    return float(ill[mask].mean()) if mask.any() else float("nan")
