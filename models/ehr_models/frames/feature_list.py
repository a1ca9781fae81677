"""The features of a model as a file beside it: what each is, and how often it was unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Fault
from ehr_models.task import Feature, Frame

__all__ = ["FEATURES_FILE", "FeatureList", "read_features", "write_features"]

FEATURES_FILE = "features.json"


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
    labelled = frame.select_labelled().rows
    missing = labelled[frame.feature_names].isna().mean()
    content = {
        "features": [
            {
                "name": feature.name,
                "title": feature.title,
                "unit": feature.unit,
                "source": feature.source,
                "missing": float(missing[feature.name]),
            }
            for feature in frame.features
        ],
        "codes": frame.codes,
    }
    return {FEATURES_FILE: json.dumps(content, indent=1, ensure_ascii=False).encode()}


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
