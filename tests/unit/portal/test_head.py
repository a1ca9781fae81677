"""The head of every page: new notices, and for whom a carer acts, with the switch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def unread(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": "unread", "valueInteger": number}],
    }


def notice(name: str, *, read: bool) -> dict[str, Any]:
    return {
        "name": "notice",
        "part": [
            {"name": "id", "valueString": name},
            {"name": "kind", "valueString": "access"},
            {"name": "text", "valueString": f"Somebody looked ({name})"},
            {"name": "at", "valueInstant": "2026-11-22T08:00:00Z"},
            {"name": "read", "valueBoolean": read},
        ],
    }


def asked(house: PortalHouse, name: str) -> int:
    return sum(request.url.path == f"/fhir/{name}" for request in house.fake.asked)


@pytest.mark.parametrize("who", ["patient", "carer"])
def test_new_notices_are_counted_on_every_page(portal: PortalHouse, who: str) -> None:
    portal.fake.operations["$unread-notices"] = unread(3)
    browser = portal.log_in(who)

    for page in ("/record", "/sharing", "/carers", "/display"):
        assert "3 new notices" in browser.get(page).text, page
    # Pages that are turned quickly ask once.
    assert asked(portal, "$unread-notices") == 1
    portal.now += 61
    browser.get("/sharing")
    assert asked(portal, "$unread-notices") == 2


def test_nobody_else_is_asked_about(portal: PortalHouse) -> None:
    portal.log_in("doctor").get("/patients")
    portal.log_in("steward").get("/quality")

    assert asked(portal, "$unread-notices") == 0


def test_a_page_stands_without_the_number(portal: PortalHouse) -> None:
    portal.fake.failures["$unread-notices"] = 503

    shown = portal.log_in("patient").get("/carers")

    assert shown.status_code == 200
    assert "Notices, nothing new" in shown.text


def test_what_is_shown_is_read_and_what_comes_meanwhile_stays_new(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.operations["$unread-notices"] = unread(2)
    portal.fake.operations["$notices"] = {
        "resourceType": "Parameters",
        "parameter": [notice("n-2", read=False), notice("n-1", read=True)],
    }
    portal.fake.operations["$read-notices"] = unread(1)

    shown = browser.get("/notices").text

    assert shown.count(">New<") == 1
    assert "1 new notice<" in shown
    (sent,) = portal.fake.written()
    assert sent["parameter"] == [
        {"name": "newest", "valueString": "n-2"},
        {"name": "oldest", "valueString": "n-1"},
    ]
    assert "1 new notice<" in browser.get("/carers").text


def test_nothing_is_marked_where_nothing_is_new(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    portal.fake.operations["$notices"] = {
        "resourceType": "Parameters",
        "parameter": [notice("n-1", read=True)],
    }

    browser.get("/notices")

    assert portal.fake.written() == []


def person(patient: str, *, manage: bool = True) -> dict[str, Any]:
    return {
        "name": "person",
        "part": [
            {"name": "patient", "valueString": patient},
            {"name": "view", "valueBoolean": True},
            {"name": "manage", "valueBoolean": manage},
        ],
    }


def test_a_carer_switches_from_any_page(portal: PortalHouse) -> None:
    portal.fake.resources["Patient", "pat-2"] = {
        "resourceType": "Patient",
        "id": "pat-2",
        "name": [{"text": "CHAN Child"}],
    }
    people = [person("pat-1"), person("pat-2")]
    portal.fake.operations["$acting-for"] = {"resourceType": "Parameters", "parameter": people}
    browser = portal.log_in("carer")
    browser.get("/people")

    assert '<option value="pat-2">CHAN Child' in browser.get("/sharing").text
    answer = portal.send("/sharing", "/people/choose", patient="pat-2")

    assert answer.status_code == 303
    assert '<option value="pat-2" selected>CHAN Child' in browser.get("/notices").text


def test_what_was_filled_in_for_one_person_is_not_saved_for_another(portal: PortalHouse) -> None:
    portal.fake.resources["Patient", "pat-2"] = {
        "resourceType": "Patient",
        "id": "pat-2",
        "name": [{"text": "CHAN Child"}],
    }
    people = [person("pat-1"), person("pat-2")]
    portal.fake.operations["$acting-for"] = {"resourceType": "Parameters", "parameter": people}
    browser = portal.log_in("carer")
    address = "/own-entries/add/weight"
    in_first_window = browser.get(address).text
    names = ("csrf", "acting-for", "day", "time")
    form = {
        name: re.findall(rf'name="{name}"[^>]* value="([^"]*)"', in_first_window)[-1]
        for name in names
    } | {"weight": "61.5"}
    # The second window chooses the child.
    portal.send("/people", "/people/choose", patient="pat-2")

    answer = browser.post(address, data=form)

    assert answer.status_code == 409
    assert "You act for another person now" in answer.text
    assert "CHAN Child" in answer.text
    assert portal.fake.written() == []
    portal.send("/people", "/people/choose", patient="pat-1")
    assert browser.post(address, data=form).status_code == 303


def test_a_carer_who_acts_for_nobody_is_told_on_every_page(
    portal: PortalHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = portal.fake.people["carer"] | {"patient": None}
    monkeypatch.setitem(portal.fake.people, "carer", nobody)
    browser = portal.log_in("carer")

    for page in ("/people", "/notices", "/display"):
        assert "You act for nobody now." in browser.get(page).text, page


def powers(portal: PortalHouse, *, view: bool, manage: bool) -> None:
    """Let the carer have these powers from now on; none of them ends it."""
    found = {**person("pat-1", manage=manage)}
    found["part"][1]["valueBoolean"] = view
    people = [found] if view or manage else []
    portal.fake.operations["$acting-for"] = {"resourceType": "Parameters", "parameter": people}


OF_THE_RECORD = ("/home", "/record", "/record/medicines", "/timeline", "/search", "/own-entries",
                 "/appointments", "/care-plan", "/imaging", "/home/new",
                 "/record/item/Observation/lab-2025", "/record/trend/lab-2025")  # fmt: skip
OF_DECISIONS = ("/research-choice", "/corrections", "/requests", "/carers", "/choices",
                "/sharing/close", "/sharing/preview")  # fmt: skip


@pytest.mark.parametrize("path", [*OF_THE_RECORD, *OF_DECISIONS, "/sharing", "/notices"])
def test_a_power_that_ended_is_never_told_as_nothing_recorded(
    portal: PortalHouse, path: str
) -> None:
    browser = portal.log_in("carer")
    powers(portal, view=True, manage=True)
    portal.fake.operations["Patient/pat-1/$choices"] = {"resourceType": "Parameters"}
    assert browser.get(path).status_code == 200
    powers(portal, view=False, manage=False)

    ended = browser.get(path)

    assert "You can no longer act for this person" in ended.text
    assert "You act for nobody now." in ended.text
    assert ended.status_code == (200 if path == "/notices" else 403)
    assert browser.get(path).status_code == ended.status_code


@pytest.mark.parametrize("path", OF_THE_RECORD)
def test_who_only_decides_is_not_told_that_nothing_is_recorded(
    portal: PortalHouse, path: str
) -> None:
    browser = portal.log_in("carer")
    powers(portal, view=False, manage=True)

    assert browser.get(path).status_code == 403
    sharing = browser.get("/sharing")
    assert sharing.status_code == 200
    assert 'href="/home"' not in sharing.text
    assert 'href="/record"' not in sharing.text


@pytest.mark.parametrize("path", OF_DECISIONS)
def test_who_only_looks_is_not_told_of_choices_that_they_do_not_see(
    portal: PortalHouse, path: str
) -> None:
    browser = portal.log_in("carer")
    powers(portal, view=True, manage=False)

    assert browser.get(path).status_code == 403
