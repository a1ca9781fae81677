"""Open data from records of a lake: who decides, what is hidden, and that no refresh tells more."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ehr_analytics.open_data.declaration import (
    Declaration,
    list_shipped,
    load_declaration,
    parse_declaration,
)
from ehr_analytics.open_data.figures import FIGURES
from ehr_analytics.open_data.periods import Period
from ehr_analytics.open_data.publication import (
    approve,
    get_dataset,
    list_periods,
    propose,
    withdraw,
)
from ehr_analytics.open_data.published_files import (
    are_files_current,
    open_data_folder,
    remove_unpublished,
    write_files,
)
from ehr_analytics.open_data.refresh import refresh
from ehr_analytics.register import Register
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_etl.trusted_zone.organizations import OrganizationName, read_organization_names
from ehr_etl.trusted_zone.visits import read_visits
from ehr_fhir.errors import Conflict, Forbidden, Unprocessable
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, encounter, patient

PEOPLE = 60
BASE = "https://ehr.example"
JULY_15 = datetime(2026, 7, 15, tzinfo=UTC)


def attendance(person: int, hospital: str, month: int, number: int = 0) -> dict[str, Any]:
    """Return an attendance whose wait is as many minutes as the number of its person."""
    arrived = datetime(2026, month, 2 + person % 20, person % 24, tzinfo=UTC)
    seen, left = arrived + timedelta(minutes=person), arrived + timedelta(hours=5)
    return encounter(
        f"a-{month}-{number}-{person}",
        f"p-{person}",
        **{
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                "code": "EMER",
            },
            "serviceProvider": {"reference": f"Organization/{hospital}"},
            "period": {"start": arrived.isoformat(), "end": left.isoformat()},
            "statusHistory": [
                {
                    "status": "arrived",
                    "period": {"start": arrived.isoformat(), "end": seen.isoformat()},
                }
            ],
        },
    )


def stay(person: int) -> dict[str, Any]:
    """Return a stay of four days around the end of May, two of them in June."""
    period = {"start": "2026-05-29T16:00:00Z", "end": "2026-06-02T16:00:00Z"}
    return encounter(
        f"s-{person}",
        f"p-{person}",
        period=period,
        serviceProvider={"reference": "Organization/ha-harbour"},
    )


def hospital(name: str, latin: str, han: str) -> dict[str, Any]:
    return {"resourceType": "Organization", "id": name, "name": latin, "alias": [han]}


def first_records() -> list[dict[str, Any]]:
    """Return 60 people: in June 50 came to one hospital, 4 to another, 6 came to neither."""
    people = [patient(f"p-{number}") for number in range(PEOPLE)]
    for one in people:
        del one["identifier"]
    return [
        *people,
        *(consent(f"p-{number}", "joining") for number in range(PEOPLE)),
        hospital("ha-harbour", "Harbour Hospital", "海港醫院"),
        hospital("ha-lion-rock", "Lion Rock Hospital", "獅子山醫院"),
        *(attendance(number, "ha-harbour", 6) for number in range(50)),
        *(attendance(number, "ha-lion-rock", 6) for number in range(50, 54)),
        *(stay(number) for number in range(30)),
    ]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return the lake of a data folder with the first records."""
    lake = Lake(tmp_path / "lake")
    records = first_records()
    lines = [feed_line(number, one) for number, one in enumerate(records, 1)]
    load(lake, [*lines, *decision_lines(records)])
    return lake


def load(lake: Lake, lines: list[bytes]) -> None:
    feed = Pages([b"\n".join(lines)])
    run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))


def open_register(data: Path, now: datetime = JULY_15) -> Register:
    return Register(data, clock=lambda: now)


def publish(register: Register, dataset: str) -> None:
    propose(register, load_declaration(dataset), "researcher.lau")
    approve(register, dataset, "steward.ng", "Asked for by the public.")
    approve(register, dataset, "auditor.tse", "Counts alone.")


