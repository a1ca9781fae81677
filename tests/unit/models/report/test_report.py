"""Page, card and checklist say what the figures say, in three languages, and no small count."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import tomllib
from datetime import UTC, datetime
from importlib.resources import files
from string import Formatter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fhir.resources.R4B.documentreference import DocumentReference
from sklearn.linear_model import LogisticRegression

from ehr_fhir.errors import Invalid
from ehr_models.evaluation.evaluate import evaluate
from ehr_models.evaluation.gates import judge_gates
from ehr_models.evaluation.refits import Predict
from ehr_models.evaluation.refitted import evaluate_refits
from ehr_models.evaluation.sample import FloatArray, IntArray, build_sample
from ehr_models.evaluation.subgroups import FEW
from ehr_models.gate_limits import GateLimits
from ehr_models.report.card import NOT_STATED, build_card, build_document_reference
from ehr_models.report.contents import TEXT_KEYS, FeatureFacts, ModelFacts, build_report
from ehr_models.report.messages import LANGUAGES, read_words
from ehr_models.report.page import render_card, render_report
from ehr_models.report.sections import explain_gate
from ehr_models.report.tripod import fill_checklist

ROWS = 1203
NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
# The elements of https://mc.chai.org/v0.2/schema.xsd, in its order; * may be absent.
CHAI = {
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability EHRCompatibility* "
    "RegulatoryApproval*",
    "ModelSummary": "Summary Keywords",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse "
    "TargetedPatientPopulation CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "TrustIngredients.AISystemFacts": "OutcomesAndOutputs ModelType FoundationModels* "
    "InputDataSource OutputAndInputDataTypes DevelopmentDataCharacterization "
    "BiasMitigationApproaches OngoingMaintenance Security* Transparency*",
    "TrustIngredients.TransparencyInformation": "FundingSource ThirdPartyInformation* "
    "StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    "KeyMetrics.FairnessEquity": "MetricGoal Results Interpretation TestType "
    "TestingDataDescription ValidationProcessAndJustification",
    "Resources": "EvaluationReferences* ClinicalTrial* PeerReviewedPublications "
    "ReimbursementStatus* PatientConsentOrDisclosure",
}


def fit(features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
    model = LogisticRegression().fit(features.fillna(0), outcome)
    return lambda rows: model.predict_proba(rows.fillna(0))[:, 1]


def make_report(**texts: str) -> dict[str, Any]:
    chance = np.random.default_rng(61)
    features = pd.DataFrame(chance.normal(size=(ROWS, 3)), columns=["age", "stays", "days"])
    risk = 1 / (1 + np.exp(1.8 - features.to_numpy() @ [0.8, 0.5, 0.2]))
    outcome = (chance.random(ROWS) < risk).astype(float)
    district = chance.choice(["East", "West"], ROWS).astype(object)
    district[:6] = "Islands"
    sample = build_sample(
        outcome,
        chance.integers(0, 900, ROWS),
        groups={"sex": chance.choice(["f", "m"], ROWS), "district": district},
        when=pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(ROWS), unit="D"),
        sites=chance.choice(["hospital-a", "hospital-b"], ROWS),
    )
    evaluation = evaluate(
        sample,
        {"logistic": risk, "prevalence": np.full(ROWS, outcome.mean())},
        model="logistic",
        comparators=(),
        resamples=30,
    )
    refitted = evaluate_refits(features, sample, fit, horizon=pd.Timedelta(days=28), resamples=10)
    facts = ModelFacts(
        name="readmission-28d",
        title="Return <within> 28 days",
        version="3",
        outcome="Return to acute care",
        horizon_days=28,
        learner="logistic regression",
        trained_at="2026-11-29",
        run="run-1",
        code="ab" * 32,
        is_synthetic=True,
        predictors={"logistic": "This model", "prevalence": "Prevalence alone"},
        tables={"encounter_flat": 3},
        features=[FeatureFacts("age", "Age", "a", "patient_demographics", 0.01234)],
        folds=5,
        texts=texts,
    )
    gates = judge_gates(evaluation, refitted, GateLimits(), is_synthetic=True)
    return build_report(facts, evaluation, refitted, gates)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return make_report(summary="Who comes back.")


def test_a_report_is_plain_json_with_the_same_digits_each_time(report: dict[str, Any]) -> None:
    text = json.dumps(report, allow_nan=False)

    assert json.loads(text) == report
    assert json.dumps(make_report(summary="Who comes back."), allow_nan=False) == text


def test_no_exact_or_small_count_is_in_a_report(report: dict[str, Any]) -> None:
    districts = report["subgroups"][1]["groups"]
    few = next(group for group in districts if group["group"] == FEW)

    assert report["rows"] == 1205
    assert few["rows"] is few["people"] is few["auroc"] is None
    assert str(ROWS) not in json.dumps(report) and "Islands" not in json.dumps(report)
    for group in (*report["subgroups"][0]["groups"], *districts):
        assert all(group[key] is None or group[key] % 5 == 0 for key in ("rows", "outcomes"))
    for each in report["performance"]["logistic"]["calibration"]["bins"]:
        # The share would tell the count that is hidden.
        assert (each["observed"] is None) == (each["outcomes"] is None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_stands_by_itself_with_a_table_for_each_plot(
    report: dict[str, Any], language: str
) -> None:
    page = render_report(report, language)

    assert f'<html lang="{language}">' in page
    assert not re.search(r"<script|<link|<img|@import|url\(|javascript:|\son\w+=", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}
    assert page.count("<svg") >= 7
    for plot in page.split("<svg")[1:]:
        assert re.match(r'[^>]*role="img" aria-label="[^"]+"', plot)
        assert "<table>" in plot.partition("</svg>")[2][:600]
    auroc = report["performance"]["logistic"]["auroc"]
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f} – {auroc['high']:.3f})" in page
    assert "Return &lt;within&gt; 28 days" in page and "<within>" not in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("name", ["messages.toml", "tripod.toml"])
def test_every_text_is_there_in_three_languages_with_the_same_places(name: str) -> None:
    table = tomllib.loads(files("ehr_models.report").joinpath(name).read_text("utf-8"))
    texts = [item["item"] for item in table["items"]] if "items" in table else table.values()

    for translations in texts:
        assert len(translations) == len(LANGUAGES) and all(translations)
        assert len({tuple(sorted(places(text))) for text in translations}) == 1


def places(text: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(text) if name]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_says_in_its_language_what_each_gate_found(
    report: dict[str, Any], language: str
) -> None:
    words = read_words(language)
    titles = {"logistic": "This model", "lace": "LACE"}
    told = [explain_gate(gate, titles, words) for gate in report["gates"]]
    page = render_report(report, language)

    assert all(text in html.unescape(page) for text in told)
    is_own = [text == gate["text"] for text, gate in zip(told, report["gates"], strict=True)]
    if language == "en":
        assert sum(is_own) < len(is_own)
    else:
        # Of the English sentences none is left.
        assert not any(is_own) and all(re.search("[一-鿿]", text) for text in told)
    compared = {"message": "comparators", "text": "", "values": {"auroc": "0.7", "lace": "0.1"}}
    assert "LACE 0.1" in explain_gate(compared, titles, words)
    assert explain_gate({"message": "new", "text": "A new rule."}, {}, words) == "A new rule."


def test_another_language_is_refused_by_name(report: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="en, zh-Hant-HK, zh-Hans"):
        render_report(report, "fr")


def test_the_card_has_the_elements_of_chais_schema_in_its_order(report: dict[str, Any]) -> None:
    card = build_card(report)

    groups = dict.fromkeys(path.split(".")[0] for path in CHAI)
    assert list(card) == ["schema", *groups, "Bibliography"]
    for path, stated in CHAI.items():
        group = card
        for key in path.split("."):
            group = group[key]
        names = [name.rstrip("*") for name in stated.split()]
        required = {name for name in stated.split() if not name.endswith("*")}
        assert [name for name in names if name in group] == list(group)
        assert required <= set(group)
        assert all(group.values())
    assert card["ModelSummary"]["Summary"] == "Who comes back."
    assert card["UsesAndDirections"]["HowToUse"] == NOT_STATED
    assert "synthetic" in card["Warnings"]["KnownRisksAndLimitations"]


def test_the_cards_figures_are_those_of_the_report(report: dict[str, Any]) -> None:
    card = build_card(report)
    results = {
        each["Label"]: json.loads(each["ValueJson"])
        for each in card["KeyMetrics"]["UsefulnessUsabilityEfficacy"]["Results"]
    }

    assert results["AUROC"] == report["performance"]["logistic"]["auroc"]
    page = render_card(card)
    assert f"AUROC: {results['AUROC']['value']:.3f} (" in page
    assert "Return &lt;within&gt; 28 days" in page
    assert "<script" not in page


def test_the_document_reference_is_valid_r4_and_carries_the_card(report: dict[str, Any]) -> None:
    card = build_card(report)

    document = build_document_reference(card, NOW)

    DocumentReference.model_validate(document)
    attachment = document["content"][0]["attachment"]
    content = base64.b64decode(attachment["data"])
    assert json.loads(content) == card
    assert attachment["size"] == len(content)
    assert base64.b64decode(attachment["hash"]) == hashlib.sha1(content).digest()


def test_the_checklist_says_what_is_missing_and_nothing_when_all_is_written(
    report: dict[str, Any],
) -> None:
    items = {item.number: item for item in fill_checklist(report, "en")}
    filled = fill_checklist(make_report(**dict.fromkeys(TEXT_KEYS, "Written.")), "en")

    assert list(items) == [str(number) for number in range(1, 28)]
    assert items["2"].is_answered
    assert items["18"].missing == (
        "facts.texts.funding", "facts.texts.protocol", "facts.texts.registration",
    )  # fmt: skip
    # Nothing stands beside this model that it could be compared with.
    assert [item.number for item in filled if not item.is_answered] == ["25"]
    assert "missing: facts.texts.funding" in render_report(report)
