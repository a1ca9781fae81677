"""Research on a data folder at each of its steps: a draft, an open project, a run, a release."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics import release_requests, run_queue, run_worker
from ehr_analytics.people import Person
from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from ehr_etl.tables.bucketed import create_tables
from tests.lib import gold, research

STUDY = """
name = "stays"
title = "Stays in hospital"

[events.stays]
table = "encounter_flat"
date = "start"
where = [{ column = "class", in = ["IMP"] }]

[index]
events = "stays"

[[column]]
name = "sex"
kind = "person"
column = "gender"
values = ["female", "male"]

[[analysis]]
kind = "counts"
name = "by-sex"
by = ["sex"]
"""
REASON = "No small cell is shown."


def make_released_research(data: Path) -> tuple[str, str]:
    """Make a draft `idea` and an open project `stays` of researcher.lau, with two runs.

    Return the id of the one that is released, and of the one that waits for its checkers.
    """
    views = gold.end_last_stays(gold.made_up(200), datetime(2026, 6, 30, tzinfo=UTC))
    gold.write(data, views)
    create_tables(Lake(data / "lake"))
    register, who = Register(data), Person("researcher.lau", frozenset({"researcher.lau"}))
    research.open_project(register, id="stays", title="Stays", people=("researcher.lau",))
    projects.create_project(
        register, replace(research.DRAFT, id="idea", title="An idea", people=("researcher.lau",))
    )
    runs = [run_queue.request_cohort_run(register, "stays", STUDY, who).id for _ in range(2)]
    while (claimed := run_queue.claim_next(register)) is not None:
        run_id, lock = claimed
        with lock:
            run_worker.execute_run(register, run_id, frozenset())
    for run in runs:
        release_requests.request_release(register, run, "A table by sex, for a paper.", who)
    for login in ("steward.ng", "auditor.tse"):
        checker = Person(login, frozenset({login}))
        release_requests.approve_release(register, runs[0], REASON, checker, is_unsafe_judged=False)
    return runs[0], runs[1]
