"""The one source of all reports: facts and figures of a model version as plain JSON.

Every count is as the airlock's default policy publishes it (None: hidden), and so is a share of
which the count behind would be hidden. Every other figure has the significant digits of that
policy. So the JSON may leave the platform as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from ehr_models.evaluation.evaluate import Evaluation
from ehr_models.evaluation.refitted import RefittedEvaluation
from ehr_models.version_files import GateResult
from ehr_privacy.disclosure import POLICIES

FORMAT = "ehr-model-report/1"
_POLICY = POLICIES["opensafely-7-5"]


@dataclass(frozen=True)
class FeatureFacts:
    """What a model reads: UCUM unit, where it comes from, share of rows without a value."""

    name: str
    title: str
    unit: str
    source: str
    missing: float | None


@dataclass(frozen=True)
class ModelFacts:
    """What is said of a model version in words. An empty text is one nobody has written: it is
    told as missing, in the card and in the checklist.

    `texts` has the paragraphs of the card by key (`TEXT_KEYS`), in Markdown's plain sentences.
    """

    name: str
    title: str
    version: str
    outcome: str
    horizon_days: float
    learner: str
    trained_at: str
    run: str
    code: str
    # Whether the data were made by a generator.
    is_synthetic: bool
    # Names of predictors as a reader should see them.
    predictors: Mapping[str, str]
    # Delta version, or digest, by table.
    tables: Mapping[str, int | str]
    features: Sequence[FeatureFacts]
    folds: int
    texts: Mapping[str, str] = field(default_factory=dict)


# The paragraphs that a task writes of itself; the words on the right are of CHAI's schema v0.2.
TEXT_KEYS: Mapping[str, str] = {
    "developer": "ModelDeveloper",
    "contact": "DeveloperContact",
    "summary": "Summary",
    "intended_use": "IntendedUseAndWorkflow",
    "users": "PrimaryIntendedUsers",
    "how_to_use": "HowToUse",
    "population": "TargetedPatientPopulation",
    "out_of_scope": "CautionedOutOfScopeSettings",
    "risks": "KnownRisksAndLimitations",
    "ethics": "KnownBiasesOrEthicalConsiderations",
    "risk_level": "ClinicalRiskLevel",
    "bias_mitigation": "BiasMitigationApproaches",
    "maintenance": "OngoingMaintenance",
    "security": "Security",
    "funding": "FundingSource",
    "stakeholders": "StakeholdersConsulted",
    "publications": "PeerReviewedPublications",
    "consent": "PatientConsentOrDisclosure",
    "regulatory": "RegulatoryApproval",
    "background": "",
    "protocol": "",
    "registration": "",
    "outcome_definition": "",
    "missing_data": "",
    "explanation": "",
}


def build_report(
    facts: ModelFacts,
    evaluation: Evaluation,
    refitted: RefittedEvaluation,
    gates: Sequence[GateResult],
) -> dict[str, Any]:
    """Return the report of a model version, ready for `json.dumps`."""
    return {
        "format": FORMAT,
        "facts": _to_plain_facts(facts),
        "settings": {
            "resamples": evaluation.resamples,
            "folds": facts.folds,
            "alert_rate": evaluation.alert_rate,
            "disclosure_policy": _POLICY.name,
        },
        "flags": {
            "is_synthetic": facts.is_synthetic,
            "leakage_suspected": any(
                gate.gate == "no-leakage" and not gate.is_met for gate in gates
            ),
            "better_than_comparators": evaluation.is_better_than_comparators(),
        },
        "gates": [vars(gate) for gate in gates],
        "model": evaluation.model,
        "rows": publish(evaluation.rows),
        "people": publish(evaluation.people),
        "outcomes": publish(evaluation.outcomes),
        "performance": publish(evaluation.performance),
        "differences": publish(evaluation.differences),
        "subgroups": publish(evaluation.subgroups),
        "recalibration": publish(evaluation.recalibration),
        "refitted": publish(refitted),
    }


def publish(value: Any) -> Any:
    """Return figures as they may leave the platform: dataclasses as objects, NaN as None.

    Whole numbers are counts of people or rows: the airlock's policy rounds or hides them.

    >>> publish({"rows": 7, "people": 44, "auroc": 0.68149, "texts": ("a",), "gap": float("nan")})
    {'rows': None, 'people': 45, 'auroc': 0.681, 'texts': ['a'], 'gap': None}
    """
    if is_dataclass(value):
        find = getattr(value, "list_figures_of_few", None)
        hidden = find(_POLICY.min_persons) if find else frozenset[str]()
        return {
            each.name: None if each.name in hidden else publish(getattr(value, each.name))
            for each in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): publish(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [publish(each) for each in value]
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, int):
        return _POLICY.control(value)
    return _round(float(value))


def _round(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_POLICY.significant_digits}g}")


def _to_plain_facts(facts: ModelFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "title": facts.title,
        "version": facts.version,
        "outcome": facts.outcome,
        "horizon_days": facts.horizon_days,
        "learner": facts.learner,
        "trained_at": facts.trained_at,
        "run": facts.run,
        "code": facts.code,
        "predictors": dict(facts.predictors),
        "tables": dict(facts.tables),
        "features": [{**vars(each), "missing": publish(each.missing)} for each in facts.features],
        "texts": {key: facts.texts.get(key, "") for key in TEXT_KEYS},
    }
