"""What is evaluated: one row per prediction, with its outcome, person, groups, site and instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from ehr_fhir.errors import Invalid, Unprocessable

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]

UNKNOWN_GROUP = "unknown"


@dataclass(frozen=True)
class Sample:
    """Rows with a known outcome. Arrays have one entry per row.

    `outcome` is 0 or 1. `people` numbers the persons from 0. `groups` maps a column such as "sex"
    to each row's group. `when` is the instant of prediction, `sites` the organisation.
    """

    outcome: FloatArray
    people: IntArray
    groups: Mapping[str, ObjectArray] = field(default_factory=dict)
    when: npt.NDArray[np.datetime64] | None = None
    sites: ObjectArray | None = None

    @property
    def rows(self) -> int:
        """Number of predictions."""
        return len(self.outcome)

    @property
    def person_count(self) -> int:
        """Number of persons."""
        return int(self.people.max()) + 1

    def count_people(self, rows: npt.NDArray[np.bool_]) -> int:
        """Count the persons of some rows, given as a mask."""
        return len(np.unique(self.people[rows]))


def build_sample(
    outcome: npt.ArrayLike,
    people: npt.ArrayLike,
    *,
    groups: Mapping[str, npt.ArrayLike] | None = None,
    when: npt.ArrayLike | pd.Series | None = None,
    sites: npt.ArrayLike | None = None,
) -> Sample:
    """Check arrays and return them as a sample; an absent group or site is `unknown`.

    Raises Invalid for arrays of other lengths or outcomes other than 0 and 1, Unprocessable where
    one of the two outcomes does not occur.
    """
    values = np.asarray(outcome, dtype=float)
    _check_length("people", people, len(values))
    if not np.isin(values, (0.0, 1.0)).all():
        raise Invalid("An outcome is neither 0 nor 1: rows without a known outcome are left out.")
    if len(values) == 0 or values.min() == values.max():
        raise Unprocessable("Nothing can be evaluated: both outcomes must occur.")
    columns = {}
    for name, column in (groups or {}).items():
        _check_length(name, column, len(values))
        columns[name] = _name_groups(column)
    instants = None
    if when is not None:
        _check_length("when", when, len(values))
        instants = _to_instants(when)
    if sites is not None:
        _check_length("sites", sites, len(values))
    return Sample(
        outcome=values,
        people=pd.factorize(np.asarray(people))[0].astype(np.int64),
        groups=columns,
        when=instants,
        sites=None if sites is None else _name_groups(sites),
    )


def check_probabilities(name: str, probability: npt.ArrayLike, sample: Sample) -> FloatArray:
    """Return probabilities as an array; Invalid if one is missing or not within 0 and 1."""
    _check_length(name, probability, sample.rows)
    values = np.asarray(probability, dtype=float)
    # NaN is in no range.
    if not ((values >= 0) & (values <= 1)).all():
        raise Invalid(f"A prediction of {name} is missing or no probability.")
    return values


def _check_length(name: str, column: npt.ArrayLike | pd.Series, rows: int) -> None:
    if len(np.asarray(column)) != rows:
        raise Invalid(f"{name} has {len(np.asarray(column))} rows, the outcome has {rows}.")


def _name_groups(column: npt.ArrayLike) -> ObjectArray:
    series = pd.Series(np.asarray(column, dtype=object))
    return series.where(series.notna(), UNKNOWN_GROUP).astype(str).to_numpy(dtype=object)


def _to_instants(when: npt.ArrayLike | pd.Series) -> npt.NDArray[np.datetime64]:
    instants = pd.to_datetime(pd.Series(np.asarray(when)), utc=True)
    if instants.isna().any():
        raise Invalid("A row has no instant of prediction.")
    return instants.dt.tz_convert(None).to_numpy(dtype="datetime64[ns]")
