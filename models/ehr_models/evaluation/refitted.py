"""All evaluations that fit the model anew, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ehr_models.evaluation.bootstrap import RESAMPLES
from ehr_models.evaluation.membership import MembershipAttacks, attack_membership
from ehr_models.evaluation.refits import (
    ExternalValidation,
    Fit,
    Holdout,
    Validation,
    measure_holdout,
    validate_across_sites,
    validate_over_time,
)
from ehr_models.evaluation.sample import Sample


@dataclass(frozen=True)
class RefittedEvaluation:
    """How the way of learning did on later rows, other organisations, fewer people, and attacks.

    None where the rows have no instants or organisations, or too few people of one outcome.
    """

    over_time: Validation | None
    across_sites: ExternalValidation | None
    holdout: Holdout | None
    membership: MembershipAttacks | None


def evaluate_refits(
    features: pd.DataFrame,
    sample: Sample,
    fit: Fit,
    *,
    horizon: pd.Timedelta,
    resamples: int = RESAMPLES,
    on_progress: Callable[[str], None] = lambda text: None,
) -> RefittedEvaluation:
    """Fit the model on parts of the rows and judge it on others; `horizon` is the outcome's."""
    over_time = across_sites = None
    if sample.when is not None:
        on_progress("the model is tested on the latest rows")
        over_time = validate_over_time(features, sample, fit, horizon=horizon, resamples=resamples)
    if sample.sites is not None:
        on_progress("the model is tested on each organisation in turn")
        across_sites = validate_across_sites(features, sample, fit, resamples=resamples)
    on_progress("the model learns from fewer people, and predicts with gaps")
    holdout = measure_holdout(features, sample, fit, resamples=resamples)
    on_progress("attacks ask the model who it learnt from")
    membership = attack_membership(features, sample, fit, resamples=resamples)
    return RefittedEvaluation(over_time, across_sites, holdout, membership)