def rows(register: Register, dataset: str) -> list[dict[str, Any]]:
    return [dict(row) for month in list_periods(register, dataset) for row in month.rows]


def test_a_set_leaves_only_once_two_others_approved_just_its_declaration(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    declaration = load_declaration("emergency-attendances")
    propose(register, declaration, "researcher.lau")

    with pytest.raises(Forbidden):
        approve(register, declaration.id, "researcher.lau", "Mine.")
    approve(register, declaration.id, "steward.ng", "Asked for.")
    with pytest.raises(Forbidden):
        approve(register, declaration.id, "s.ng", "Again.", other_names={"steward.ng"})
    assert refresh(register, lake, KEY, frozenset) == []

    approve(register, declaration.id, "auditor.tse", "Counts alone.")
    with pytest.raises(Conflict):
        propose(register, declaration, "researcher.lau")
    assert [each.period for each in refresh(register, lake, KEY, frozenset)] == ["2026-06"]

    actions = [event.action for event in register.events(f"open-data/{declaration.id}")]
    assert actions == ["propose-dataset", *["approve-dataset"] * 2, "refresh-dataset"]


def test_whoever_opted_out_since_the_lakes_last_run_is_in_no_month(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    people = {row["person"] for row in read_visits(lake, KEY, NOW_MS).to_pylist()}

    refresh(register, lake, KEY, lambda: people)

    assert rows(register, "emergency-attendances") == []


@pytest.mark.parametrize(("policy", "half"), [("opensafely-7-5", 2), ("acro-10", 0)])
def test_few_people_are_hidden_and_cannot_be_subtracted(
    tmp_path: Path, lake: Lake, policy: str, half: int
) -> None:
    register = open_register(tmp_path)
    for dataset in ("emergency-attendances", "emergency-attendances-by-hour"):
        text = load_declaration(dataset).text.replace("opensafely-7-5", policy)
        (tmp_path / "set.toml").write_text(text, "utf-8")
        propose(register, load_declaration(str(tmp_path / "set.toml")), "researcher.lau")
        approve(register, dataset, "steward.ng", "Asked for.")
        approve(register, dataset, "auditor.tse", "Counts alone.")

    refresh(register, lake, KEY, frozenset)

    shown = {r["hospital"]: r["attendances"] for r in rows(register, "emergency-attendances")}
    by_hour = {r["hour"]: r["attendances"] for r in rows(register, "emergency-attendances-by-hour")}
    # Not even its row is there: it would tell that somebody came.
    assert "ha-lion-rock" not in shown
    totals = [total for total in (shown.get("all"), by_hour.get("all")) if total is not None]
    harbour = shown.get("ha-harbour")
    assert harbour is not None or totals
    # The 4 of the small hospital lie anywhere between nobody and eight.
    if harbour is not None and totals:
        left = min(totals) - harbour
        assert left - 2 * half <= 1
        assert left + 2 * half >= 8


def test_waits_are_of_each_persons_first_visit_and_beds_of_the_days_within_the_month(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-waiting-times")
    publish(register, "bed-occupancy")

    refresh(register, lake, KEY, frozenset)

    waits = {row["hospital"]: row for row in rows(register, "emergency-waiting-times")}
    # Of 0, 1 ... 53 minutes; 95 in 100 is a value with too few above it.
    assert waits["all"]["median_minutes"] == pytest.approx(26.5)
    assert waits["all"]["p95_minutes"] is None
    # A second median of all but four people would tell of these.
    assert waits["ha-harbour"]["median_minutes"] is None
    assert "ha-lion-rock" not in waits
    beds = {(r["month"], r["hospital"]): r for r in rows(register, "bed-occupancy")}
    # Wall clock: from 30 May to 3 June at midnight.
    assert beds["2026-05", "ha-harbour"]["bed_days"] == 60
    assert beds["2026-06", "ha-harbour"] | {"month": "", "hospital": ""} == {
        "month": "",
        "hospital": "",
        "bed_days": 60,
        "mean_occupied_beds": 2.0,
    }


def test_a_month_is_made_once_though_records_come_late(tmp_path: Path, lake: Lake) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)
    before = rows(register, "emergency-attendances")

    late = [attendance(number, "ha-harbour", 6, 1) for number in range(54, 60)]
    july = [attendance(number, "ha-harbour", 7) for number in range(30)]
    load(lake, [feed_line(1000 + number, one) for number, one in enumerate([*late, *july])])
    again = refresh(register, lake, KEY, frozenset)
    later = open_register(tmp_path, datetime(2026, 8, 20, tzinfo=UTC))
    refreshed = refresh(later, lake, KEY, frozenset)

    assert again == []
    assert [each.period for each in refreshed] == ["2026-07"]
    after = rows(register, "emergency-attendances")
    assert after[: len(before)] == before
    assert {row["month"] for row in after[len(before) :]} == {"2026-07"}


def test_a_refresh_that_is_cut_short_or_runs_twice_publishes_a_month_once(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    with register.transaction() as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON open_month BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    with pytest.raises(sqlite3.IntegrityError):
        refresh(register, lake, KEY, frozenset)
    assert rows(register, "emergency-attendances") == []
    with register.transaction() as connection:
        connection.execute("DROP TRIGGER full")

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: refresh(register, lake, KEY, frozenset), range(2)))

    assert sorted(len(each) for each in both) == [0, 1]
    months = [row["month"] for row in rows(register, "emergency-attendances")]
    assert months == ["2026-06"] * 2
    with register.transaction() as connection:
        runs = [row["run"] for row in connection.execute("SELECT run FROM release")]
    assert runs == ["open-data/emergency-attendances/2026-06"]


def test_a_month_without_visits_is_not_looked_at_again(tmp_path: Path, lake: Lake) -> None:
    register = open_register(tmp_path, datetime(2026, 9, 20, tzinfo=UTC))
    publish(register, "emergency-attendances")

    first = refresh(register, lake, KEY, frozenset)
    again = refresh(register, lake, KEY, frozenset)

    assert [each.period for each in first] == ["2026-06", "2026-07", "2026-08"]
    assert again == []
    write_files(register, BASE, {})
    index = json.loads((open_data_folder(tmp_path) / "index.json").read_text("utf-8"))
    assert index["datasets"][0]["last"] == "2026-06"


def test_a_month_that_differs_by_few_people_from_one_before_is_hidden(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)
    shown = {r["hospital"] for r in rows(register, "emergency-attendances") if r["attendances"]}

    # The same people again, and three more.
    july = [attendance(number, "ha-harbour", 7) for number in [*range(50), 54, 55, 56]]
    july += [attendance(number, "ha-lion-rock", 7) for number in range(50, 54)]
    load(lake, [feed_line(1000 + number, one) for number, one in enumerate(july)])
    refresh(open_register(tmp_path, datetime(2026, 8, 20, tzinfo=UTC)), lake, KEY, frozenset)

    second = {
        row["hospital"]: row["attendances"]
        for row in rows(register, "emergency-attendances")
        if row["month"] == "2026-07"
    }
    assert shown
    assert not shown & second.keys()


def test_files_have_the_shown_numbers_alone_and_change_only_with_them(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)
    names = read_organization_names(lake)

    first = write_files(register, BASE, names)
    again = write_files(register, BASE, names)

    folder = open_data_folder(tmp_path)
    assert "index.json" in first
    assert again == ()
    table = (folder / "emergency-attendances" / "data.csv").read_text("utf-8").splitlines()
    assert table[0] == "month,hospital,hospital_name_en,hospital_name_zh,attendances"
    assert "2026-06,ha-harbour,Harbour Hospital,海港醫院,50" in table
    assert not [line for line in table if "lion-rock" in line]
    everything = "".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())
    assert not [number for number in range(PEOPLE) if f'p-{number}"' in everything]

    write_files(register, BASE, {"ha-harbour": OrganizationName("=HYPERLINK(1)", "")})
    table = (folder / "emergency-attendances" / "data.csv").read_text("utf-8").splitlines()
    assert "2026-06,ha-harbour,'=HYPERLINK(1),,50" in table

    withdraw(register, "emergency-attendances", "steward.ng", "The licence changed.")
    write_files(register, BASE, names)
    assert not (folder / "emergency-attendances").exists()
    assert json.loads((folder / "index.json").read_text("utf-8")) == {"datasets": []}


