"""The verdict of a model in the languages of the platform."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ehr_models.evaluate import BETTER_THAN_BASELINE, NOT_BETTER, TOO_FEW_OUTCOMES, cross_validate
from ehr_models.gate_limits import GateLimits
from ehr_models.learners.tuning import LEARNERS
from ehr_models.registry import get_task, list_tasks
from ehr_models.report.messages import LANGUAGES, read_words
from ehr_models.report.plots import Axes, Line, draw_lines
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


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        (["This model", "LACE"], 2),
        (["本模型", "LACE（不含急症求診次數，重新校準）"], 1),
        (["This model", "HOSPITAL without haemoglobin, sodium (recalibrated)"], 1),
    ],
)
def test_a_label_of_a_plot_that_is_too_long_for_half_of_it_has_a_row(
    labels: list[str], columns: int
) -> None:
    lines = [Line(label, [0.0, 1.0], [0.0, 1.0]) for label in labels]

    drawn = str(draw_lines(lines, Axes("x", "y"), "title"))

    places = [
        re.search(rf'<text x="([0-9.]+)" y="([0-9.]+)">{re.escape(label)}<', drawn)
        for label in labels
    ]
    rows = {found[2] for found in places if found}
    assert all(places) and len(rows) == (1 if columns == 2 else len(labels))
