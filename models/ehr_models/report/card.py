"""The model card in the shape of CHAI's Applied Model Card v0.2, and as a DocumentReference.

https://mc.chai.org/v0.2/schema.xsd has it as XML; here are its elements, in its order, as JSON. A
required text that nobody has written says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ehr_models.report.contents import TEXT_KEYS
from ehr_models.report.messages import read_words
from ehr_models.report.page_parts import format_interval, format_number

SCHEMA = "https://mc.chai.org/v0.2/schema.xsd"
NOT_STATED = "Not stated."
_REFERENCES = (
    "Vickers AJ, Elkin EB. Decision curve analysis. Med Decis Making 2006;26:565-574.",
    "Van Calster B et al. A calibration hierarchy for risk models. J Clin Epidemiol 2016;74:167.",
    "Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378.",
    "Carlini N et al. Membership inference attacks from first principles. IEEE S&P 2022.",
)


def build_card(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a report, as a JSON object with the elements of CHAI's schema."""
    facts = report["facts"]
    texts = {chai: facts["texts"][key] or NOT_STATED for key, chai in TEXT_KEYS.items() if chai}
    performance = report["performance"][report["model"]]
    return {
        "schema": SCHEMA,
        "BasicInfo": {
            "ModelName": facts["title"],
            **_pick(texts, "ModelDeveloper", "DeveloperContact"),
        },
        "ReleaseInfo": {
            "ReleaseStage": "Evaluated when it was trained.",
            "ReleaseDate": facts["trained_at"],
            "ReleaseVersion": facts["version"],
            "GlobalAvailability": "Within the platform that trained it.",
            **_pick(texts, "RegulatoryApproval"),
        },
        "ModelSummary": {
            **_pick(texts, "Summary"),
            "Keywords": [facts["name"], facts["outcome"], facts["learner"]],
        },
        "UsesAndDirections": _pick(
            texts,
            "IntendedUseAndWorkflow",
            "PrimaryIntendedUsers",
            "HowToUse",
            "TargetedPatientPopulation",
            "CautionedOutOfScopeSettings",
        ),
        "Warnings": {
            "KnownRisksAndLimitations": " ".join(
                [texts["KnownRisksAndLimitations"], *_warn(report)]
            ),
            **_pick(texts, "KnownBiasesOrEthicalConsiderations", "ClinicalRiskLevel"),
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": f"{facts['outcome']} within {facts['horizon_days']:g} days, "
                "as a probability from 0 to 1.",
                "ModelType": facts["learner"],
                "FoundationModels": "None.",
                "InputDataSource": ", ".join(
                    f"{name} (version {version})" for name, version in facts["tables"].items()
                ),
                "OutputAndInputDataTypes": f"{len(facts['features'])} numbers in, one out: "
                + "; ".join(f"{each['title']} [{each['unit']}]" for each in facts["features"]),
                "DevelopmentDataCharacterization": _describe_data(report),
                **_pick(texts, "BiasMitigationApproaches", "OngoingMaintenance", "Security"),
                "Transparency": f"Code SHA-256 {facts['code']}, run {facts['run']}.",
            },
            "TransparencyInformation": {
                **_pick(texts, "FundingSource", "StakeholdersConsulted"),
            },
        },
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": _usefulness(report, performance),
            "FairnessEquity": _fairness(report),
            "SafetyReliability": _safety(report, performance),
        },
        "Resources": {
            **_pick(texts, "PeerReviewedPublications", "PatientConsentOrDisclosure"),
        },
        "Bibliography": "\n".join(_REFERENCES),
    }


