"""The steward's pages of records that may be one person's, and of merges that wait."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def listed(name: str, identity: str, *names: dict[str, Any]) -> dict[str, Any]:
    """Return one of the two as the gateway lists it."""
    return {"name": name, "part": [
        {"name": "patient", "valueReference": {"reference": f"Patient/{identity}"}},
        *({"name": "name", "valueHumanName": one} for one in names),
        {"name": "born", "valueString": "1980-02-03"},
        {"name": "gender", "valueString": "female"},
        {"name": "active", "valueBoolean": True},
    ]}  # fmt: skip


CHAN = {"family": "Chan", "given": ["Ka", "Ming"]}
PAIR: dict[str, Any] = {"name": "pair", "part": [
    {"name": "score", "valueDecimal": 0.999},
    {"name": "grade", "valueCode": "probable"},
    {"name": "found", "valueInstant": "2026-11-22T08:00:00.000Z"},
    {"name": "proposed", "valueBoolean": False},
    listed("first", "pat-1", CHAN, {"text": "陳嘉明"}),
    listed("second", "pat-2", {"text": "<b>CHAN</b> Kaming"}),
    *({"name": "field", "part": [
        {"name": "element", "valueCode": element},
        {"name": "level", "valueCode": level},
        {"name": "weight", "valueDecimal": weight},
    ]} for element, level, weight in (("letters", "same", 12.1), ("gender", "different", -6.0),
                                      ("telephone", "different", -1.0))),
]}  # fmt: skip
MERGE: dict[str, Any] = {"name": "merge", "part": [
    {"name": "id", "valueString": "merge-1"},
    {"name": "kind", "valueString": "merge"},
    {"name": "state", "valueString": "proposed"},
    {"name": "display", "valueString": "St"},
    {"name": "reason", "valueString": "Both papers were seen"},
    {"name": "asked", "valueInstant": "2026-11-22T08:00:00.000Z"},
    {"name": "current", "valueBoolean": True},
    {"name": "change", "part": [{"name": "element", "valueCode": "birthDate"}]},
    {"name": "difference", "valueCode": "sex"},
    listed("source", "pat-1", CHAN),
    listed("target", "pat-2", CHAN),
]}  # fmt: skip


def answer(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parameters)}


@pytest.fixture
def waiting(portal: PortalHouse) -> PortalHouse:
    """Return a portal whose gateway lists a pair and a merge that waits."""
    total = {"name": "total", "valueInteger": 1}
    portal.fake.operations |= {
        "$duplicates": answer(total, PAIR),
        "$merges": answer(MERGE),
        "$decide-duplicate": answer(),
        "$decide-merge": answer(),
        "Patient/$merge": answer(),
        "Patient/$unmerge": answer(),
    }
    return portal


def pair_page(portal: PortalHouse) -> str:
    """Log the steward in and return the address of the pair."""
    shown = portal.log_in("steward").get("/duplicates").text
    return "/duplicates/" + str(shown).partition('href="/duplicates/')[2].partition('"')[0]


def sent(portal: PortalHouse) -> list[str]:
    """Return the values that were sent last."""
    return [one["valueString"] for one in portal.fake.written()[-1]["parameter"]]


@pytest.mark.parametrize("who", ["patient", "doctor"])
@pytest.mark.parametrize("page", ["/duplicates", "/merges", "/merges/merge-1"])
def test_the_pages_are_the_stewards(waiting: PortalHouse, who: str, page: str) -> None:
    assert waiting.log_in(who).get(page).status_code == 403


def test_both_stand_side_by_side_with_what_speaks_for_and_against(waiting: PortalHouse) -> None:
    page = pair_page(waiting)
    assert "pat-" not in page

    shown = waiting.browser.get(page).text

    for text in (
        "99 %",
        "Chan Ka Ming",
        "陳嘉明",
        "&lt;b&gt;CHAN&lt;/b&gt; Kaming",
        "speaks strongly for one person",
        "speaks strongly for two",
        "speaks for two",
    ):
        assert text in shown, text  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "values"),
    [
        ("keep-first", ["Patient/pat-2", "Patient/pat-1", "Seen"]),
        ("keep-second", ["Patient/pat-1", "Patient/pat-2", "Seen"]),
        ("different", ["pat-1", "pat-2", "different", "Seen"]),
        ("later", ["pat-1", "pat-2", "later", "Seen"]),
    ],
)
def test_the_decision_about_a_pair_is_sent(
    waiting: PortalHouse, decision: str, values: list[str]
) -> None:
    page = pair_page(waiting)

    assert waiting.send(page, page, decision="", reason="Seen").status_code == 422
    answer = waiting.send(page, page, decision=decision, reason="Seen")

    assert answer.headers["location"] == ("/merges" if "keep" in decision else "/duplicates")
    assert sent(waiting) == values


@pytest.mark.parametrize(("status", "text"), [(409, "cannot be joined"), (422, "Write the reason")])
def test_what_the_gateway_refuses_is_said_beside_the_field(
    waiting: PortalHouse, status: int, text: str
) -> None:
    page = pair_page(waiting)
    waiting.fake.refused_operations["Patient/$merge"] = (status, "No.")

    answer = waiting.send(page, page, decision="keep-first", reason="Seen")

    assert answer.status_code == 422
    assert text in answer.text


def test_a_merge_that_waits_is_decided_by_another(waiting: PortalHouse) -> None:
    assert "/merges/merge-1" in waiting.log_in("steward").get("/merges").text
    page = "/merges/merge-1"
    shown = waiting.browser.get(page).text
    assert "Their sexes differ." in shown
    assert "Date of birth" in shown

    waiting.send(page, page, decision="approve", reason="Seen")
    assert sent(waiting) == ["merge-1", "approve", "Seen"]

    waiting.fake.refused_operations["$decide-merge"] = (403, "No.")
    refused = waiting.send(page, page, decision="approve", reason="Seen")
    assert "another steward has to decide" in refused.text


def test_what_was_joined_is_proposed_to_be_taken_apart(waiting: PortalHouse) -> None:
    parts = [one for one in MERGE["part"] if one["name"] != "state"]
    approved = {"name": "merge", "part": [*parts, {"name": "state", "valueString": "active"}]}
    waiting.fake.operations["$merges"] = answer(approved)
    waiting.log_in("steward")
    page = "/merges/merge-1"

    waiting.send(page, page, reason="They are twins")

    assert sent(waiting) == ["merge-1", "They are twins"]


def test_a_pair_that_is_gone_and_an_unknown_merge_are_not_found(waiting: PortalHouse) -> None:
    page = pair_page(waiting)
    waiting.fake.operations["$duplicates"] = answer()

    for address in (page, "/duplicates/absent", "/merges/absent"):
        assert waiting.browser.get(address).status_code == 404
    assert "Nothing waits." in waiting.browser.get("/duplicates").text
