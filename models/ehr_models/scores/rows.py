"""The published scores over frames of many rows, equal to the functions of one (by test).

Each answers with a column per part, `total` (NaN where a part is not known) and `lower_bound`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ehr_fhir import news2
from ehr_models.scores import hospital, lace
from ehr_models.scores.charlson import CLASSIC, find_conditions, get_weights, list_worse
from ehr_models.scores.classes import Classes

FloatArray = npt.NDArray[np.float64]


def score_news2_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return NEWS2 of each row: the seven parameters, `total`, `lower_bound`, `has_single_3`.

    `frame` has the columns of `news2.Signs`: numbers; `oxygen` and `uses_scale_2` as 1 or 0;
    `consciousness` a letter of ACVPU. NaN or None is not measured.
    """
    points: dict[str, FloatArray] = {
        name: _map_distinct(frame[name], partial(news2.find_points, name))
        for name in news2.PARAMETERS
        if name != news2.SATURATION
    }
    points[news2.SATURATION] = _find_saturation_points(frame)
    ordered = pd.DataFrame({name: points[name] for name in news2.PARAMETERS}, index=frame.index)
    return _add_up(ordered).assign(has_single_3=ordered.eq(3).any(axis=1))


def score_lace_rows(
    frame: pd.DataFrame, settings: lace.LaceSettings = lace.DEFAULTS
) -> pd.DataFrame:
    """Return LACE of each stay; columns `days`, `acute` (1 or 0), `comorbidity`, `visits`."""
    points = {
        lace.LENGTH: _classify(frame["days"], lace.LENGTH_CLASSES[settings.points]),
        lace.ACUTE: _points_of_yes(frame["acute"], lace.ACUTE_POINTS),
        lace.COMORBIDITY: _classify(frame["comorbidity"], lace.COMORBIDITY_CLASSES),
        lace.EMERGENCY: _classify(frame["visits"], lace.VISIT_CLASSES),
    }
    return _add_up(pd.DataFrame(points, index=frame.index))


def score_hospital_rows(
    frame: pd.DataFrame, settings: hospital.HospitalSettings = hospital.DEFAULTS
) -> pd.DataFrame:
    """Return HOSPITAL of each stay, with the parts of the form.

    Columns as the arguments of `score_hospital`: `haemoglobin` (g/dL), `sodium` (mmol/L),
    `admissions`, `days`; `oncology`, `procedure`, `urgent` as 1 or 0.
    """
    admissions = hospital.ADMISSION_CLASSES[settings.version]
    points = {
        hospital.HAEMOGLOBIN: _points_below(
            frame["haemoglobin"], hospital.HAEMOGLOBIN_BELOW, hospital.HAEMOGLOBIN_LIMITS
        ),
        hospital.ONCOLOGY: _points_of_yes(frame["oncology"], hospital.ONCOLOGY_POINTS),
        hospital.SODIUM: _points_below(
            frame["sodium"], hospital.SODIUM_BELOW, hospital.SODIUM_LIMITS
        ),
        hospital.PROCEDURE: _points_of_yes(frame["procedure"], 1),
        hospital.TYPE: _points_of_yes(frame["urgent"], 1),
        hospital.ADMISSIONS: _classify(frame["admissions"], admissions),
        hospital.LENGTH: _classify(frame["days"], hospital.LENGTH_CLASSES),
    }
    return _add_up(pd.DataFrame(points, index=frame.index)[list(settings.parts)])


def score_charlson_rows(
    codes: pd.DataFrame, owners: Iterable[object], version: str = CLASSIC
) -> pd.DataFrame:
    """Return Charlson's score of each owner: `total`, `lower_bound`, and `unread` codes.

    `codes` has the columns `owner` and `code` (ICD-10). An owner without any code has no problem
    list: no total, and 0 as the lower bound.
    """
    weights, worse = get_weights(version), list_worse()
    problems = {code: find_conditions([code]) for code in codes["code"].unique()}
    distinct = codes[["owner", "code"]].drop_duplicates()
    unread = distinct["code"].map(lambda code: problems[code].unread).groupby(distinct["owner"])
    means = distinct.assign(condition=distinct["code"].map(lambda code: problems[code].conditions))
    has = (
        means[["owner", "condition"]]
        .explode("condition")
        .dropna()
        .drop_duplicates()
        .assign(there=1)
        .pivot(index="owner", columns="condition", values="there")
        .reindex(columns=sorted({*weights, *worse, *worse.values()}))
        .fillna(0)
    )
    for milder, condition in worse.items():
        has[milder] = has[milder].where(has[condition] == 0, 0)
    index = pd.Index(list(owners))
    bound = has[list(weights)].mul(pd.Series(weights), axis=1).sum(axis=1)
    frame = pd.DataFrame(
        {
            "lower_bound": bound.reindex(index).fillna(0.0).astype(float),
            "unread": unread.sum().reindex(index),
        }
    )
    return frame.assign(total=frame["lower_bound"].where(frame["unread"].eq(0)))


def _add_up(points: pd.DataFrame) -> pd.DataFrame:
    parts = list(points.columns)
    return points.assign(
        total=points[parts].sum(axis=1, skipna=False), lower_bound=points[parts].sum(axis=1)
    )


def _classify(values: pd.Series[Any], classes: Classes) -> FloatArray:
    numbers = values.to_numpy(dtype=float)
    known = numbers >= 0
    found = np.digitize(np.where(known, numbers, 0.0), classes.bounds)
    return np.where(known, np.asarray(classes.points, dtype=float)[found], np.nan)


def _points_of_yes(values: pd.Series[Any], points: int) -> FloatArray:
    answers = values.to_numpy(dtype=float)
    return np.where(np.isnan(answers), np.nan, points * answers)


def _points_below(values: pd.Series[Any], line: float, limits: Sequence[float]) -> FloatArray:
    numbers = values.to_numpy(dtype=float)
    usable = (numbers >= limits[0]) & (numbers <= limits[1])
    return np.where(usable, (numbers < line).astype(float), np.nan)


def _map_distinct(values: pd.Series[Any], find: Callable[[Any], int | None]) -> FloatArray:
    """Return what a function says of each value; it is asked once of each distinct one."""
    numbers, distinct = pd.factorize(values)
    points = [find(value) for value in distinct]
    # -1 stands for what is missing: the last place.
    table = np.asarray([np.nan if p is None else p for p in points] + [np.nan], dtype=float)
    found: FloatArray = table[numbers]
    return found


def _find_saturation_points(frame: pd.DataFrame) -> FloatArray:
    """Return the points of the saturation, on the scale of each row."""
    found = np.full(len(frame), np.nan)
    oxygen = frame["oxygen"].astype(float).to_numpy()
    scale_2 = frame["uses_scale_2"].astype(float).fillna(0).to_numpy() > 0
    for on_oxygen in (None, False, True):
        has_it = np.isnan(oxygen) if on_oxygen is None else oxygen == float(on_oxygen)
        for uses_scale_2 in (False, True):
            rows = has_it & (scale_2 == uses_scale_2)
            if rows.any():
                found[rows] = _map_distinct(
                    frame.loc[rows, "saturation"],
                    partial(
                        news2.find_saturation_points,
                        oxygen=on_oxygen,
                        uses_scale_2=uses_scale_2,
                    ),
                )
    return found
