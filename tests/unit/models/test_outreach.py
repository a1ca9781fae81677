"""The census of the elderly at home: who is in it, what was known, what followed; the worklist."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ehr_models.learners.tuning import Rows, fit_learners
from ehr_models.tasks.outreach import TASK
from ehr_models.tasks.outreach.census import FEATURES
from ehr_models.worklist import build_worklist
from tests.lib import gold

NAMES = [feature.name for feature in FEATURES]
NO_CONDITIONS = gold.made_up(0)["condition_flat"]
# Somebody else's last contact: the data go on to here.
OTHER = ("other", "AMB", "2024-12-15", "2024-12-15")


def views(*contacts: tuple[str, str, str, str | None], **people: Any) -> dict[str, Any]:
    """Return the views of contacts: patient, class, first and last day."""
    columns = ["patient_id", "class", "start", "end"]
    encounters = pd.DataFrame(list(contacts), columns=columns)
    encounters["id"] = [f"e{number}" for number in range(len(contacts))]
    encounters["status"] = ["finished" if c[3] else "in-progress" for c in contacts]
    names = sorted({contact[0] for contact in contacts})
    born = {"id": names, "gender": "female", "birth_year": 1950, "region": None, "deceased": False}
    return {
        "patient_demographics": pd.DataFrame(born | people),
        "encounter_flat": encounters,
        "condition_flat": NO_CONDITIONS,
        "medication_request": gold.make_empty("medication_request"),
    }


def months(tables: dict[str, Any], patient: str = "p") -> pd.DataFrame:
    """Return the rows of one patient, by the month."""
    rows = TASK.build_frame(tables).rows
    mine = rows[rows["patient_id"] == patient]
    return mine.set_index(mine["ended"].dt.strftime("%Y-%m"))


def test_the_index_is_the_first_of_each_month_after_a_contact_of_two_years() -> None:
    found = months(views(("p", "AMB", "2021-03-10", "2021-03-10"), OTHER))

    # From April 2021 up to two years after the contact.
    assert found.index[0] == "2021-04" and found.index[-1] == "2023-03"
    assert len(found) == 24 and set(found["encounter_id"]) >= {"census-2021-04-01"}
    assert found.loc["2021-04", "days_since_contact"] == 22


def test_only_people_of_65_and_more_who_are_at_home_are_in_it() -> None:
    stay = ("p", "IMP", "2024-02-20", "2024-04-03")
    assert set(months(views(stay, OTHER)).index) == {f"2024-{month:02}" for month in range(5, 13)}
    goes_on = ("p", "IMP", "2024-02-20", None)
    assert months(views(goes_on, OTHER)).empty
    contact = ("p", "AMB", "2023-06-10", "2023-06-10")
    assert months(views(contact, OTHER, birth_year=1960)).empty
    # 65 in the calendar year 2024.
    assert months(views(contact, OTHER, birth_year=1959)).index[0] == "2024-01"
    assert months(views(contact, OTHER, deceased=True)).empty


def test_an_emergency_or_a_fall_within_90_days_is_the_outcome() -> None:
    tables = views(
        ("p", "AMB", "2023-12-10", "2023-12-10"), ("p", "EMER", "2024-04-30", "2024-04-30"), OTHER
    )
    found = months(tables)["needed_help"]

    # 30 April is 90 days after 31 January: from 1 February on.
    assert found["2024-01"] == 0 and found["2024-02"] == 1 and found["2024-05"] == 0
    # 90 days from October reach beyond the data.
    assert found["2024-09"] == 0 and np.isnan(found["2024-10"])
    columns = ["patient_id", "code", "onset", "verification_status"]
    rows = [("p", "W01.0", "2024-07-20", "confirmed"), ("p", "W19", "2024-09-02", "refuted")]
    falls = pd.DataFrame(rows, columns=columns)
    fallen = months({**tables, "condition_flat": falls})
    by_month = ["2024-04", "2024-05", "2024-07", "2024-08"]
    assert fallen["needed_help"][by_month].tolist() == [1, 1, 1, 0]
    assert fallen["falls_24m"][["2024-07", "2024-08"]].tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(2))
def test_what_is_planted_on_or_after_the_census_day_changes_nothing(seed: int) -> None:
    tables = gold.made_up(60, seed)
    before = TASK.build_frame(tables).rows
    cut = pd.Timestamp(before["ended"].sort_values().iloc[len(before) // 2])
    day = cut.strftime("%Y-%m-%d")
    whose = np.random.default_rng(seed).choice(before["patient_id"].unique(), 40)
    visits = pd.DataFrame({"patient_id": whose, "id": "x", "start": day, "end": day})
    visits[["class", "status"]] = "EMER", "finished"
    falls = pd.DataFrame({"patient_id": whose, "onset": day})
    falls[["code", "verification_status"]] = "W01", "confirmed"
    more = {
        "encounter_flat": pd.concat([tables["encounter_flat"], visits], ignore_index=True),
        "condition_flat": pd.concat([tables["condition_flat"], falls], ignore_index=True),
    }
    after = TASK.build_frame({**tables, **more}).rows

    columns = ["patient_id", "ended", *NAMES]
    early, late = (rows.loc[rows["ended"] <= cut, columns] for rows in (before, after))
    assert len(early) > 100
    assert_frame_equal(early.reset_index(drop=True), late.reset_index(drop=True))


def test_the_worklist_has_the_living_of_this_month_the_riskiest_first_with_reasons() -> None:
    tables = gold.made_up(150)
    frame = TASK.build_frame(tables)
    model = fit_learners(("logistic",), Rows.of_frame(frame))["logistic"]
    newest = frame.rows["ended"].max()
    as_of = datetime(newest.year, newest.month, 20, tzinfo=UTC)
    listed = build_worklist(TASK, model, tables, as_of)

    current = frame.rows[frame.rows["ended"] == newest]
    dead = tables["patient_demographics"].query("deceased == True")["id"]
    assert {row.patient for row in listed} == set(current["patient_id"]) - set(dead)
    risks = [row.probability for row in listed]
    assert risks == sorted(risks, reverse=True) and len(risks) > 5
    reasons = listed[0].reasons
    own = current.set_index("patient_id").loc[listed[0].patient]
    assert 0 < len(reasons) <= 3
    assert all(value == own[feature.name] for feature, value in reasons)
    assert build_worklist(TASK, model, tables, datetime(2035, 1, 1, tzinfo=UTC)) == ()
