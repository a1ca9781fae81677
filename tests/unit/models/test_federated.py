"""A model over organisations that share no row: as good as pooled, and what a coordinator sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ehr_fhir.errors import Conflict, Invalid
from ehr_models.federated import Site, SumParty, add_masked, fit_federated

Floats = npt.NDArray[np.float64]
SIZES = (400, 900, 250)


def draw_rows(seed: int, size: int) -> tuple[Floats, Floats]:
    """Return rows whose outcome depends on the first two of five features, some not known."""
    rng = np.random.default_rng(seed)
    features = rng.normal(loc=seed, scale=(1, 20, 1, 1, 0), size=(size, 5))
    odds = -1 + (features[:, 0] - seed) - (features[:, 1] - seed) / 20
    outcome = (rng.random(size) < 1 / (1 + np.exp(-odds))).astype(float)
    features[rng.random((size, 5)) < 0.1] = np.nan
    return features, outcome


@pytest.fixture
def rows() -> list[tuple[Floats, Floats]]:
    return [draw_rows(seed, size) for seed, size in enumerate(SIZES)]


def make_sites(rows: list[tuple[Floats, Floats]]) -> list[Site]:
    return [
        Site(f"hospital-{number}", x, y, np.arange(len(y)).astype(object))
        for number, (x, y) in enumerate(rows)
    ]


def test_the_model_is_that_of_the_pooled_rows(rows: list[tuple[Floats, Floats]]) -> None:
    model = fit_federated(make_sites(rows), penalty=2.0)

    pooled, outcome = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    spread = np.nanstd(pooled, axis=0)
    spread[spread == 0] = 1
    scaled = np.nan_to_num((pooled - np.nanmean(pooled, axis=0)) / spread)
    oracle = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    oracle.fit(scaled, outcome)
    expected = oracle.predict_proba(scaled)[:, 1]
    assert np.max(np.abs(model.predict(pooled) - expected)) < 1e-7
    assert roc_auc_score(outcome, expected) > 0.7


def test_the_order_of_the_organisations_changes_nothing(rows: list[tuple[Floats, Floats]]) -> None:
    one, other = fit_federated(make_sites(rows)), fit_federated(make_sites(rows[::-1])[::-1])

    assert np.allclose(one.weights, other.weights, atol=1e-9)


def count_positives_with(gradient: Floats, column: int, size: int) -> float:
    """Work out from a gradient at zero weights how many with a 0/1 feature have the outcome."""
    # The gradient is the sum of (1/2 - y) x; the intercept's is n / 2 less all outcomes.
    return float(size / 2 - gradient[column])


def test_a_coordinator_reads_small_counts_from_plain_sums_and_none_from_masked_ones() -> None:
    rng = np.random.default_rng(5)
    sites, truth = [], []
    for number in range(3):
        rare = np.zeros(300)
        rare[:4] = 1.0
        outcome = rng.integers(0, 2, 300).astype(float)
        truth.append(float(outcome[:4].sum()))
        people = np.arange(300).astype(object)
        sites.append(Site(f"hospital-{number}", rare[:, None], outcome, people))
    keys = {site.name: site.public_key for site in sites}
    zero, one = np.zeros(1), np.ones(1)
    # An organisation that nobody's masks protect tells the count of four people exactly.
    plain = add_masked([sites[0].sum_derivatives("plain", zero, one, np.zeros(2))])
    assert count_positives_with(plain, 1, 4) == truth[0]

    for site in sites:
        site.meet(keys)
    answers = [site.sum_derivatives("masked", zero, one, np.zeros(2)) for site in sites]
    total = add_masked(answers)
    assert count_positives_with(total, 1, 12) == sum(truth)
    for answer, expected in zip(answers, truth, strict=True):
        seen = add_masked([answer])
        assert abs(count_positives_with(seen, 1, 4) - expected) > 1000


def test_a_round_is_answered_once(rows: list[tuple[Floats, Floats]]) -> None:
    site = make_sites(rows)[0]
    site.sum_moments("moments")

    with pytest.raises(Conflict):
        site.sum_moments("moments")


def test_a_federation_has_enough_organisations_and_people(
    rows: list[tuple[Floats, Floats]],
) -> None:
    with pytest.raises(Conflict, match="at least 3"):
        fit_federated(make_sites(rows[:2]))
    with pytest.raises(Conflict, match="fewer than 100 people"):
        Site("clinic", np.zeros((500, 1)), np.zeros(500), np.array(["a"] * 500, dtype=object))
    with pytest.raises(Invalid):
        Site("clinic", np.zeros((500, 1)), np.full(500, 2.0), np.arange(500).astype(object))


def test_masks_look_like_noise_and_cancel() -> None:
    parties = [SumParty(name) for name in "abcd"]
    keys = {party.name: party.public_key for party in parties}
    for party in parties:
        party.meet(keys)
    values = np.random.default_rng(1).normal(size=(4, 20_000)) * 1e6
    answers = [party.mask("r", row) for party, row in zip(parties, values, strict=True)]

    assert np.allclose(add_masked(answers), values.sum(axis=0), atol=1e-8)
    for answer in answers:
        # Uniform words: each of the 64 bits is set in half of them.
        bits = np.unpackbits(answer.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
        assert np.all(np.abs(bits - 0.5) < 0.02)
    with pytest.raises(Invalid):
        parties[0].mask("large", np.array([1e12]))
