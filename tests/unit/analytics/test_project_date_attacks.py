"""What an insider learns of dates in each form, and whether extracts of two projects join."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ehr_analytics.date_form_pairs import SHARE_UNDONE
from ehr_analytics.project_dates import ProjectDates
from ehr_analytics.query_job import QueryJob, SourceView, Withheld
from ehr_analytics.query_worker import run_job
from ehr_etl.duckdb_session import QueryLimits
from ehr_privacy.deid import DateForm, count_shift_weeks, derive_date_key, pseudonym, shift_days
from tests.lib.insider import HOLIDAYS, LAST, make_population

KEY = b"k" * 32
VISITS = 10


def dates_of(form: DateForm, project: str) -> ProjectDates:
    return ProjectDates(form, derive_date_key(KEY), project * 64)


# --- what is known of all ---


def list_days(form: DateForm, shown: date) -> list[date]:
    """Return the working days that a shown month or quarter may be of."""
    months = 1 if form == "month" else 3
    days = (shown + timedelta(days=number) for number in range(31 * months))
    last = (shown.year * 12 + shown.month - 1) + months
    return [day for day in days if day.weekday() < 5 and day.year * 12 + day.month - 1 < last]


@pytest.mark.parametrize(("form", "most"), [("month", 1.12), ("quarter", 1.12)])
def test_holidays_and_the_day_of_the_copy_give_chance_in_months_and_quarters(
    form: DateForm, most: float
) -> None:
    """The day of a visit is guessed among the working days of its period, closed days left out."""
    dates = dates_of(form, "a")
    gains = []
    for name, records in make_population(60, 80).items():
        patient = pseudonym(KEY, f"Patient/{name}")
        for record in records:
            if record["resourceType"] != "Encounter":
                continue
            true = date.fromisoformat(record["period"]["start"][:10])
            shown = dates.show(true + timedelta(days=shift_days(KEY, name)), patient, "e")
            days = list_days(form, shown)
            left = [day for day in days if day not in HOLIDAYS and day <= LAST]
            assert true in left
            gains.append(len(days) / len(left))

    assert sum(gains) / len(gains) < most


# --- two projects of the same people ---

Rows = list[tuple[str, str]]
Match = Callable[[Rows, Rows], dict[str, str]]


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gold table of visits, as the lake moved their dates."""
    rows = []
    for name, records in make_population(80, VISITS).items():
        patient = pseudonym(KEY, f"Patient/{name}")
        for record in records:
            if record["resourceType"] == "Encounter":
                day = date.fromisoformat(record["period"]["start"][:10])
                key = pseudonym(KEY, f"Encounter/{record['id']}")
                moved = (day + timedelta(days=shift_days(KEY, name))).isoformat()
                rows.append(
                    {"patient_id": patient, "start": moved, "_patient": patient, "_episode": key}
                )
    path = tmp_path_factory.mktemp("gold") / "visits"
    write_deltalake(str(path), pa.Table.from_pylist(rows))
    return path


def extract(gold: Path, form: DateForm, project: str) -> Rows:
    columns = ("patient_id", "start")
    view = SourceView("visits", str(gold), 0, columns, ("patient_id",), ("start",))
    key, limits = project * 64, QueryLimits()
    job = QueryJob(
        (view,), "", Withheld(), key, dates_of(form, project), "FROM visits", {}, "json", limits
    )
    return [(row["patient_id"], row["start"]) for row in run_job(job)[0].to_pylist()]


def list_people(gold: Path, project: str) -> dict[str, str]:
    """Return by whom of the project each patient of the lake is called."""
    import hashlib

    from deltalake import DeltaTable

    names = set(DeltaTable(str(gold)).to_pyarrow_table().column("patient_id").to_pylist())
    return {hashlib.sha256(f"{project * 64}{name}".encode()).hexdigest(): name for name in names}


def group_days(rows: Rows) -> dict[str, list[date]]:
    days: defaultdict[str, list[date]] = defaultdict(list)
    for person, day in rows:
        days[person].append(date.fromisoformat(day))
    return {person: sorted(each) for person, each in days.items()}


def match_by_pseudonyms(ours: Rows, theirs: Rows) -> dict[str, str]:
    there = {person for person, _ in theirs}
    return {person: person for person, _ in ours if person in there}


def match_by_order(ours: Rows, theirs: Rows) -> dict[str, str]:
    people = (dict.fromkeys(person for person, _ in rows) for rows in (ours, theirs))
    return dict(zip(*people, strict=False))


