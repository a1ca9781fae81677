"""Estimators that tasks share, untrained."""

from __future__ import annotations

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def build_logistic_regression() -> Pipeline:
    """Impute medians, scale, fit an L2-penalized logistic regression.

    C=0.1 is a strong penalty, chosen because outcomes are few.
    """
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )
