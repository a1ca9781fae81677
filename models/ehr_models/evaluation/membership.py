"""Membership-inference attacks: can one tell from a prediction whether a person was learnt from?

The attacker knows a person's features and outcome and sees the prediction.
- By loss (Yeom et al., CSF 2018): who is predicted better was learnt from.
- By likelihood ratio, after LiRA (Carlini et al., IEEE S&P 2022) without its shadow models: the
  log-odds of the true outcome are modelled as normal, among persons known to have been learnt from
  and among others, for each outcome; the ratio of the two densities ranks the rest. This attacker
  knows half of the members, which is more than a stranger does.

A model that keeps nothing of single persons gives both an AUROC of one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_fhir.errors import Unprocessable
from ehr_models.evaluation.bootstrap import RESAMPLES, SEED, Interval, bootstrap, to_interval
from ehr_models.evaluation.calibration import to_logit
from ehr_models.evaluation.discrimination import AUROC, RankingStatistic, trace_roc
from ehr_models.evaluation.refits import Fit
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample
from ehr_models.evaluation.subgroups import MINIMUM_PEOPLE

# Where an attack that is right about few, but sure of them, shows (Carlini et al.).
_FALSE_POSITIVE_RATE = 0.01


@dataclass(frozen=True)
class Attack:
    """How well one attack tells members from others; a half is chance."""

    name: str
    auroc: Interval
    # The share of members found while one in a hundred others is wrongly named; 0.01 is chance.
    found_at_one_percent: float

    def is_at_chance(self) -> bool:
        """Whether the interval of the AUROC reaches down to a half."""
        return self.auroc.low <= 0.5


@dataclass(frozen=True)
class MembershipAttacks:
    """Attacks on a model that learnt from half of the persons."""

    members: int
    others: int
    attacks: tuple[Attack, ...]

    def are_at_chance(self) -> bool:
        """Whether no attack does better than chance."""
        return all(attack.is_at_chance() for attack in self.attacks)


def attack_membership(
    features: pd.DataFrame, sample: Sample, fit: Fit, *, resamples: int = RESAMPLES
) -> MembershipAttacks | None:
    """Fit on half of the persons and attack; None if a half has too few people of one outcome."""
    generator = np.random.default_rng(SEED)
    quarter = generator.permutation(sample.person_count) % 4
    is_member = (quarter < 2)[sample.people]
    halves = (is_member, ~is_member)
    if any(
        sample.count_people(half & (sample.outcome == value)) < 2 * MINIMUM_PEOPLE
        for half in halves
        for value in (0, 1)
    ):
        return None
    predict = fit(features[is_member], sample.outcome[is_member], sample.people[is_member])
    probability = np.asarray(predict(features), dtype=float)
    # The log-odds of what came: its logarithm is what the loss measures.
    confidence = np.where(sample.outcome == 1, 1, -1) * to_logit(probability)
    attacker_knows = (quarter % 2 == 0)[sample.people]
    ratio = np.empty(sample.rows)
    for known in (attacker_knows, ~attacker_knows):
        ratio[~known] = _likelihood_ratio(confidence, sample.outcome, is_member, known)[~known]
    members = int((quarter < 2).sum())
    return MembershipAttacks(
        members=members,
        others=sample.person_count - members,
        attacks=(
            _measure("loss", is_member, confidence, sample.people, resamples),
            _measure("likelihood-ratio", is_member, ratio, sample.people, resamples),
        ),
    )


def _likelihood_ratio(
    confidence: FloatArray, outcome: FloatArray, is_member: np.ndarray, known: np.ndarray
) -> FloatArray:
    """Return each row's log-density as a member less that as another, learnt from known rows."""
    ratio = np.zeros(len(confidence))
    for value in (0, 1):
        same = outcome == value
        densities = []
        for side in (is_member, ~is_member):
            seen = confidence[same & side & known]
            if not len(seen):
                raise Unprocessable("Too few people of one outcome for an attack.")
            mean, spread = seen.mean(), max(float(seen.std()), 1e-9)
            densities.append(-(((confidence[same] - mean) / spread) ** 2) / 2 - np.log(spread))
        ratio[same] = densities[0] - densities[1]
    return ratio


def _measure(
    name: str, is_member: np.ndarray, evidence: FloatArray, people: IntArray, resamples: int
) -> Attack:
    member = is_member.astype(float)
    statistic = RankingStatistic(member, evidence, people)
    values = bootstrap(int(people.max()) + 1, [statistic], resamples)[0]
    found = trace_roc(member, evidence, np.array([_FALSE_POSITIVE_RATE]))
    return Attack(name, to_interval(values[:, 0, AUROC]), float(found[0]))
