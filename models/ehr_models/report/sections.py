"""The sections of the report page: plots beside the tables of the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ehr_models.report.messages import Words
from ehr_models.report.page_parts import (
    Part,
    Report,
    Section,
    Table,
    format_count,
    format_share,
)
from ehr_models.report.performance_sections import (
    build_calibration,
    build_discrimination,
    build_use,
)
from ehr_models.report.robustness_sections import (
    build_learning,
    build_membership,
    build_missingness,
    build_subgroups,
    build_transport,
)
from ehr_models.report.tripod import fill_checklist

# The attacks on who was learnt from, as a gate names them.
_ATTACKS = ("loss", "likelihood-ratio")


def build_sections(report: Report, words: Words) -> list[Section]:
    """Return the sections of the page in a language."""
    builders: Sequence[tuple[str, str, Callable[[Report, Words], list[Part]]]] = (
        ("overview", "overview", build_overview),
        ("data", "data", build_data),
        ("discrimination", "discrimination", build_discrimination),
        ("calibration", "calibration", build_calibration),
        ("use", "use", build_use),
        ("subgroups", "subgroups", build_subgroups),
        ("transport", "transport", build_transport),
        ("learning", "learning_curve", build_learning),
        ("missingness", "missingness", build_missingness),
        ("membership", "membership", build_membership),
        ("features", "features", build_features),
        ("tripod", "tripod", build_tripod),
    )
    return [Section(name, words(title), build(report, words)) for name, title, build in builders]


def build_overview(report: Report, words: Words) -> list[Part]:
    flags = report["flags"]
    notes = [words("better" if flags["better_than_comparators"] else "not_better")]
    notes += [words("synthetic")] if flags["is_synthetic"] else []
    notes += [words("leakage")] if flags["leakage_suspected"] else []
    gates = Table(
        words("gates"),
        (words("gate"), words("result"), words("why")),
        [
            (
                words.find(f"gate_{gate['gate']}", gate["gate"]),
                words("met" if gate["is_met"] else "not_met"),
                explain_gate(gate, report["facts"]["predictors"], words),
            )
            for gate in report["gates"]
        ],
    )
    return [Part(notes=notes), Part(table=gates)]


def explain_gate(gate: Report, predictors: Mapping[str, str], words: Words) -> str:
    """Return what a gate found, in the language of the page; its own English where that is all.

    `predictors` are their titles by name.
    """
    key = f"why_{gate.get('message')}"
    if key not in words.messages:
        return str(gate["text"])
    values: Mapping[str, str] = {"groups": "", **gate["values"]}
    named = [
        f"{_name_predictor(name, title, words)} {values[name]}"
        for name, title in {**predictors, **dict.fromkeys(_ATTACKS, "")}.items()
        if name in values
    ]
    return words(key, **values, list=words("listed").join(named))


def _name_predictor(name: str, title: str, words: Words) -> str:
    attack = words.find(f"attack_{name}", words.find(f"title_{title}", title))
    return words.find(f"predictor_{name}", attack)


def build_data(report: Report, words: Words) -> list[Part]:
    facts = report["facts"]
    within = words("within_days", days=f"{facts['horizon_days']:g}")
    versions = [f"{name} ({number})" for name, number in facts["tables"].items()]
    rows = [
        (words("outcome"), f"{facts['outcome']} ({within})"),
        (words("rows"), format_count(report["rows"], words)),
        (words("people"), format_count(report["people"], words)),
        (words("outcomes"), format_count(report["outcomes"], words)),
        (words("tables"), ", ".join(versions)),
        (words("code"), facts["code"][:12]),
    ]
    notes = [
        words("counts_note"),
        words("interval_note", resamples=report["settings"]["resamples"]),
    ]
    definition = facts["texts"]["outcome_definition"]
    return [Part(table=Table("", (), rows), notes=([definition] if definition else []) + notes)]


def build_features(report: Report, words: Words) -> list[Part]:
    table = Table(
        words("features"),
        (words("feature"), words("unit"), words("source"), words("missing")),
        [
            (each["title"], each["unit"], each["source"], format_share(each["missing"], words))
            for each in report["facts"]["features"]
        ],
    )
    return [Part(table=table)]


def build_tripod(report: Report, words: Words) -> list[Part]:
    titles = {"card": words("model_card"), "learning": words("learning_curve")}
    table = Table(
        words("tripod"),
        ("", words("item"), words("answered")),
        [
            (
                item.number,
                item.item,
                titles.get(item.section, words.find(item.section, item.section))
                if item.is_answered
                else words("is_missing", what=", ".join(item.missing)),
            )
            for item in fill_checklist(report, words.tag)
        ],
    )
    return [Part(table=table, notes=[words("tripod_note")])]
