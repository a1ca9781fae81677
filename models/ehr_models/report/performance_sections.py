"""Sections of the report page about discrimination, calibration and use of the predictors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_models.report.messages import Words
from ehr_models.report.page_parts import (
    Part,
    Report,
    Table,
    format_count,
    format_interval,
    format_number,
    format_share,
    get_title,
    list_drawn_predictors,
    list_predictors,
    plot_with_table,
    tabulate_lines,
)
from ehr_models.report.plots import Axes, Line, draw_lines

_PERCENTILES = (5, 25, 50, 75, 95)


def build_discrimination(report: Report, words: Words) -> list[Part]:
    figures = ("auroc", "average_precision", "auprc", "brier", "scaled_brier")
    overall = Table(
        words("discrimination"),
        (words("predictor"), *(words(each) for each in figures)),
        [
            (title, *(format_interval(performance[each], words) for each in figures))
            for title, performance in list_predictors(report, words)
        ],
    )
    compared = ("auroc", "average_precision", "brier_saved")
    differences = Table(
        words("differences"),
        (words("comparator"), *(words(each) for each in compared)),
        [
            (
                get_title(report, each["comparator"], words),
                *(format_interval(each[figure], words) for figure in compared),
            )
            for each in report["differences"]
        ],
    )
    own = report["performance"][report["model"]]
    names = {True: words("with_outcome"), False: words("without_outcome")}
    distribution = Table(
        words("distribution"),
        ("", words("mean"), *(words("percentile", number=each) for each in _PERCENTILES)),
        [
            (
                names[each["outcome"]],
                *(format_number(value, words) for value in (each["mean"], *each["percentiles"])),
            )
            for each in own["distribution"]
        ],
    )
    return [
        Part(table=overall, notes=[words("out_of_fold", folds=report["settings"]["folds"])]),
        Part(table=differences) if report["differences"] else Part(),
        _draw_curve(report, words, "roc", "false_positive_rate", "sensitivity", diagonal=True),
        _draw_curve(report, words, "precision_recall", "sensitivity", "precision"),
        Part(table=distribution),
    ]


def build_calibration(report: Report, words: Words) -> list[Part]:
    numbers = ("mean_predicted", "observed")
    intervals = ("in_the_large", "intercept", "slope")
    errors = ("eavg", "e50", "e90", "emax")
    overall = Table(
        words("calibration"),
        (
            words("predictor"),
            *(words(each) for each in (*numbers, *intervals)),
        ),
        [
            (
                title,
                *(format_number(each["calibration"][key], words) for key in numbers),
                *(format_interval(each["calibration"][key], words) for key in intervals),
            )
            for title, each in list_predictors(report, words)
        ],
    )
    absolute = Table(
        words("errors"),
        (words("predictor"), words("eavg"), "E50", "E90", "Emax", words("line")),
        [
            (
                title,
                *(format_number(each["calibration"][key], words) for key in errors),
                _format_line(each["calibration"], words),
            )
            for title, each in list_predictors(report, words)
        ],
    )
    return [
        Part(table=overall, notes=[words("calibration_note")]),
        Part(table=absolute),
        *_draw_calibration(report, words),
        Part(
            table=Table(
                words("recalibration"),
                (words("method"), *(words(each) for each in ("brier", "eavg", *intervals[::2]))),
                [
                    (
                        words(f"recalibration_{each['method']}"),
                        format_number(each["brier"], words),
                        format_number(each["eavg"], words),
                        *(format_interval(each[key], words) for key in intervals[::2]),
                    )
                    for each in report["recalibration"]
                ],
            ),
            notes=[words("recalibration_note")],
        ),
    ]


def build_use(report: Report, words: Words) -> list[Part]:
    own = report["performance"][report["model"]]
    prevalence = own["calibration"]["observed"] or 0.0
    # Thresholds far above the risk of most people decide nothing.
    last = min(0.5, max(0.1, 4 * prevalence))
    points = [each for each in own["decision_curve"] if each["threshold"] <= last]
    at = [each["threshold"] for each in points]
    curves = [
        Line(
            title,
            at,
            [_read_value(each["net_benefit"]) for each in performance["decision_curve"]][: len(at)],
        )
        for title, performance in list_drawn_predictors(report, words)
    ]
    everybody = Line(words("treat_all"), at, [each["treat_all"] for each in points])
    nobody = Line(words("treat_none"), at, [0.0] * len(at))
    best = max(value for line in (*curves, everybody) for value in line.y if value is not None)
    floor = -0.25 * best
    lines = [_cut_below(line, floor) for line in (*curves, everybody, nobody)]
    axes = Axes(words("threshold"), words("net_benefit"), (0, last), (floor, 1.05 * best))
    columns = (
        "sensitivity",
        "specificity",
        "positive_predictive_value",
        "negative_predictive_value",
    )
    headings = ("sensitivity", "specificity", "precision", "negative_predictive_value")
    alerts = Table(
        words("alerts"),
        (words("alert_rate"), words("alerts_count"), *(words(each) for each in headings)),
        [
            (
                format_share(each["alert_rate"], words),
                format_count(each["alerts"], words),
                *(format_interval(each[column], words) for column in columns),
            )
            for each in own["alerts"]
        ],
    )
    plot = draw_lines(lines, axes, words("decision_curve"))
    table = tabulate_lines(
        words("numbers"), [*curves, everybody, nobody], words("threshold"), words
    )
    return [
        Part(words("decision_curve"), plot, table, [words("decision_note")]),
        Part(table=alerts),
    ]


def _draw_curve(
    report: Report, words: Words, curve: str, x: str, y: str, *, diagonal: bool = False
) -> Part:
    drawn = list_drawn_predictors(report, words)
    lines = [Line(title, each[curve]["x"], each[curve]["y"]) for title, each in drawn]
    axes = Axes(words(x), words(y), has_diagonal=diagonal)
    return plot_with_table(words(curve), lines, axes, words(x), words)


def _draw_calibration(report: Report, words: Words) -> list[Part]:
    drawn = list_drawn_predictors(report, words)
    curves = [(title, each["calibration"]["curve"]) for title, each in drawn]
    lines = [Line(title, curve["predicted"], curve["observed"]) for title, curve in curves]
    own = report["performance"][report["model"]]["calibration"]
    bins = own["bins"]
    dots = Line(
        words("tenths"),
        [each["predicted"] for each in bins],
        [each["observed"] for each in bins],
        has_line=False,
        has_marks=True,
    )
    values = [value for line in (*lines, dots) for value in (*line.x, *line.y) if value is not None]
    top = min(1.0, 1.05 * max(values))
    axes = Axes(words("predicted"), words("observed_share"), (0, top), (0, top), has_diagonal=True)
    table = Table(
        words("tenths"),
        (words("mean_predicted"), words("observed_share"), words("rows"), words("outcomes")),
        [
            (
                format_number(each["predicted"], words),
                format_number(each["observed"], words),
                format_count(each["rows"], words),
                format_count(each["outcomes"], words),
            )
            for each in bins
        ],
    )
    plot = draw_lines([*lines, dots], axes, words("calibration_curve"))
    numbers = Table(
        words("numbers"),
        (words("predictor"), words("predicted"), words("observed_share")),
        [
            (line.label, format_number(x, words), format_number(y, words))
            for line in lines
            for x, y in zip(line.x, line.y, strict=True)
        ],
    )
    return [Part(words("calibration_curve"), plot, table), Part(table=numbers)]


def _read_value(interval: Mapping[str, Any] | None) -> float | None:
    return None if interval is None else interval["value"]


def _cut_below(line: Line, floor: float) -> Line:
    return Line(line.label, line.x, [y if y is not None and y >= floor else None for y in line.y])


def _format_line(calibration: Mapping[str, Any], words: Words) -> str:
    if calibration["line_slope"] is None:
        return words("not_defined")
    intercept, slope = (
        format_number(calibration[key], words) for key in ("line_intercept", "line_slope")
    )
    return f"{intercept} + {slope} x"
