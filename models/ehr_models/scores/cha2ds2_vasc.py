"""CHA2DS2-VASc, 0 to 9, of people with atrial fibrillation alone.

Lip et al., Chest 2010;137:263-272. European guidance of 2024 uses the form without sex, CHA2DS2-VA.
"""

from __future__ import annotations

from ehr_fhir.score_points import ScorePoints

WITH_SEX, WITHOUT_SEX = "cha2ds2-vasc", "cha2ds2-va"


def score_cha2ds2_vasc(
    *,
    age: float | None,
    female: bool | None,
    heart_failure: bool | None,
    hypertension: bool | None,
    diabetes: bool | None,
    stroke: bool | None,
    vascular_disease: bool | None,
    form: str = WITH_SEX,
) -> ScorePoints:
    """Return the points of one person; None is not known, and is never "no".

    `stroke` is stroke, transient ischaemic attack or embolism.
    """
    points = {
        "heart failure": _yes(heart_failure),
        "hypertension": _yes(hypertension),
        "age": None if age is None else (2 if age >= 75 else int(age >= 65)),
        "diabetes": _yes(diabetes),
        "stroke": _yes(stroke, 2),
        "vascular disease": _yes(vascular_disease),
    }
    return ScorePoints(points | ({"sex": _yes(female)} if form == WITH_SEX else {}))


def _yes(answer: bool | None, points: int = 1) -> int | None:
    return None if answer is None else points * answer
