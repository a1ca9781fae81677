"""qSOFA, 0 to 3 (Singer et al., JAMA 2016;315:801-810): a prompt at the bedside.

Surviving Sepsis 2021 advises against it as the only screening tool.
"""

from __future__ import annotations

from ehr_fhir.score_points import ScorePoints

POSITIVE_FROM = 2


def score_qsofa(
    respiration: float | None, systolic: float | None, coma_scale: int | None
) -> ScorePoints:
    """Return a point each for respiration, systolic pressure and coma scale; None is not known.

    >>> score_qsofa(22, 100, 15).total
    2
    """
    return ScorePoints(
        {
            "respiration": None if respiration is None else int(respiration >= 22),
            "systolic": None if systolic is None else int(systolic <= 100),
            "mentation": None if coma_scale is None else int(coma_scale < 15),
        }
    )