def build_document_reference(card: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return an R4 DocumentReference whose attachment is the card as JSON."""
    content = json.dumps(card, ensure_ascii=False, indent=1).encode()
    instant = now.isoformat(timespec="seconds")
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": {"text": "Model card (CHAI Applied Model Card v0.2)"},
        "date": instant,
        "description": card["BasicInfo"]["ModelName"],
        "content": [
            {
                "attachment": {
                    "contentType": "application/json",
                    "data": base64.b64encode(content).decode(),
                    "size": len(content),
                    "hash": base64.b64encode(
                        hashlib.sha1(content, usedforsecurity=False).digest()
                    ).decode(),
                    "title": f"{card['BasicInfo']['ModelName']}, version "
                    f"{card['ReleaseInfo']['ReleaseVersion']}",
                    "creation": instant,
                },
                "format": {"system": "urn:ietf:rfc:3986", "code": SCHEMA},
            }
        ],
    }


def write_markdown(card: Mapping[str, Any]) -> str:
    """Return a card as Markdown."""
    lines = [f"# Model card: {card['BasicInfo']['ModelName']}", ""]
    for name, group in card.items():
        if isinstance(group, Mapping):
            lines += [f"## {split_words(name)}", "", *_write_entries(group, "###")]
    references = [f"- {line}" for line in card["Bibliography"].splitlines()]
    return "\n".join([*lines, "## Bibliography", "", *references, ""])


def split_words(name: str) -> str:
    """Return the words of an element's name.

    >>> split_words("KnownRisksAndLimitations"), split_words("AISystemFacts")
    ('Known risks and limitations', 'AI system facts')
    """
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", name)
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])


def format_result(value_json: str) -> str:
    """Return a result of a card as text: a number, or an estimate with its interval.

    >>> format_result('{"value": 0.7, "low": 0.65, "high": 0.75}')
    '0.700 (0.650 – 0.750)'
    """
    value = json.loads(value_json)
    words = read_words("en")
    if isinstance(value, Mapping):
        return format_interval(value, words)
    return format_number(value, words)


def _write_entries(group: Mapping[str, Any], heading: str) -> list[str]:
    lines = []
    for name, value in group.items():
        if isinstance(value, Mapping):
            lines += ["", f"{heading} {split_words(name)}", "", *_write_entries(value, "####")]
        elif isinstance(value, str):
            lines.append(f"- **{split_words(name)}**: {value}")
        elif value and isinstance(value[0], Mapping):
            lines.append(f"- **{split_words(name)}**:")
            lines += [f"  - {each['Label']}: {format_result(each['ValueJson'])}" for each in value]
        else:
            lines.append(f"- **{split_words(name)}**: {', '.join(value)}")
    return [*lines, ""]


def _usefulness(report: Mapping[str, Any], performance: Mapping[str, Any]) -> dict[str, Any]:
    predictors = report["facts"]["predictors"]
    results = {
        "AUROC": performance["auroc"],
        "Average precision": performance["average_precision"],
        "Scaled Brier score": performance["scaled_brier"],
    }
    for each in report["differences"]:
        name = predictors.get(each["comparator"], each["comparator"])
        results[f"AUROC above {name}"] = each["auroc"]
    better = report["flags"]["better_than_comparators"]
    return _metric(
        "To rank people by risk better than simple scores do.",
        results,
        "Better than every comparator." if better else "Not shown to be better than each one.",
        report,
    )


def _fairness(report: Mapping[str, Any]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for column in report["subgroups"]:
        for gap in column["fairness"]:
            if gap["difference"] is None:
                continue
            label = f"Largest difference of the {gap['metric']} by {column['column']}"
            results[label.replace("_", " ")] = gap["difference"]
    return _metric(
        "Errors and alerts that differ little between groups of patients.",
        results or {"Groups with enough people": None},
        "Differences between groups, with intervals; the report has each group's figures."
        if results
        else "No two groups have enough people to be compared.",
        report,
    )


def _safety(report: Mapping[str, Any], performance: Mapping[str, Any]) -> dict[str, Any]:
    calibration = performance["calibration"]
    results = {
        "Calibration slope": calibration["slope"],
        "Calibration in the large": calibration["in_the_large"],
        "Mean calibration error (Eavg)": calibration["eavg"],
    }
    membership = report["refitted"]["membership"]
    for attack in membership["attacks"] if membership else ():
        results[f"AUROC of the membership attack by {attack['name']}"] = attack["auroc"]
    unmet = [gate["gate"] for gate in report["gates"] if not gate["is_met"]]
    return _metric(
        "Probabilities that come true, and nothing kept of single persons.",
        results,
        f"Gates not met: {', '.join(unmet)}." if unmet else "All gates are met.",
        report,
    )


def _metric(
    goal: str, results: Mapping[str, Any], interpretation: str, report: Mapping[str, Any]
) -> dict[str, Any]:
    settings = report["settings"]
    return {
        "MetricGoal": goal,
        "Results": [
            {"Label": label, "ValueJson": json.dumps(value)} for label, value in results.items()
        ],
        "Interpretation": interpretation,
        "TestType": f"Cross-validation by person in {settings['folds']} folds.",
        "TestingDataDescription": _describe_data(report),
        "ValidationProcessAndJustification": "Each prediction is of a model that never saw the "
        f"person. 95 % intervals of {settings['resamples']} draws of whole people.",
    }


def _describe_data(report: Mapping[str, Any]) -> str:
    kind = "Synthetic" if report["flags"]["is_synthetic"] else "De-identified"
    counts = [report["rows"], report["people"], report["outcomes"]]
    rows, people, outcomes = ("fewer than 8" if n is None else f"about {n}" for n in counts)
    return f"{kind} data: {rows} predictions for {people} people, {outcomes} outcomes."


def _warn(report: Mapping[str, Any]) -> list[str]:
    flags = report["flags"]
    warnings = []
    if flags["is_synthetic"]:
        warnings.append("Learnt from synthetic data: nothing says how it does on real people.")
    if flags["leakage_suspected"]:
        warnings.append("The AUROC is higher than honest work reaches: leakage is suspected.")
    return warnings


def _pick(texts: Mapping[str, str], *keys: str) -> dict[str, str]:
    return {key: texts[key] for key in keys}
