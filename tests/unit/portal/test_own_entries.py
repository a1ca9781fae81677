"""Own measurements: written down, corrected, taken back, and never mixed with a hospital's."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.own_entries import OWN_ENTRY_KINDS, build_own_entry, check_own_entry
from ehr_portal.record.own_entries import KIND_TITLES, PART_TITLES
from ehr_portal.record.trends import group_into_trends
from tests.lib.portal_house import NOW, PortalHouse, portal

__all__ = ["portal"]

NUMBERS = {"systolic": "128", "diastolic": "79", "sugar": "5.6", "weight": "61.5"}
WHEN = {"day": "2026-11-22", "time": "07:30"}
WEIGHT = OWN_ENTRY_KINDS["weight"]


def stored(name: str = "own-1", value: float = 61.5, **changes: Any) -> dict[str, Any]:
    body = build_own_entry(WEIGHT, "pat-1", [value], "2026-11-20T07:30:00+08:00", "After breakfast")
    return {**body, "id": name, "meta": {**body["meta"], "versionId": "1"}, **changes}


def furnish(house: PortalHouse, *entries: dict[str, Any]) -> None:
    for entry in entries:
        house.fake.resources["Observation", entry["id"]] = entry


@pytest.mark.parametrize("kind", OWN_ENTRY_KINDS.values(), ids=OWN_ENTRY_KINDS)
def test_each_kind_is_written_down_as_the_gateway_takes_it(portal: PortalHouse, kind: Any) -> None:
    portal.log_in("patient")
    fields = {part.name: NUMBERS[part.name] for part in kind.parts} | WHEN
    page = f"/own-entries/add/{kind.name}"

    answer = portal.send(page, page, **fields, note=" after  a walk ")

    assert answer.headers["location"] == "/own-entries"
    (written,) = portal.fake.written()
    check_own_entry(written, int(NOW * 1000))
    assert written["effectiveDateTime"] == "2026-11-22T07:30:00+08:00"
    assert written["note"] == [{"text": "after a walk"}]


def test_every_kind_and_part_has_words() -> None:
    assert set(KIND_TITLES) == set(OWN_ENTRY_KINDS)
    parts = {part.name for kind in OWN_ENTRY_KINDS.values() for part in kind.parts}
    assert set(PART_TITLES) == parts


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"systolic": "1280", "diastolic": "79"}, "from 40 to 300"),
        ({"systolic": "nan", "diastolic": "79"}, "from 40 to 300"),
        ({"systolic": "", "diastolic": "79"}, "from 40 to 300"),
        *(
            ({"systolic": typed, "diastolic": "79"}, "a whole number from 40 to 300")
            for typed in ("1_28", "1e2", "+128", "128.6", "0x80", "١٢٨", "12 8", "inf")
        ),
        ({"systolic": "79", "diastolic": "128"}, "must be higher"),
        ({"systolic": "128", "diastolic": "79", "day": "2026-11-23"}, "still to come"),
        ({"systolic": "128", "diastolic": "79", "day": "22/11/2026"}, "Choose the day"),
        ({"systolic": "128", "diastolic": "79", "note": "x" * 301}, "300 characters"),
    ],
)
def test_a_slip_is_said_beside_its_field_and_nothing_is_lost(
    portal: PortalHouse, fields: dict[str, str], said: str
) -> None:
    portal.log_in("patient")
    page = "/own-entries/add/blood-pressure"

    answer = portal.send(page, page, **{**WHEN, **fields})

    assert answer.status_code == 422
    assert said in answer.text
    assert f'value="{fields["diastolic"]}"' in answer.text
    assert portal.fake.written() == []


@pytest.mark.parametrize("typed", ["61.55", "6_1", "1e1", "61.", " ６１，5 "])
def test_a_number_is_kept_as_it_was_typed_or_refused(portal: PortalHouse, typed: str) -> None:
    portal.log_in("patient")
    page = "/own-entries/add/weight"

    answer = portal.send(page, page, **WHEN, weight=typed)

    kept = [written["valueQuantity"]["value"] for written in portal.fake.written()]
    expected = {"61.": [61.0], " ６１，5 ": [61.5]}.get(typed, [])
    assert kept == expected
    assert (answer.status_code == 422) == (not expected)
    assert expected or "one decimal at most" in answer.text


def test_a_button_pressed_twice_makes_one_entry(portal: PortalHouse) -> None:
    portal.log_in("patient")
    for name, fields in (("weight", {"weight": "61.5"}),
                         ("blood-pressure", {"systolic": "128", "diastolic": "79"})):  # fmt: skip
        page = f"/own-entries/add/{name}"
        portal.fake.resources = {
            key: found for key, found in portal.fake.resources.items() if key[0] != "Observation"
        }
        for _ in range(2):
            assert portal.send(page, page, **WHEN, **fields).status_code == 303
        assert _measured(portal) == 1
        # Another value, time or note is another measurement.
        portal.send(page, page, **WHEN, **{part: "100" for part in fields} | {"systolic": "150"})
        portal.send(page, page, **WHEN | {"time": "08:00"}, **fields)
        portal.send(page, page, **WHEN, **fields, note="after a walk")
        assert _measured(portal) == 4


def _measured(house: PortalHouse) -> int:
    return sum(kind == "Observation" for kind, _ in house.fake.resources)


def test_an_entry_is_corrected_as_its_next_version(portal: PortalHouse) -> None:
    portal.log_in("patient")
    furnish(portal, stored())

    shown = portal.browser.get("/own-entries/own-1").text
    portal.send(
        "/own-entries/own-1", "/own-entries/own-1/correct", weight="62", version="1", **WHEN
    )

    assert 'value="61.5"' in shown and 'value="07:30"' in shown and "After breakfast" in shown
    now = portal.fake.resources["Observation", "own-1"]
    assert (now["status"], now["valueQuantity"]["value"]) == ("corrected", 62)


def test_a_mistake_is_struck_through_and_stays(portal: PortalHouse) -> None:
    portal.log_in("patient")
    furnish(portal, stored())

    portal.send("/own-entries/own-1", "/own-entries/own-1/remove", version="1")

    assert portal.fake.resources["Observation", "own-1"]["status"] == "entered-in-error"
    assert 'class="ehr-void"' in portal.browser.get("/own-entries").text


def test_what_was_changed_meanwhile_is_not_overwritten(portal: PortalHouse) -> None:
    portal.log_in("patient")
    furnish(portal, stored(meta={"versionId": "2"}))

    portal.send("/own-entries/own-1", "/own-entries/own-1/remove", version="1")

    assert "changed meanwhile" in portal.browser.get("/own-entries").text
    assert portal.fake.resources["Observation", "own-1"]["status"] == "final"


@pytest.mark.parametrize("record", ["lab-2025", "absent", "of-another"])
def test_only_own_entries_have_a_form(portal: PortalHouse, record: str) -> None:
    portal.log_in("patient")
    own = {"reference": "Patient/pat-9"}
    furnish(portal, stored("of-another", subject=own, performer=[own]))

    assert portal.browser.get(f"/own-entries/{record}").status_code == 404


def test_the_page_and_the_record_keep_them_apart(portal: PortalHouse) -> None:
    portal.log_in("patient")
    of_hospital = stored("hospital-1", 70)
    of_hospital["meta"] = {"source": "https://ehr-commons.hk/organization/ha-a", "versionId": "1"}
    furnish(portal, stored(), of_hospital)

    shown = portal.browser.get("/own-entries").text
    trends = group_into_trends([stored(), of_hospital], "en")

    assert "Measured by you" in shown and "61.5" in shown and "70" not in shown.split("<main")[1]
    assert [len(trend.points) for trend in trends] == [1, 1]
    item = portal.browser.get("/record/item/Observation/own-1").text
    assert "Measured by the patient" in item
