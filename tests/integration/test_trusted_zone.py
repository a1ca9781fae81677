"""Visits and residents of the trusted zone: hours, waits, districts, and whose records they are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_etl.trusted_zone.visits import read_residents, read_visits
from ehr_fhir.errors import NotFound
from ehr_models.ward.lake import read_ward
from ehr_models.ward.rounds import build_rounds
from ehr_privacy.deid import pseudonym
from tests.lib import ward_rounds
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, encounter, patient


def attendance(name: str, whose: str, **changed: Any) -> dict[str, Any]:
    """Return an attendance that begins at 23:40 on 1 March and waits 35 minutes."""
    code = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"}
    arrived = {"start": "2026-03-01T15:40:00Z", "end": "2026-03-01T16:15:00Z"}
    return encounter(
        name,
        whose,
        **{
            "class": code,
            "period": {"start": "2026-03-01T15:40:00Z", "end": "2026-03-01T19:00:00Z"},
            "statusHistory": [
                {"status": "arrived", "period": arrived},
                {"status": "in-progress", "period": {"start": "2026-03-01T16:15:00Z"}},
            ],
            **changed,
        },
    )


def make_lake(folder: Path, *more: dict[str, Any]) -> Lake:
    lake = Lake(folder / "lake")
    resources = [
        patient("p-one"),
        patient("p-two", address=[{"district": "灣仔區"}]),
        patient("p-three"),
        consent("p-one", "joining"),
        consent("p-two", "joining"),
        *more,
    ]
    lines = [feed_line(number, one) for number, one in enumerate(resources, 1)]
    feed = Pages([b"\n".join([*lines, *decision_lines(resources)])])
    run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))
    return lake


def person(name: str) -> str:
    return pseudonym(KEY, f"Patient/{name}")


def test_a_visit_has_its_hour_in_the_place_its_wait_and_the_pseudonym_of_its_person(
    tmp_path: Path,
) -> None:
    lake = make_lake(
        tmp_path,
        attendance("a-one", "p-one"),
        # Still in care: the wait ended when the last state of waiting did.
        attendance(
            "a-two",
            "p-two",
            status="in-progress",
            period={"start": "2026-03-01T15:40:00Z"},
            statusHistory=[
                {"status": "arrived", "period": {"start": "2026-03-01T15:40:00Z"}},
                {"status": "triaged", "period": {"end": "2026-03-01T16:00:00Z"}},
            ],
        ),
        attendance("a-day", "p-two", period={"start": "2026-03-01"}, statusHistory=[]),
        attendance("a-not", "p-two", status="cancelled"),
        encounter("stay", "p-two"),
        # Not joined: research may not use it, and neither may an aggregate.
        attendance("a-three", "p-three"),
    )

    rows = read_visits(lake, KEY, NOW_MS).to_pylist()

    found = sorted(
        (r["person"], r["kind"], r["waited_minutes"], r["start"], r["end"])
        for r in rows
        if r["start"]
    )
    night = datetime(2026, 3, 1, 23, 40)
    assert found == sorted(
        [
            (person("p-one"), "emergency", 35.0, night, datetime(2026, 3, 2, 3)),
            (person("p-two"), "emergency", 20.0, night, None),
            (person("p-two"), "inpatient", None, datetime(2026, 3, 1, 9), datetime(2026, 3, 4, 9)),
        ]
    )
    assert [r["kind"] for r in rows if r["start"] is None] == ["emergency"]
    assert {r["provider"] for r in rows} == {"ha-harbour"}


def test_who_opted_out_of_research_is_in_no_aggregate(tmp_path: Path) -> None:
    out = consent("p-two", "research", permit=False)

    lake = make_lake(tmp_path, attendance("a-one", "p-one"), attendance("a-two", "p-two"), out)

    assert read_visits(lake, KEY, NOW_MS).column("person").to_pylist() == [person("p-one")]
    assert read_residents(lake, KEY, NOW_MS).to_pylist() == [
        {"person": person("p-one"), "district": "Yau Tsim Mong"}
    ]


def test_a_merged_account_is_one_person_with_the_district_that_is_known(tmp_path: Path) -> None:
    link = [{"type": "replaced-by", "other": {"reference": "Patient/p-two"}}]

    lake = make_lake(
        tmp_path, patient("p-one", link=link, address=[]), attendance("a-one", "p-one")
    )

    assert read_residents(lake, KEY, NOW_MS).to_pylist() == [
        {"person": person("p-two"), "district": "Wan Chai"}
    ]
    assert read_visits(lake, KEY, NOW_MS).column("person").to_pylist() == [person("p-two")]


def test_an_empty_lake_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ehr lake run"):
        read_visits(Lake(tmp_path / "lake"), KEY, NOW_MS)


def test_rounds_on_the_ward_are_those_of_people_whose_records_research_may_use(
    tmp_path: Path,
) -> None:
    out = consent("p-two", "research", permit=False)
    stays, signs = [], []
    for whose in ("p-one", "p-two", "p-three"):
        stays.append(encounter(f"stay-{whose}", whose, **{"class": ward_rounds.stay()["class"]}))
        for number, sign in enumerate(ward_rounds.a_round(2)):
            subject = {"reference": f"Patient/{whose}"}
            at = {"effectiveDateTime": "2026-03-02T08:15:30Z"}
            signs.append({**sign, **at, "id": f"sign-{whose}-{number}", "subject": subject})
    lake = make_lake(tmp_path, *stays, *signs, out)

    rows = build_rounds(read_ward(lake, KEY, NOW_MS)).rows

    assert rows["patient_id"].tolist() == [person("p-one")]
    assert (rows["news2"].iloc[0], str(rows["ended"].iloc[0])) == (10, "2026-03-02 08:15:30+00:00")
