"""Estimated glomerular filtration rate by CKD-EPI 2021 (Inker et al., NEJM 2021;385:1737-1749)."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

UMOL_PER_MG = 88.4
MIN_AGE = 18


def estimate_gfr(creatinine: float | None, age: float | None, sex: str | None) -> float | None:
    """Return mL/min/1.73 m2 from creatinine in mg/dL and age in years; None where it is not known.

    For adults, and for the sexes `female` and `male` alone: the equation knows no other. Not for
    unstable creatinine, pregnancy or extreme muscle mass.

    >>> round(estimate_gfr(0.9, 55, "female"), 3), estimate_gfr(0.9, 55, "unknown")
    (75.499, None)
    """
    if creatinine is None or age is None or not creatinine > 0 or age < MIN_AGE:
        return None
    match sex:
        case "female":
            at, below, factor = 0.7, -0.241, 1.012
        case "male":
            at, below, factor = 0.9, -0.302, 1.0
        case _:
            return None
    share = creatinine / at
    return float(142 * min(share, 1) ** below * max(share, 1) ** -1.200 * 0.9938**age * factor)


def round_gfr(rate: float) -> int:
    """Return the rate as it is shown, in whole numbers, halves upward.

    >>> round_gfr(75.499)
    75
    """
    return int(Decimal(str(rate)).quantize(Decimal(1), ROUND_HALF_UP))
