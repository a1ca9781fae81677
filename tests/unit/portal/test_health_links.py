"""The page of links that open the summary: the form, the link that is shown once, the list."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse

PAGE, CREATE = "/take-away/links", "/take-away/links/create"
OPERATION = "Patient/pat-1/$create-health-link"
LINK = "shlink:/eyJ1cmwiOiJodHRwczovL2EuaGsvc2hsL3gifQ"
FIELDS = {"content": "live", "passcode": "135790", "until": "2026-12-22", "label": "My <b> trip"}


@pytest.fixture
def patient() -> PortalHouse:
    """Return a portal to which the patient is logged in, and whose gateway makes a link."""
    house = PortalHouse()
    house.fake.operations[OPERATION] = {
        "resourceType": "Parameters", "parameter": [{"name": "link", "valueString": LINK}],
    }  # fmt: skip
    house.log_in("patient", "zh-Hant-HK")
    return house


def test_a_link_is_shown_once_as_text_and_as_picture(patient: PortalHouse) -> None:
    made = patient.send(PAGE, CREATE, **FIELDS)

    (sent,) = [one for one in patient.fake.asked if one.url.path.endswith(OPERATION)]
    assert sent.headers["accept-language"] == "zh-Hant-HK"
    assert not sent.url.query
    assert made.status_code == 200
    assert LINK in made.text
    assert "<svg" in made.text
    assert "135790" in made.text
    assert made.headers["cache-control"] == "no-store"
    assert LINK not in patient.browser.get(PAGE).text


@pytest.mark.parametrize(
    "wrong",
    [
        {"passcode": "12345"},
        {"passcode": "x" * 65},
        {"until": "2026-11-21"},
        {"until": "2027-11-23"},
        {"until": "soon"},
        {"label": "x" * 81},
        {"label": "😷" * 41},
        {"content": "all"},
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(
    patient: PortalHouse, wrong: dict[str, str]
) -> None:
    answer = patient.send(PAGE, CREATE, **{**FIELDS, **wrong})

    (field,) = wrong
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert "My &lt;b&gt; trip" in answer.text or field == "label"
    assert not [one for one in patient.fake.asked if one.url.path.endswith(OPERATION)]


def test_too_many_links_are_told_as_such(patient: PortalHouse) -> None:
    patient.fake.refused_operations[OPERATION] = (429, "There are too many open links.")

    answer = patient.send(PAGE, CREATE, **FIELDS)

    assert answer.status_code == 422
    assert "有效的連結太多" in answer.text


def test_the_list_says_who_opened_what_and_offers_the_end_of_what_is_open(
    patient: PortalHouse,
) -> None:
    def link(name: str, state: str, *more: dict[str, Any]) -> dict[str, Any]:
        instants = {"made": "2026-11-22T08:00:00.000Z", "until": "2026-12-22T16:00:00.000Z"}
        parts: list[Any] = [
            {"name": "id", "valueString": name},
            {"name": "state", "valueCode": state},
        ]
        parts += [{"name": key, "valueInstant": instant} for key, instant in instants.items()]
        return {"name": "link", "part": [*parts, *more]}

    opening = {"name": "opening", "part": [
        {"name": "at", "valueInstant": "2026-11-22T08:10:00.000Z"},
        {"name": "outcome", "valueCode": "opened"},
        {"name": "recipient", "valueString": "<script>x</script>"},
    ]}  # fmt: skip
    patient.fake.operations["Patient/pat-1/$health-links"] = {
        "resourceType": "Parameters",
        "parameter": [link("one", "open", opening), link("two", "ended")],
    }

    shown = patient.browser.get(PAGE).text

    assert 'name="link" value="one"' in shown
    assert 'name="link" value="two"' not in shown
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    # It ends with that day.
    assert "2026年12月22日" in shown
