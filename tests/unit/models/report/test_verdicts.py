"""The verdict of a model in the languages of the platform."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ehr_models.evaluate import BETTER_THAN_BASELINE, NOT_BETTER, TOO_FEW_OUTCOMES, cross_validate
from ehr_models.gate_limits import GateLimits
from ehr_models.learners.tuning import LEARNERS
from ehr_models.registry import get_task, list_tasks
from ehr_models.report.messages import LANGUAGES, read_words
from ehr_models.report.verdicts import tell_verdict
from tests.lib import gold

TASK = get_task("readmission-28d")


@pytest.mark.parametrize("minimum", [1, 10_000])
def test_a_verdict_says_the_same_in_every_language(minimum: int) -> None:
    task = replace(TASK, gates=GateLimits(minimum_outcomes=minimum))
    evaluation = cross_validate(task, task.build_frame(gold.made_up(60)), 20)

    told = tell_verdict(evaluation)

    assert tuple(sorted(told)) == tuple(sorted(LANGUAGES))
    assert told["en"] == evaluation.verdict
    words = {
        TOO_FEW_OUTCOMES: ("太少", "太少"),
        NOT_BETTER: (
            "並不明顯優於 LACE、HOSPITAL（不含腫瘤科",
            "并不明显优于 LACE、HOSPITAL（不含肿瘤科",
        ),
        BETTER_THAN_BASELINE: ("此模型優於", "此模型优于"),
    }[evaluation.grade]
    assert (evaluation.grade == TOO_FEW_OUTCOMES) is (minimum == 10_000)
    for language, word in zip(("zh-Hant-HK", "zh-Hans"), words, strict=True):
        assert word in told[language] and "about" not in told[language]


def test_every_learner_and_comparator_has_a_name_in_chinese() -> None:
    for language in ("zh-Hant-HK", "zh-Hans"):
        words = read_words(language)
        for name, learner in LEARNERS.items():
            assert words.find(f"predictor_{name}", "") and words.find(
                f"learner_{learner.title}", ""
            )
        for task in list_tasks():
            for one in task.comparators:
                assert words.find(f"title_{one.title} (recalibrated)", "")
