"""Evaluations that fit the model anew: over time, across organisations, by size, with gaps.

In each, no person is on both sides: the rows of who is tested are taken out of what is learnt from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ehr_fhir.errors import Invalid
from ehr_models.evaluation.bootstrap import RESAMPLES, SEED, Interval, bootstrap, to_interval
from ehr_models.evaluation.calibration import fit_intercept, fit_weak_calibration
from ehr_models.evaluation.discrimination import AUROC, AVERAGE_PRECISION, RankingStatistic
from ehr_models.evaluation.performance import BrierStatistic
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample
from ehr_models.evaluation.subgroups import MINIMUM_PEOPLE

# A fitted model: from rows of features to the probability of the outcome.
Predict = Callable[[pd.DataFrame], FloatArray]
# From features, outcomes and persons (who must not be split when it tunes) to a fitted model.
Fit = Callable[[pd.DataFrame, FloatArray, IntArray], Predict]
Mask = npt.NDArray[np.bool_]

TEST_SHARE = 0.25
LEARNING_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
HIDDEN_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Validation:
    """A model that learnt from some rows, judged on others."""

    # What was left for the test: an organisation, a share, a period.
    name: str
    learnt_from: int
    rows: int
    people: int
    outcomes: int
    auroc: Interval
    average_precision: Interval
    brier: Interval
    in_the_large: Interval
    slope: Interval


@dataclass(frozen=True)
class ExternalValidation:
    """Each organisation left out once; those with too few people of one outcome are only named."""

    sites: tuple[Validation, ...]
    too_few: tuple[str, ...]


@dataclass(frozen=True)
class LearningPoint:
    """A model that learnt from a share of the persons, judged on these and on others."""

    share: float
    people: int
    learnt_auroc: float
    test: Validation


@dataclass(frozen=True)
class HiddenPoint:
    """The same model when a share of the feature values is hidden at random."""

    share: float
    auroc: Interval
    mean_predicted: float


@dataclass(frozen=True)
class Holdout:
    """Learning curve, and robustness to missing values, tested on one fixed quarter of persons."""

    learning_curve: tuple[LearningPoint, ...]
    missingness: tuple[HiddenPoint, ...]


def validate_over_time(
    features: pd.DataFrame,
    sample: Sample,
    fit: Fit,
    *,
    horizon: pd.Timedelta,
    test_share: float = TEST_SHARE,
    resamples: int = RESAMPLES,
) -> Validation | None:
    """Learn from what was known at a day, test on the rows after it; None if a side has too few.

    The day leaves the latest `test_share` of the rows for the test. A row is learnt from only if
    its horizon had passed by that day, and its person is not tested.
    """
    if sample.when is None:
        raise Invalid("Validation over time needs the instant of each prediction.")
    cut = np.sort(sample.when)[int(sample.rows * (1 - test_share))]
    test = sample.when >= cut
    train = (sample.when + horizon.to_timedelta64() <= cut) & ~_of_same_people(sample, test)
    name = f"from {pd.Timestamp(cut):%Y-%m-%d}"
    return _validate(name, features, sample, fit, train, test, resamples)


def validate_across_sites(
    features: pd.DataFrame, sample: Sample, fit: Fit, *, resamples: int = RESAMPLES
) -> ExternalValidation:
    """Learn from all organisations but one, test on that one, for each in turn."""
    if sample.sites is None:
        raise Invalid("Validation across organisations needs the organisation of each row.")
    validations, too_few = [], []
    for site in sorted(set(sample.sites)):
        test = sample.sites == site
        train = ~_of_same_people(sample, test)
        validation = _validate(site, features, sample, fit, train, test, resamples)
        if validation is None:
            too_few.append(site)
        else:
            validations.append(validation)
    return ExternalValidation(tuple(validations), tuple(too_few))


def measure_holdout(
    features: pd.DataFrame, sample: Sample, fit: Fit, *, resamples: int = RESAMPLES
) -> Holdout | None:
    """Learn from growing shares of three quarters of the persons, test on the rest; with gaps too.

    None if either side has too few people of one outcome.
    """
    generator = np.random.default_rng(SEED)
    place = generator.permutation(sample.person_count) / sample.person_count
    test = (place < TEST_SHARE)[sample.people]
    points = []
    predict: Predict | None = None
    for share in LEARNING_SHARES:
        train = ~test & (place < TEST_SHARE + share * (1 - TEST_SHARE))[sample.people]
        if not (_has_enough(sample, train) and _has_enough(sample, test)):
            continue
        predict = _fit(features, sample, fit, train)
        learnt = _take(sample, train)
        points.append(
            LearningPoint(
                share=share,
                people=learnt.person_count,
                learnt_auroc=_auroc(learnt, _predict(predict, features[train])).value,
                test=_judge(
                    f"{share:.0%}", learnt.rows, _take(sample, test),
                    _predict(predict, features[test]), resamples,
                ),
            )
        )  # fmt: skip
    if predict is None:
        return None
    missingness = _hide(features[test], _take(sample, test), predict, resamples)
    return Holdout(tuple(points), missingness)


def _hide(
    features: pd.DataFrame, sample: Sample, predict: Predict, resamples: int
) -> tuple[HiddenPoint, ...]:
    # A value hidden at one share is hidden at each larger one: the points differ by what is added.
    chance = np.random.default_rng(SEED).random(features.shape)
    points = []
    for share in HIDDEN_SHARES:
        predicted = _predict(predict, features.mask(chance < share))
        points.append(
            HiddenPoint(share, _auroc(sample, predicted, resamples), float(predicted.mean()))
        )
    return tuple(points)


def _validate(
    name: str,
    features: pd.DataFrame,
    sample: Sample,
    fit: Fit,
    train: Mask,
    test: Mask,
    resamples: int,
) -> Validation | None:
    if not (_has_enough(sample, train) and _has_enough(sample, test)):
        return None
    predict = _fit(features, sample, fit, train)
    predicted = _predict(predict, features[test])
    return _judge(name, int(train.sum()), _take(sample, test), predicted, resamples)


def _judge(
    name: str, learnt_from: int, sample: Sample, predicted: FloatArray, resamples: int
) -> Validation:
    ranking, brier = bootstrap(
        sample.person_count,
        [
            RankingStatistic(sample.outcome, predicted, sample.people),
            BrierStatistic(sample, predicted),
        ],
        resamples,
    )
    return Validation(
        name=name,
        learnt_from=learnt_from,
        rows=sample.rows,
        people=sample.person_count,
        outcomes=int(sample.outcome.sum()),
        auroc=to_interval(ranking[:, 0, AUROC]),
        average_precision=to_interval(ranking[:, 0, AVERAGE_PRECISION]),
        brier=to_interval(brier[:, 0]),
        in_the_large=fit_intercept(sample.outcome, predicted, sample.people),
        slope=fit_weak_calibration(sample.outcome, predicted, sample.people)[1],
    )


def _auroc(sample: Sample, predicted: FloatArray, resamples: int = 0) -> Interval:
    statistic = RankingStatistic(sample.outcome, predicted, sample.people)
    return to_interval(bootstrap(sample.person_count, [statistic], resamples)[0][:, 0, AUROC])


def _fit(features: pd.DataFrame, sample: Sample, fit: Fit, train: Mask) -> Predict:
    return fit(features[train], sample.outcome[train], sample.people[train])


def _predict(predict: Predict, features: pd.DataFrame) -> FloatArray:
    return np.asarray(predict(features), dtype=float)


def _take(sample: Sample, chosen: Mask) -> Sample:
    people = pd.factorize(sample.people[chosen])[0].astype(np.int64)
    return Sample(sample.outcome[chosen], people)


def _of_same_people(sample: Sample, chosen: Mask) -> Mask:
    is_chosen = np.zeros(sample.person_count, dtype=bool)
    is_chosen[sample.people[chosen]] = True
    return is_chosen[sample.people]


def _has_enough(sample: Sample, chosen: Mask) -> bool:
    return all(
        sample.count_people(chosen & (sample.outcome == value)) >= MINIMUM_PEOPLE
        for value in (0, 1)
    )
