"""Score one person from their FHIR resources, for a request that waits; without MLflow and a JVM.

Only a promoted version scores, read from its signed folder. What a score is made of can be said:
what each feature adds to the log-odds, which with the base add up to the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from ehr_fhir.errors import EhrError, NotFound
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.frames.declaration import find_view
from ehr_models.frames.feature_list import FeatureList, read_features
from ehr_models.learners.portable import PortableModel, read_model
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.recorded_decisions import DecisionLog
from ehr_models.task import Feature, Task

__all__ = ["ModelServer", "Reason", "Score", "end_stay"]

Resource = Mapping[str, Any]

# Statuses of an encounter at whose end a patient is discharged.
_GOES_ON = frozenset({"arrived", "triaged", "in-progress", "onleave", "unknown"})


@dataclass(frozen=True)
class Reason:
    """What one feature adds to the log-odds of a score; `value` is NaN where it is not known."""

    feature: Feature
    value: float
    log_odds: float


@dataclass(frozen=True)
class Score:
    """A person's score: of which encounter, by which version, and why.

    `base` and the reasons' `log_odds` add up to the log-odds of `probability`. The reasons are of
    all features, those that weigh most first.
    """

    version: int
    encounter: str
    ended: datetime
    probability: float
    base: float
    reasons: tuple[Reason, ...]
    # What was wrong with the input, in words of ours.
    incomplete: tuple[str, ...] = ()
    # How many codes of the record the model knows nothing of.
    unknown_codes: int = 0

    @property
    def unknown(self) -> tuple[Feature, ...]:
        """The features that are not known of this person."""
        return tuple(one.feature for one in self.reasons if math.isnan(one.value))


@dataclass(frozen=True)
class _Loaded:
    version: ModelVersion
    model: PortableModel
    features: FeatureList


@dataclass
class ModelServer:
    """The promoted versions of tasks; each is read once, and anew after a decision."""

    store: ModelStore
    tasks: Mapping[str, Task]
    log: DecisionLog | None = None
    # By the task's name; with the state of decisions and files in which it was read.
    _loaded: dict[str, tuple[object, _Loaded | None]] = field(default_factory=dict, init=False)

    def list_promoted(self) -> Sequence[Task]:
        """Return the tasks of single people whose promoted version is as it was signed."""
        return [
            task
            for name, task in self.tasks.items()
            if task.find_current is not None and self._load(name) is not None
        ]

    def find_versions(self) -> Mapping[str, int]:
        """Return the number of the version that scores by the name of its task."""
        loaded = {name: self._load(name) for name in self.tasks}
        return {name: one.version.number for name, one in loaded.items() if one is not None}

    def list_resource_types(self, name: str) -> Sequence[str]:
        """Return the types of the resources that a task's views are made of."""
        return sorted({find_view(view).resource for view in self.tasks[name].views})

    def score(self, name: str, resources: Sequence[Resource], at: datetime) -> Score | None:
        """Score a person at an instant; None where a task has nothing to say of them.

        That is where they have died, where no index event ended within the horizon, and where
        another one goes on. NotFound where no version was promoted.
        """
        task, loaded = self.tasks[name], self._load(name)
        if loaded is None or task.find_current is None:
            raise NotFound(f"No version of {name} scores.")
        if any(_tells_death(resource) for resource in resources):
            return None
        row = task.find_current(resources, at, loaded.features.codes)
        if row is None or row.ended + task.outcome.horizon < at:
            return None
        inputs = row.features.reshape(1, -1)
        contributions = loaded.model.explain(inputs)
        reasons = [
            Reason(feature, float(value), float(weight))
            for feature, value, weight in zip(
                loaded.features.features, row.features, contributions.values[0], strict=True
            )
        ]
        return Score(
            loaded.version.number,
            row.encounter,
            row.ended,
            float(np.asarray(loaded.model.predict(inputs))[0]),
            contributions.base,
            tuple(sorted(reasons, key=lambda one: -abs(one.log_odds))),
            row.incomplete,
            row.unknown_codes,
        )

    def _load(self, name: str) -> _Loaded | None:
        """Return a task's promoted version; None where there is none, or it was changed."""
        register = PromotionRegister(self.store, log=self.log)
        try:
            # Asked before anything is read: a request that a decision, or a change of a file,
            # overtakes leaves behind what the next request does not take.
            number = register.find_champion(name)
            files = () if number is None else self.store.read_fingerprint(name, number)
            state = (register.read_state(), number, files)
        except EhrError:
            return None
        known = self._loaded.get(name)
        if known is None or known[0] != state:
            known = self._loaded[name] = (state, self._read(register, name))
        return known[1]

    def _read(self, register: PromotionRegister, name: str) -> _Loaded | None:
        try:
            version = register.get_champion(name)
            return _Loaded(version, read_model(version.files), read_features(version.files))
        except EhrError:
            # Nobody is shown a number by a model that is not the one two people promoted.
            return None


def end_stay(resources: Sequence[Resource], encounter: str, at: datetime) -> list[Resource]:
    """Return resources in which an encounter ends at an instant, as it will at discharge.

    Only one that goes on ends: what has ended, or never began, stays as it is.
    """
    ended: list[Resource] = []
    for resource in resources:
        is_meant = resource.get("resourceType") == "Encounter" and resource.get("id") == encounter
        if is_meant and resource.get("status") in _GOES_ON:
            copied = deepcopy(dict(resource))
            copied["status"] = "finished"
            copied["period"] = {
                **copied.get("period", {}),
                "end": at.astimezone(JURISDICTION.zone).isoformat(timespec="seconds"),
            }
            ended.append(copied)
        else:
            ended.append(resource)
    return ended


def _tells_death(resource: Resource) -> bool:
    if resource.get("resourceType") != "Patient":
        return False
    return bool(resource.get("deceasedBoolean")) or "deceasedDateTime" in resource