def test_no_file_tells_how_many_numbers_are_hidden(tmp_path: Path, lake: Lake) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)
    # Of the hospital to which four came there is no row; the register's log counts it.
    refreshed = register.events("open-data/emergency-attendances")[-1]
    assert refreshed.detail["hidden"] not in (None, 0)

    write_files(register, BASE, {})

    dictionary = open_data_folder(tmp_path) / "emergency-attendances" / "dictionary.json"
    controls = [month["control"] for month in json.loads(dictionary.read_bytes())["months"]]
    assert [set(control) for control in controls] == [
        {"policy", "policy_version", "min_persons", "dominance", "p_percent"}
    ]


def test_a_hospital_cannot_take_the_place_of_the_total() -> None:
    visits: list[Mapping[str, Any]] = [
        {"person": f"p-{number}", "provider": provider, "start": datetime(2026, 6, 2)}
        for number, provider in enumerate(["ha-harbour"] * 40 + ["all"] * 12)
    ]

    cells = FIGURES["attendances-by-hospital"].make("set", Period.parse("2026-06", "month"), visits)

    assert {dict(cell.labels)["hospital"]: cell.value for cell in cells} == {
        "all": 52,
        "ha-harbour": 40,
    }


def test_a_proposal_takes_nothing_from_readers_and_no_approval_falls_on_another_text(
    tmp_path: Path,
) -> None:
    register = open_register(tmp_path)
    first = load_declaration("bed-occupancy")
    (tmp_path / "set.toml").write_text(first.text.replace("= 14", "= 0"), "utf-8")
    second = load_declaration(str(tmp_path / "set.toml"))
    propose(register, first, "researcher.lau")
    with pytest.raises(Conflict, match="somebody else"):
        propose(register, second, "researcher.ip")

    propose(register, second, "researcher.lau")
    with pytest.raises(Conflict, match="another declaration"):
        approve(register, first.id, "steward.ng", "I read it.", digest=first.digest[:12])
    approve(register, first.id, "steward.ng", "I read it.", digest=second.digest[:12])
    approve(register, first.id, "auditor.tse", "Counts alone.", digest=second.digest)
    with pytest.raises(Conflict, match="withdraw it before"):
        propose(register, first, "researcher.lau")

    assert get_dataset(register, first.id).state == "published"


