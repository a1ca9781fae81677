"""Learners: what they add up to, that they are the same twice, and that nothing leaks into them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from ehr_fhir.errors import Fault
from ehr_models.learners.folds import assign_folds
from ehr_models.learners.portable import (
    MODEL_FILE,
    FloatArray,
    LogisticRegression,
    PortableModel,
    read_model,
    write_model,
)
from ehr_models.learners.tuning import LEARNERS, Rows, choose_model, fit_best, fit_learners

NAMES = tuple(LEARNERS)


def draw(count: int = 600, seed: int = 1) -> Rows:
    """Return rows of which two features tell the outcome, by a product too; some are unknown."""
    chance = np.random.default_rng(seed)
    inputs = chance.normal(size=(count, 6))
    log_odds = -1 + inputs[:, 0] + 1.5 * inputs[:, 1] * (inputs[:, 2] > 0)
    outcome = (chance.random(count) < 1 / (1 + np.exp(-log_odds))).astype(float)
    inputs[chance.random(inputs.shape) < 0.1] = np.nan
    people = np.array([f"person-{number // 2}" for number in range(count)])
    return Rows(tuple(f"f{number}" for number in range(6)), inputs, outcome, people)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return draw()


@pytest.fixture(scope="module")
def models(rows: Rows) -> dict[str, PortableModel]:
    return dict(fit_learners(NAMES, rows))


def to_log_odds(probability: FloatArray) -> FloatArray:
    odds: FloatArray = np.log(probability / (1 - probability))
    return odds


@pytest.mark.parametrize("name", NAMES)
def test_contributions_add_up_to_the_prediction(
    name: str, models: dict[str, PortableModel], rows: Rows
) -> None:
    model = models[name]

    explained = model.explain(rows.inputs)

    assert explained.values.shape == rows.inputs.shape
    np.testing.assert_allclose(
        explained.base + explained.values.sum(axis=1),
        to_log_odds(model.predict(rows.inputs)),
        atol=1e-9,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_model_read_from_its_files_predicts_the_same(
    name: str, models: dict[str, PortableModel], rows: Rows
) -> None:
    again = read_model(write_model(models[name]))

    assert again.features == rows.features and again.tuning == models[name].tuning
    assert (again.predict(rows.inputs) == models[name].predict(rows.inputs)).all()


def test_what_tells_nothing_weighs_nothing_in_an_elastic_net() -> None:
    rows = draw(2000)
    noise = np.random.default_rng(9).normal(size=(2000, 30))
    wide = replace(
        rows,
        features=(*rows.features, *(f"noise{number}" for number in range(30))),
        inputs=np.hstack([rows.inputs, noise]),
    )
    net, ridge = (fit_learners((name,), wide)[name] for name in ("elastic-net", "logistic"))

    assert isinstance(net, LogisticRegression) and isinstance(ridge, LogisticRegression)
    assert net.kind == "elastic-net" and net.tuning["absolute_share"] in (0.2, 0.8)
    assert sum(each == 0 for each in net.coefficients[6:]) > 10
    assert all(net.coefficients[:2]) and all(ridge.coefficients)


def test_cautious_trees_have_no_leaf_of_few_rows() -> None:
    model = fit_learners(("cautious-boosting",), draw(4000))["cautious-boosting"]
    booster = lightgbm.Booster(model_str=write_model(model)["trees.txt"].decode())
    trees = booster.trees_to_dataframe()
    leaves = trees[trees["left_child"].isna()]

    assert model.kind == read_model(write_model(model)).kind == "cautious-boosting"
    # LightGBM estimates how many rows a leaf has, by their weight; as usual it is 20.
    assert len(leaves) > 10 and leaves["count"].min() >= 250
    assert leaves.groupby("tree_index").size().max() <= 4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_give_the_same_files(name: str, rows: Rows) -> None:
    first, second = (write_model(fit_learners([name], rows)[name]) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_a_model_bears_values_that_are_all_unknown(
    name: str, models: dict[str, PortableModel], rows: Rows
) -> None:
    predicted = models[name].predict(np.full((1, 6), np.nan))

    assert 0 < predicted[0] < 1
    assert len(models[name].predict(np.zeros((0, 6)))) == 0


def test_a_column_of_nothing_adds_nothing(rows: Rows) -> None:
    empty = replace(rows, inputs=rows.inputs.copy())
    empty.inputs[:, 5] = np.nan

    model = fit_learners(["logistic"], empty)["logistic"]

    assert not model.explain(empty.inputs).values[:, 5].any()


def test_the_logistic_regression_is_that_of_scikit_learn(rows: Rows) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression as Regression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = fit_learners(["logistic"], rows)["logistic"]

    strength = 1 / (model.tuning["penalty"] * len(rows.outcome))
    oracle = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), Regression(C=strength, tol=1e-8)
    ).fit(rows.inputs, rows.outcome)
    expected = oracle.predict_proba(rows.inputs)[:, 1]
    np.testing.assert_allclose(model.predict(rows.inputs), expected, atol=1e-4)


def test_the_choice_goes_by_the_people_held_out(rows: Rows) -> None:
    # A product of two features is beyond a regression; a sum is nothing for trees.
    known = np.nan_to_num(rows.inputs)
    product = replace(rows, outcome=(known[:, 0] * known[:, 1] > 0).astype(float))
    total = replace(rows, outcome=(known.sum(axis=1) > 0).astype(float))

    assert choose_model(fit_learners(NAMES, product)).kind == "boosting"
    assert choose_model(fit_learners(NAMES, total)).kind == "logistic"


def test_the_best_alone_is_the_one_chosen_of_all(
    rows: Rows, models: dict[str, PortableModel]
) -> None:
    assert write_model(fit_best(NAMES, rows)) == write_model(choose_model(models))


def test_the_penalty_is_the_one_that_did_best_of_all_that_there_are(rows: Rows) -> None:
    from sklearn.linear_model import LogisticRegression as Regression

    # Each fitted from nothing, to the end.
    held_out = assign_folds(rows.people, rows.outcome, 4) == 0
    known = np.nan_to_num(rows.inputs, nan=0.0)
    plain = replace(rows, inputs=known)
    mean, spread = known[~held_out].mean(axis=0), known[~held_out].std(axis=0)
    standard = (known - mean) / spread
    losses = {}
    for penalty in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        fitted = Regression(C=1 / (penalty * (~held_out).sum()), tol=1e-8, max_iter=1000).fit(
            standard[~held_out], rows.outcome[~held_out]
        )
        chance = fitted.predict_proba(standard[held_out])[:, 1]
        right = np.where(rows.outcome[held_out] == 1, chance, 1 - chance)
        losses[penalty] = -np.log(right).mean()

    tuning = LEARNERS["logistic"].tune(plain, held_out)

    assert tuning["penalty"] == min(losses, key=lambda penalty: losses[penalty])
    assert tuning["log_loss"] == pytest.approx(min(losses.values()), abs=1e-4)


def test_a_model_keeps_no_value_of_a_single_person(rows: Rows) -> None:
    inputs = rows.inputs.copy()
    inputs[7, 0], inputs[8, 1] = 98_765.0, -98_765.0

    for files in map(
        write_model, fit_learners(["boosting"], replace(rows, inputs=inputs)).values()
    ):
        assert b"98765" not in b"".join(files.values())
        # The text is whole all the same: LightGBM reads it.
        assert 0 < read_model(files).predict(inputs)[7] < 1


def test_a_person_is_in_one_fold_and_outcomes_are_dealt_evenly() -> None:
    rows = draw(1000)

    folds = assign_folds(rows.people, rows.outcome, 5)

    for person in set(rows.people):
        assert len(set(folds[rows.people == person])) == 1
    has_outcome = rows.outcome == 1
    persons = [len(set(rows.people[has_outcome & (folds == number)])) for number in range(5)]
    assert max(persons) - min(persons) <= 1
    # Another order of the rows gives each person the same fold.
    order = np.random.default_rng(3).permutation(1000)
    assert (assign_folds(rows.people[order], rows.outcome[order], 5) == folds[order]).all()


def test_where_nobody_can_be_held_out_the_first_learner_is_the_model() -> None:
    few = draw(4)
    few = replace(few, outcome=np.array([1.0, 1.0, 0.0, 0.0]))

    models = fit_learners(NAMES, few)

    assert choose_model(models) is models[NAMES[0]]


def test_files_of_no_model_are_refused() -> None:
    for files in ({}, {MODEL_FILE: b"{}"}, {MODEL_FILE: b"[]"}, {MODEL_FILE: b'{"format": 2}'}):
        with pytest.raises(Fault):
            read_model(files)


def test_another_number_of_features_is_refused(models: dict[str, PortableModel]) -> None:
    for model in models.values():
        with pytest.raises(Fault, match="6 features"):
            model.predict(np.zeros((1, 5)))


def test_a_regression_is_served_without_scikit_learn_lightgbm_mlflow_or_spark() -> None:
    model = LogisticRegression(("a",), 0.5, (1.0,), (0.0,), (0.0,), (1.0,))
    program = (
        "import sys; from ehr_models.learners.portable import read_model; import numpy\n"
        "import ehr_models.task_file\n"
        f"model = read_model({dict(write_model(model))!r})\n"
        "print(model.predict(numpy.zeros((1, 1)))[0])\n"
        "assert not {'sklearn', 'lightgbm', 'mlflow', 'pyspark'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1 / (1 + np.exp(-0.5)))
