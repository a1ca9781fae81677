"""Analyses of a cohort as a form: which fit its columns, and the study's text that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehr_portal.i18n import N_
from ehr_portal.record.form_fields import FormFault
from ehr_portal.research.cohort_form import read_document
from ehr_portal.research.toml_text import Document, format_toml

__all__ = ["ANALYSES", "Analysis", "Option", "build_study", "list_choices"]


@dataclass(frozen=True)
class Option:
    """One option of an analysis. `choices`: which columns of the cohort it may name."""

    name: str
    # Marked with N_, translated where it is shown.
    title: str
    choices: str
    is_list: bool = False
    is_required: bool = True


@dataclass(frozen=True)
class Analysis:
    """A kind of analysis, as docs/reference/analyses.md has it."""

    kind: str
    title: str
    meaning: str
    options: tuple[Option, ...] = ()


_BY = Option("by", N_("Split by"), "labels", is_list=True, is_required=False)
_OUTCOME = Option("outcome", N_("Outcome"), "outcomes")
_COLUMNS = Option("columns", N_("By which columns"), "all", is_list=True)
_NUMBER = Option("column", N_("Which number"), "numbers")
_UNIT = Option("unit", N_("Unit"), "text")
ANALYSES = (
    Analysis("attrition", N_("Attrition"), N_("How many people are left after each step.")),
    Analysis("counts", N_("Counts"), N_("How many people there are of each kind."), (_BY,)),
    Analysis(
        "prevalence",
        N_("Prevalence"),
        N_("How many people have something, and their share."),
        (Option("column", N_("What they have"), "yes_no"), _BY),
    ),
    Analysis(
        "table_one",
        N_("Table one"),
        N_("Characteristics of the people, side by side for groups."),
        (_COLUMNS, Option("group", N_("Groups"), "labels", is_required=False)),
    ),
    Analysis(
        "incidence",
        N_("Incidence"),
        N_("New events for each 1,000 person-years, with the interval."),
        (_OUTCOME, _BY),
    ),
    Analysis(
        "kaplan_meier",
        N_("Kaplan-Meier"),
        N_("The share without the event at each day; by groups with the log-rank test."),
        (_OUTCOME, Option("days", N_("Days, such as 30 90 365"), "days"), _BY),
    ),
    Analysis(
        "cox",
        N_("Cox regression"),
        N_("Hazard ratios with their intervals."),
        (_OUTCOME, _COLUMNS),
    ),
    Analysis("sums", N_("Sums"), N_("A number added up over people."), (_NUMBER, _UNIT, _BY)),
    Analysis(
        "distribution",
        N_("Distribution"),
        N_("Mean, standard deviation, median and quartiles of a number."),
        (_NUMBER, _UNIT, _BY),
    ),
    Analysis(
        "drug_outcome_pairs",
        N_("Drug and outcome pairs"),
        N_("Risk ratio and odds ratio of each pair."),
        (
            Option("drugs", N_("Drugs"), "noted", is_list=True),
            Option("outcomes", N_("Outcomes"), "yes_no", is_list=True),
        ),
    ),
    Analysis(
        "propensity",
        N_("Propensity matching"),
        N_("People with and without a treatment who are alike, and their difference in risk."),
        (
            Option("treatment", N_("Treatment"), "noted"),
            Option("outcome", N_("Outcome"), "yes_no"),
            _COLUMNS,
        ),
    ),
    Analysis(
        "interrupted_time_series",
        N_("Interrupted time series"),
        N_("Whether numbers changed after a day, by regression."),
        (
            Option("period", N_("Period"), "periods"),
            Option("interrupted", N_("First period after the change"), "text"),
        ),
    ),
)
_ANALYSIS_BY_KIND = {analysis.kind: analysis for analysis in ANALYSES}
_TESTS = frozenset({"in", "starts_with", "from", "to", "recorded"})


def list_choices(cohort: Document) -> dict[str, list[str]]:
    """Return the columns of a cohort by what an option may name: `Option.choices`."""
    columns = [column for column in cohort.get("column", []) if "name" in column]
    outcomes = [str(o["name"]) for o in cohort.get("follow_up", {}).get("outcome", [])]
    tested = [str(c["name"]) for c in columns if _TESTS & c.keys()]
    periods = [str(c["name"]) for c in columns if c.get("kind") == "index_period"]
    listed = [str(c["name"]) for c in columns if {"bands", "values", "top"} & c.keys()]
    # An outcome says nothing of how people began: nothing is split or explained by one.
    labels = [*listed, *periods, *tested]
    numbers = [str(c["name"]) for c in columns if c["name"] not in labels]
    return {
        "labels": labels,
        "noted": tested,
        "yes_no": [*tested, *outcomes],
        "outcomes": outcomes,
        "numbers": numbers,
        "periods": periods,
        "all": [*labels, *numbers],
    }


def may_run(analysis: Analysis, choices: Mapping[str, Sequence[str]]) -> bool:
    """Say whether a cohort has the columns that an analysis needs."""
    return all(
        choices.get(option.choices) or option.choices in ("text", "days")
        for option in analysis.options
        if option.is_required
    )


def build_study(
    definition: str, project: str, question: str, ticked: Mapping[str, Sequence[str]]
) -> tuple[str, list[FormFault]]:
    """Return the text of a study: a cohort with the analyses that were ticked, and the faults.

    `ticked`: values of the form's fields by name: `analysis` the kinds, `KIND.OPTION` its options.
    """
    faults: list[FormFault] = []
    analyses = [
        _build_analysis(_ANALYSIS_BY_KIND[kind], ticked, faults)
        for kind in ticked.get("analysis", ())
        if kind in _ANALYSIS_BY_KIND
    ]
    if not analyses:
        faults.append(FormFault("analysis", N_("Choose at least one analysis.")))
    document = {
        "project": project,
        "question": question,
        **read_document(definition),
        "analysis": analyses,
    }
    return format_toml(document), faults


def _build_analysis(
    analysis: Analysis, ticked: Mapping[str, Sequence[str]], faults: list[FormFault]
) -> Document:
    table: dict[str, object] = {"kind": analysis.kind, "name": analysis.kind.replace("_", "-")}
    for option in analysis.options:
        field = f"{analysis.kind}.{option.name}"
        values = [value.strip() for value in ticked.get(field, ()) if value.strip()]
        if option.choices == "days":
            words = " ".join(values).replace(",", " ").split()
            days = [int(word) for word in words if word.isdecimal()]
            if len(days) < len(words) or not days:
                faults.append(FormFault(field, N_("Write whole days, with spaces between them.")))
            table[option.name] = days
        elif values:
            table[option.name] = values if option.is_list else values[0]
        elif option.is_required:
            faults.append(FormFault(field, N_("Choose what the analysis needs.")))
    return table