def test_what_was_withdrawn_or_cut_short_before_its_files_were_written_is_caught_up(
    tmp_path: Path, lake: Lake
) -> None:
    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)
    assert not are_files_current(register)
    write_files(register, BASE, {})
    assert are_files_current(register)

    withdraw(register, "emergency-attendances", "steward.ng", "The licence changed.")

    assert not are_files_current(register)
    assert remove_unpublished(register) == ["emergency-attendances"]
    write_files(register, BASE, {})
    assert are_files_current(register)


def test_every_declaration_that_ships_has_the_columns_of_its_figures(tmp_path: Path) -> None:
    register = open_register(tmp_path)

    for dataset in list_shipped():
        assert propose(register, load_declaration(dataset), "r.lau").state == "proposed"


def test_a_declaration_without_a_language_is_refused(tmp_path: Path) -> None:
    text = load_declaration("bed-occupancy").text.replace("zh-Hans", "zh-XX", 1)
    file = tmp_path / "beds.toml"
    file.write_text(text, "utf-8")

    with pytest.raises(Unprocessable, match="zh-Hans"):
        load_declaration(str(file))


def attendances_by_day(lake: Lake, days: Mapping[int, int]) -> None:
    """Load people who came to a hospital in June, so many on each day, each of them once."""
    records: list[dict[str, Any]] = []
    for day, people in days.items():
        for number in range(people):
            name = f"{day}-{number}"
            person = patient(f"q-{name}")
            del person["identifier"]
            came = attendance(0, "ha-harbour", 6)
            arrived = datetime(2026, 6, day, 4, tzinfo=UTC)
            came |= {
                "id": f"d-{name}",
                "subject": {"reference": f"Patient/q-{name}"},
                "period": {
                    "start": arrived.isoformat(),
                    "end": (arrived + timedelta(hours=2)).isoformat(),
                },
            }
            records += [person, consent(f"q-{name}", "joining"), came]
    lines = [feed_line(number, one) for number, one in enumerate(records, 1)]
    load(lake, [*lines, *decision_lines(records)])


