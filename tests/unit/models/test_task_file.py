"""A task's file: what it may say, and how a fault in it is named."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.compiler import compile_cohort
from ehr_analytics.cohorts.dialects import SPARK
from ehr_analytics.cohorts.sources import source_of_view
from ehr_analytics.cohorts.toml_text import parse_cohort
from ehr_etl.gold.library import load_view
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_models.cli import app
from ehr_models.gate_limits import GateLimits
from ehr_models.task_file import load_task, parse_declaration, parse_task

TASK = """
name = "second-visit"
title = "A second visit"

[events.visits]
table = "encounter_flat"
date = "start"
end = "end"
merge_gap_days = 0

[events.diagnoses]
table = "condition_flat"
date = "onset"
until = "abatement"

[index]
events = "visits"
pick = "each"
at = "end"

[outcome]
name = "visited"
events = "visits"
days = 10
code = "visit"
text = "A visit"
plural = "visits"
phrase = "came again"

[[feature]]
name = "length"
title = "Length"
unit = "d"
kind = "index"
column = "days"

[[codes]]
name = "diagnosis"
title = "Diagnosis"
events = "diagnoses"
column = "code"
system = "code_system"
"""


def parse(text: str) -> dict[str, object]:
    return tomllib.loads(text, parse_float=Decimal)


def test_a_small_file_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(TASK, "utf-8")
    (tmp_path / "card.md").write_text("# Card\n\n$verdict\n", "utf-8")

    task = load_task(tmp_path)
    shown = CliRunner().invoke(app, ["check", str(tmp_path)])

    assert (task.name, task.target, task.outcome.horizon.days) == ("second-visit", "visited", 10)
    assert task.views == ("patient_demographics", "encounter_flat", "condition_flat")
    assert "second-visit: A second visit. It reads patient_demographics" in shown.output


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('title = "A second visit"', 'titel = "A"', "the key titel"),
        ('table = "encounter_flat"', 'table = "encounter"', "no view 'encounter'"),
        ('until = "abatement"', 'until = "code"', "events.diagnoses.until: code is no date"),
        ('pick = "each"', 'pick = "every"', "first or last, or each of a model"),
        ('at = "end"', 'at = "middle"', "index.at is start or end"),
        ('events = "visits"\npick', 'events = "stays"\npick', "index reads the events stays"),
        ("days = 10", "days = 0", "follow_up.days has 0 days"),
        ('code = "visit"', "", "outcome lacks `code`"),
        ('column = "days"', 'column = "days_to_next"', "Nobody knows days_to_next"),
        ('column = "days"', 'column = "day"', "no column 'day'"),
        ('kind = "index"\ncolumn = "days"', 'kind = "count"\nevents = "visits"\nto_days = 5',
         "past the index date"),
        ("merge_gap_days = 0", 'merge_gap_days = 0\nkeep = [{ column = "days_to_last", from = 9 }]',
         "asks for days_to_last, which nobody"),
        ('unit = "d"', 'unit = "d"\nleast = "low"', "feature length has a `least`"),
        ('column = "code"', 'column = "onset"', "its column onset is no code"),
        ('events = "diagnoses"', 'events = "others"', "codes diagnosis reads the events others"),
        ("[outcome]", '[[measurement]]\nname = "m"\ntitle = "M"\nunit = "mmol/L"\n'
         'events = "visits"\ncodes = ["sodium"]\n[outcome]', "none of LOINC"),
        ("[outcome]", '[[measurement]]\nname = "m"\ntitle = "M"\nunit = "pounds"\n'
         'events = "visits"\ncodes = ["2951-2"]\n[outcome]', "UCUM does not know"),
        ("[events.visits]", 'comparators = ["apache"]\n[events.visits]', "names 'apache'"),
        ("[events.visits]", 'comparators = ["lace"]\n[events.visits]', "lace needs the feature"),
        ("[events.visits]", 'learners = ["oracle"]\n[events.visits]', "there are logistic"),
        ("[events.visits]", 'gates = { auroc = 0.7 }\n[events.visits]', "gates has the key auroc"),
        ("[events.visits]", 'gates = { slope = [2, 3] }\n[events.visits]', "gates has a `slope`"),
        ("[events.visits]", 'gates = { slope = 1 }\n[events.visits]', "gates has a `slope`"),
        ("[events.visits]", 'gates = { membership_auroc = 0.4 }\n[events.visits]', "no gate can"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_key(old: str, new: str, fault: str) -> None:
    assert old in TASK
    with pytest.raises(Unprocessable, match=fault):
        parse_task(parse(TASK.replace(old, new, 1)), "")


def test_a_task_sets_the_limits_of_its_gates_and_the_others_are_the_usual_ones() -> None:
    gates = "gates = { minimum_outcomes = 50, slope = [0.7, 1.3], membership_auroc = 0.52 }"
    task = parse_task(parse(TASK.replace("[events.visits]", f"{gates}\n[events.visits]", 1)), "")

    assert task.gates == GateLimits(
        minimum_outcomes=50, slope=(0.7, 1.3), membership_auroc=0.52, subgroup_auroc=0.55
    )
    told = CliRunner().invoke(app, ["tasks"]).output
    assert all(name in told for name in vars(GateLimits()))


def test_files_that_are_not_there_or_no_toml_are_said(tmp_path: Path) -> None:
    (tmp_path / "card.md").touch()
    with pytest.raises(NotFound, match="has no task"):
        load_task(tmp_path)
    (tmp_path / "task.toml").write_text("name = ", "utf-8")
    with pytest.raises(Unprocessable, match="not TOML"):
        load_task(tmp_path)


@pytest.mark.parametrize(
    ("index", "further"),
    [
        ('pick = "each"', ""),
        ('at = "end"', ""),
        ("", 'until = "start"'),
        ("", '[[column]]\nname = "n"\nkind = "count"\nevents = "visits"\ncounted_from = "start"'),
    ],
)
def test_what_is_for_models_is_refused_in_a_cohort_of_research(index: str, further: str) -> None:
    own = further if further.startswith("until") else ""
    column = "" if own else further
    text = f"""
name = "seen"
[events.visits]
table = "encounter_flat"
date = "start"
end = "end"
{own}
[index]
events = "visits"
{index}
{column}
"""
    sources = {
        name: source_of_view(load_view(name)) for name in ("encounter_flat", "patient_demographics")
    }

    with pytest.raises(Unprocessable, match="for prediction models"):
        check_cohort(parse_cohort(parse(text)), sources)


def test_a_tasks_cohort_compiles_for_spark_too() -> None:
    declaration = parse_declaration(parse(TASK))

    assert compile_cohort(declaration.cohort, declaration.sources, SPARK).steps