def match_by(features: Callable[[Sequence[date]], Iterable[object]]) -> Match:
    """Join each person with whom they share most features of their dates, by a fixed lot."""

    def match(ours: Rows, theirs: Rows) -> dict[str, str]:
        there = {name: Counter(features(days)) for name, days in group_days(theirs).items()}
        names = sorted(there)
        random.Random(1).shuffle(names)
        return {
            person: max(names, key=lambda name: (Counter(features(days)) & there[name]).total())
            for person, days in group_days(ours).items()
        }

    return match


def list_intervals(days: Sequence[date]) -> list[int]:
    return [(after - before).days for before, after in pairwise(days)]


def share_joined(gold: Path, form: DateForm, match: Match) -> float:
    """Return the share of people who are joined rightly; chance is one in all of them."""
    ours, theirs = extract(gold, form, "a"), extract(gold, form, "b")
    names, others = list_people(gold, "a"), list_people(gold, "b")
    joined = match(ours, theirs)
    return sum(names[one] == others.get(other) for one, other in joined.items()) / len(names)


# Chosen: with one right in 80 by chance, more than six happen in fewer than one of 10,000 tries.
CHANCE = 6 / 80


@pytest.mark.parametrize("match", [match_by_pseudonyms, match_by_order])
@pytest.mark.parametrize("form", ["shift", "episode", "month", "quarter"])
def test_no_pseudonym_and_no_order_joins_two_projects(
    gold: Path, form: DateForm, match: Match
) -> None:
    assert share_joined(gold, form, match) <= CHANCE


@pytest.mark.parametrize("form", ["shift", "episode"])
def test_no_shifted_date_joins_two_projects(gold: Path, form: DateForm) -> None:
    assert share_joined(gold, form, match_by(list)) <= CHANCE


def test_the_limits_that_the_documentation_tells_hold(gold: Path) -> None:
    """Intervals are the same wherever they are kept, and so are true months."""
    assert share_joined(gold, "shift", match_by(list_intervals)) > 0.9
    assert share_joined(gold, "episode", match_by(list_intervals)) <= CHANCE
    assert share_joined(gold, "month", match_by(list)) > 0.9
    assert share_joined(gold, "quarter", match_by(list)) > 0.9


# --- two forms of the same people ---


def share_undone(gold: Path, coarse: DateForm) -> float:
    """Return the share of people whose true days follow from shifted ones and a coarse form."""
    names, others = list_people(gold, "a"), list_people(gold, "b")
    coarse_days = {
        person: Counter(days) for person, days in group_days(extract(gold, coarse, "b")).items()
    }
    people = sorted(coarse_days)
    random.Random(1).shuffle(people)
    undone, key = 0, dates_of("shift", "a").project_key
    for person, days in group_days(extract(gold, "shift", "a")).items():
        shared = {}
        for weeks in range(1, 53):
            periods = Counter(cut(day + timedelta(weeks=weeks), coarse) for day in days)
            for other in people:
                shared[weeks, other] = (periods & coarse_days[other]).total()
        weeks, other = max(shared, key=lambda guess: shared[guess])
        patient = names[person]
        own_weeks = count_shift_weeks(key, patient)
        undone += others[other] == patient and weeks == own_weeks
    return undone / len(names)


def cut(day: date, form: DateForm) -> date:
    return day.replace(
        day=1, month=day.month if form == "month" else 3 * ((day.month - 1) // 3) + 1
    )


@pytest.mark.parametrize("coarse", ["month", "quarter"])
def test_the_limit_that_is_told_of_two_forms_holds(gold: Path, coarse: DateForm) -> None:
    """True months undo a shift that keeps intervals: approvers read how far."""
    told = SHARE_UNDONE[frozenset({"shift", coarse})]
    assert share_undone(gold, coarse) == pytest.approx(told, abs=0.02)


def test_each_further_shift_of_a_person_narrows_the_true_day_as_is_told() -> None:
    """Keys that are replaced, or projects that are joined: the true day is within all of them."""
    for shifts, told in ((1, 1.0), (2, 2.0), (3, 2.9), (5, 4.7)):
        gains = []
        for number in range(3000):
            weeks = [count_shift_weeks(f"{key:064x}", f"{number:032x}") for key in range(shifts)]
            gains.append(52 / (52 - (max(weeks) - min(weeks))))
        assert sum(gains) / len(gains) == pytest.approx(told, rel=0.1)


def test_a_shift_of_a_project_is_no_other_ones() -> None:
    same = sum(
        count_shift_weeks("a" * 64, f"{number:032x}")
        == count_shift_weeks("b" * 64, f"{number:032x}")
        for number in range(5200)
    )
    assert 50 < same < 150