def declare_daily() -> Declaration:
    """Return attendances by day, as a platform might declare them beside those by month."""
    text = (
        load_declaration("emergency-attendances")
        .text.replace('id = "emergency-attendances"', 'id = "attendances-daily"')
        .replace('name = "month"\ntype = "month"', 'name = "day"\ntype = "day"')
        .replace("settle_days = 14", 'settle_days = 0\nperiod = "day"')
        .replace('"MONTHLY"', '"DAILY"')
    )
    return parse_declaration(text)


def publish_declared(register: Register, declaration: Declaration) -> None:
    propose(register, declaration, "researcher.lau")
    approve(register, declaration.id, "steward.ng", "Asked for by the public.")
    approve(register, declaration.id, "auditor.tse", "Counts alone.")


@pytest.mark.parametrize("with_days", [True, False])
def test_a_month_does_not_tell_the_day_that_is_hidden(tmp_path: Path, with_days: bool) -> None:
    lake = Lake(tmp_path / "lake")
    attendances_by_day(lake, {2: 20, 3: 20, 4: 3})
    early = open_register(tmp_path, datetime(2026, 6, 6, tzinfo=UTC))
    if with_days:
        publish_declared(early, declare_daily())
        refresh(early, lake, KEY, frozenset)
        shown = {row["day"]: row["attendances"] for row in rows(early, "attendances-daily")}
        assert shown == {"2026-06-02": 20, "2026-06-03": 20}

    register = open_register(tmp_path)
    publish(register, "emergency-attendances")
    refresh(register, lake, KEY, frozenset)

    # 43 people: less those of the two days, it would tell of three.
    totals = [row["attendances"] for row in rows(register, "emergency-attendances")]
    assert totals == ([] if with_days else [45, 45])


