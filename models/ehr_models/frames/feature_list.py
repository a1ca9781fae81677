"""The features of a model as a file beside it: what each is, and how often it was unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ehr_fhir.errors import Fault
from ehr_models.task import PATIENT, Feature, Frame
from ehr_privacy.disclosure import POLICIES

__all__ = ["FEATURES_FILE", "FeatureList", "measure_missing", "read_features", "write_features"]

FEATURES_FILE = "features.json"
# Researchers read the file: the policy of reports (`report.contents`).
_FEWEST_PEOPLE = POLICIES["opensafely-7-5"].min_persons


@dataclass(frozen=True)
class FeatureList:
    """The features of a model in order, the codes among them, and each one's missing share.

    `missing` is of the rows that the model learnt from, from 0 to 1, by the feature's name.
    """

    features: tuple[Feature, ...]
    codes: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, float]


def write_features(frame: Frame) -> Mapping[str, bytes]:
    """Return the features of a frame that a model learnt from, as a file by its name."""
    missing = measure_missing(frame)
    content = {
        "features": [
            {
                "name": feature.name,
                "title": feature.title,
                "unit": feature.unit,
                "source": feature.source,
                "missing": missing[feature.name],
            }
            for feature in frame.features
        ],
        "codes": frame.codes,
    }
    return {FEATURES_FILE: json.dumps(content, indent=1, ensure_ascii=False).encode()}


def measure_missing(frame: Frame) -> dict[str, float]:
    """Return the share of labelled rows in which each feature is unknown, as others may read it.

    In whole percents, and 0 or 1 where it differs from that by fewer than 8 people: with the number
    of rows, an exact share would tell how many they are.

    >>> people = [f"p{number}" for number in range(500)]
    >>> known = [[1.0] * 493 + [None] * 7, [None] * 100 + [1.0] * 400]
    >>> rows = pd.DataFrame({PATIENT: people, "a": known[0], "b": known[1], "y": 0.0})
    >>> features = tuple(Feature(name, name, None, "") for name in "ab")
    >>> measure_missing(Frame(rows, features, "y"))
    {'a': 0.0, 'b': 0.2}
    """
    labelled = frame.select_labelled().rows
    people = pd.factorize(labelled[PATIENT])[0]
    shares = {}
    for name in frame.feature_names:
        unknown = labelled[name].isna().to_numpy()
        share = round(float(unknown.mean()), 2) if len(unknown) else 0.0
        if len(np.unique(people[unknown])) < _FEWEST_PEOPLE:
            share = 0.0
        elif len(np.unique(people[~unknown])) < _FEWEST_PEOPLE:
            share = 1.0
        shares[name] = share
    return shares


def read_features(files: Mapping[str, bytes]) -> FeatureList:
    """Return the features of a model's files."""
    try:
        content: Mapping[str, Any] = json.loads(files[FEATURES_FILE])
        return FeatureList(
            tuple(
                Feature(row["name"], row["title"], row["unit"], row["source"])
                for row in content["features"]
            ),
            {group: tuple(codes) for group, codes in content["codes"].items()},
            {row["name"]: row["missing"] for row in content["features"]},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Fault("The model's files do not say what its features are: train it anew.") from error
