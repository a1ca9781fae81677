"""Sections of the report page about groups, later rows, other organisations, gaps and attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_models.report.messages import Words
from ehr_models.report.page_parts import (
    Part,
    Report,
    Table,
    find_range,
    format_count,
    format_interval,
    format_number,
    format_share,
)
from ehr_models.report.plots import Axes, Line, draw_intervals, draw_lines


def build_subgroups(report: Report, words: Words) -> list[Part]:
    parts = [Part(notes=[words("subgroups_note")])]
    rate = format_share(report["settings"]["alert_rate"], words)
    for column in report["subgroups"]:
        title = words.find(f"column_{column['column']}", column["column"])
        parts.append(_draw_subgroups(column, title, words))
        if column["fairness"]:
            table = Table(
                words("fairness", rate=rate),
                (words("measure"), words("difference"), words("ratio")),
                [
                    (
                        words(gap["metric"]),
                        format_interval(gap["difference"], words),
                        format_number(gap["ratio"], words),
                    )
                    for gap in column["fairness"]
                ],
            )
            parts.append(Part(table=table))
    return parts


def build_transport(report: Report, words: Words) -> list[Part]:
    refitted = report["refitted"]
    validations, notes = [], [words("transport_note")]
    if refitted["over_time"]:
        day = refitted["over_time"]["name"].removeprefix("from ")
        validations.append((words("from_day", day=day), refitted["over_time"]))
    if refitted["across_sites"]:
        validations += [(each["name"], each) for each in refitted["across_sites"]["sites"]]
        if refitted["across_sites"]["too_few"]:
            names = ", ".join(refitted["across_sites"]["too_few"])
            notes.append(words("too_few", names=names))
    if not validations:
        return [Part(notes=[*notes, words("not_measured")])]
    figures = ("auroc", "average_precision", "brier", "in_the_large", "slope")
    table = Table(
        words("transport"),
        (
            words("tested_on"),
            words("people"),
            words("outcomes"),
            *(words(each) for each in figures),
        ),
        [
            (
                name,
                format_count(each["people"], words),
                format_count(each["outcomes"], words),
                *(format_interval(each[figure], words) for figure in figures),
            )
            for name, each in validations
        ],
    )
    return [Part(table=table, notes=notes)]


def build_learning(report: Report, words: Words) -> list[Part]:
    holdout = report["refitted"]["holdout"]
    if not holdout or not holdout["learning_curve"]:
        return [Part(notes=[words("not_measured")])]
    points = holdout["learning_curve"]
    shares = [point["share"] for point in points]
    aurocs = [point["test"]["auroc"] for point in points]
    lines = [
        Line(
            words("on_others"),
            shares,
            [auroc["value"] for auroc in aurocs],
            [auroc["low"] for auroc in aurocs],
            [auroc["high"] for auroc in aurocs],
            has_marks=True,
        ),
        Line(
            words("on_learnt"), shares, [point["learnt_auroc"] for point in points], has_marks=True
        ),
    ]
    table = Table(
        words("numbers"),
        (words("learnt_from_share"), words("people"), words("on_others"), words("on_learnt")),
        [
            (
                format_share(point["share"], words),
                format_count(point["people"], words),
                format_interval(point["test"]["auroc"], words),
                format_number(point["learnt_auroc"], words),
            )
            for point in points
        ],
    )
    axes = Axes(words("learnt_from_share"), words("auroc"), (0, 1.03), find_range(lines))
    return [Part("", draw_lines(lines, axes, words("learning_curve")), table)]


def build_missingness(report: Report, words: Words) -> list[Part]:
    holdout = report["refitted"]["holdout"]
    if not holdout:
        return [Part(notes=[words("not_measured")])]
    points = holdout["missingness"]
    shares = [point["share"] for point in points]
    line = Line(
        words("auroc"),
        shares,
        [point["auroc"]["value"] for point in points],
        [point["auroc"]["low"] for point in points],
        [point["auroc"]["high"] for point in points],
        has_marks=True,
    )
    table = Table(
        words("numbers"),
        (words("hidden_share"), words("auroc"), words("mean_predicted")),
        [
            (
                format_share(point["share"], words),
                format_interval(point["auroc"], words),
                format_number(point["mean_predicted"], words),
            )
            for point in points
        ],
    )
    axes = Axes(words("hidden_share"), words("auroc"), (-0.03, 0.8), find_range([line]))
    return [Part("", draw_lines([line], axes, words("missingness")), table)]


def build_membership(report: Report, words: Words) -> list[Part]:
    membership = report["refitted"]["membership"]
    if not membership:
        return [Part(notes=[words("membership_note"), words("not_measured")])]
    table = Table(
        words("membership"),
        (words("attack"), words("auroc"), words("found_at_one_percent")),
        [
            (
                words(f"attack_{attack['name']}"),
                format_interval(attack["auroc"], words),
                format_number(attack["found_at_one_percent"], words),
            )
            for attack in membership["attacks"]
        ],
    )
    return [Part(table=table, notes=[words("membership_note")])]


def _draw_subgroups(column: Mapping[str, Any], title: str, words: Words) -> Part:
    figures = ("auroc", "observed_over_expected", "slope", "sensitivity")
    names = {value: words(value) for value in ("unknown", "female", "male")}
    judged = [
        (names.get(group["group"].lower(), group["group"]), group["auroc"])
        for group in column["groups"]
        if group["auroc"] and group["auroc"]["low"] is not None
    ]
    rows = [(name, auroc["value"], auroc["low"], auroc["high"]) for name, auroc in judged]
    table = Table(
        title,
        (
            words("group"),
            words("people"),
            words("outcomes"),
            *(words(each) for each in figures),
            words("precision"),
        ),
        [
            (
                names.get(group["group"].lower(), group["group"]),
                format_count(group["people"], words),
                format_count(group["outcomes"], words),
                *(format_interval(group[each], words) for each in figures),
                format_interval(group["positive_predictive_value"], words),
            )
            for group in column["groups"]
        ],
    )
    label = f"{words('auroc')}: {title}"
    plot = draw_intervals(rows, words("auroc"), label, 0.5) if rows else None
    return Part(title, plot, table)