def test_no_day_leaves_after_its_month(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    attendances_by_day(lake, {28: 20, 29: 20, 30: 3})
    settled = load_declaration("emergency-attendances").text.replace(
        "settle_days = 14", "settle_days = 0"
    )
    register = open_register(tmp_path, datetime(2026, 7, 2, tzinfo=UTC))
    publish_declared(register, parse_declaration(settled))
    refresh(register, lake, KEY, frozenset)
    assert [row["attendances"] for row in rows(register, "emergency-attendances")] == [45, 45]

    publish_declared(register, declare_daily())
    refresh(register, lake, KEY, frozenset)

    # 1 July alone: nobody came, and the days of June are closed.
    assert [each.period for each in list_periods(register, "attendances-daily")] == ["2026-07-01"]
    assert rows(register, "attendances-daily") == []


def test_hours_are_published_once_and_the_files_keep_the_newest(tmp_path: Path, lake: Lake) -> None:
    live = "emergency-waiting-times-live"
    text = load_declaration(live).text.replace("kept = 168", "kept = 1")
    register = open_register(tmp_path, datetime(2026, 6, 22, tzinfo=UTC))
    hospitals = ("ha-harbour", "ha-lion-rock")
    records = [attendance(number, hospitals[number // 2 % 2], 6, 7) for number in range(PEOPLE)]
    for number, came in enumerate(records):
        arrived = datetime(2026, 6, 21, 2 + number % 2, 5, tzinfo=UTC)
        seen = (arrived + timedelta(minutes=30 + number)).isoformat()
        came["period"] = {"start": arrived.isoformat(), "end": seen}
        came["statusHistory"] = [
            {"status": "arrived", "period": {"start": arrived.isoformat(), "end": seen}}
        ]
    lines = [feed_line(number, one) for number, one in enumerate(records, 1000)]
    load(lake, [*lines])
    publish_declared(register, parse_declaration(text))

    refresh(register, lake, KEY, frozenset)
    found = {row["hour"]: row for row in rows(register, live) if row["hospital"] == "all"}
    # 02:05 UTC is 10:05 in Hong Kong.
    assert found["2026-06-21T10"]["people"] == 30
    assert found["2026-06-21T10"]["median_minutes"] == pytest.approx(59, abs=5)
    assert refresh(register, lake, KEY, frozenset) == []

    write_files(register, BASE, {})
    index = json.loads((open_data_folder(tmp_path) / "index.json").read_text())["datasets"]
    assert [(one["period"], one["first"], one["last"]) for one in index] == [
        ("hour", "2026-06-21T11", "2026-06-21T11")
    ]


def coded(kind: str, number: int, code: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return a record of a person with one code, on a day of June."""
    concept = "vaccineCode" if kind == "Immunization" else "code"
    day = "occurrenceDateTime" if kind == "Immunization" else "onsetDateTime"
    who = "patient" if kind == "Immunization" else "subject"
    return {
        "resourceType": kind,
        "id": f"{kind.lower()}-{number}-{len(more)}-{code['code'][-3:].lower()}",
        who: {"reference": f"Patient/p-{number}"},
        day: "2026-06-11",
        concept: {"coding": [code]},
        **more,
    }


@pytest.mark.parametrize(
    ("dataset", "kind", "code", "named", "untrue"),
    [
        ("vaccinations", "Immunization", ("http://hl7.org/fhir/sid/cvx", "140", "207", "3"), "CVX",
         {"status": "not-done"}),
        ("conditions", "Condition", ("http://hl7.org/fhir/sid/icd-10", "I63.9", "E11.9", "C50"),
         "ICD-10", {"verificationStatus": {"coding": [{"code": "refuted"}]}}),
    ],
)  # fmt: skip
def test_people_of_a_code_are_counted_and_no_words_leave_as_codes(
    tmp_path: Path, lake: Lake, dataset: str, kind: str, code: tuple[str, ...], named: str,
    untrue: dict[str, Any],
) -> None:  # fmt: skip
    system, value, other, rare = code
    true = {"status": "completed"} if kind == "Immunization" else {}
    records = [
        *(coded(kind, n, {"system": system, "code": value}, **true) for n in range(22)),
        *(coded(kind, n, {"system": system, "code": "CHAN"}, **true) for n in range(22, 50)),
        # It was not so; and of three people it would tell too much.
        *(coded(kind, n, {"system": system, "code": value}, **untrue) for n in range(50, 60)),
        *(coded(kind, n, {"system": system, "code": other}, **true) for n in range(25, 50)),
        *(coded(kind, n, {"system": system, "code": rare}, **true) for n in range(3)),
    ]  # fmt: skip
    load(lake, [feed_line(number, one) for number, one in enumerate(records, 2000)])
    register = open_register(tmp_path)
    publish(register, dataset)

    refresh(register, lake, KEY, frozenset)

    found = {row["code"]: row["people"] for row in rows(register, dataset)}
    # A diagnosis by its category; a code of three people has no row.
    assert {found.get(f"{named} {each[:3]}") for each in (value, other)} == {20, 25}
    assert f"{named} {rare}" not in found
    assert "CHAN" not in str(rows(register, dataset))
