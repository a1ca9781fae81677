"""What the switches say about consents that other programs wrote: never less than what holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_portal.record.providers import Provider
from ehr_portal.sharing.consents import CATEGORY, consent_category
from ehr_portal.sharing.switches import sharing_switches, start_sharing, stop_sharing

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
CLINIC = Provider("clinic", "Clinic", "", deemed=False, platform=False)
PUBLIC = Provider("public", "Public", "", deemed=True, platform=False)


def consent(category: str, kind: str, *organizations: str, **provision: Any) -> dict[str, Any]:
    """Return an active Consent as a program may write it."""
    body: dict[str, Any] = {"type": kind, **provision}
    if organizations:
        body["actor"] = [{"reference": {"reference": f"Organization/{o}"}} for o in organizations]
    system, code = (CATEGORY, category) if category else ("http://loinc.org", "59284-0")
    return {
        "resourceType": "Consent",
        "id": f"{category or 'base'}-{kind}",
        "status": "active",
        "category": [{"coding": [{"system": system, "code": code}]}],
        "provision": body,
    }


JOINED = consent("joining", "permit")


def test_sharing_with_everyone_shows_as_on_and_is_closed_by_a_restriction() -> None:
    everyone = [JOINED, consent("", "permit")]

    (before,) = sharing_switches([CLINIC], everyone, NOW)
    writes = stop_sharing(CLINIC, everyone, "p", NOW)

    assert before.is_on
    (written,) = writes
    assert written["provision"]["type"] == "deny"
    assert not sharing_switches([CLINIC], [*everyone, written], NOW)[0].is_on


def test_a_restriction_that_has_ended_closes_nothing() -> None:
    ended = [JOINED, consent("restriction", "deny", "public", period={"end": "2026-11-20"})]

    (before,) = sharing_switches([PUBLIC], ended, NOW)
    writes = stop_sharing(PUBLIC, ended, "p", NOW)

    assert before.is_on
    assert [one["provision"]["type"] for one in writes] == ["deny"]


@pytest.mark.parametrize(
    ("end", "on"), [("2026-11-22", True), ("2026", True), ("2026-11-21", False)]
)
def test_a_term_to_a_day_holds_until_its_midnight_in_hong_kong(end: str, on: bool) -> None:
    until = [JOINED, consent("sharing", "permit", "clinic", period={"end": end})]

    assert sharing_switches([CLINIC], until, NOW)[0].is_on == on


def test_opening_one_organisation_leaves_the_others_closed() -> None:
    closed = [JOINED, consent("restriction", "deny", "public", "other")]

    (written,) = start_sharing(PUBLIC, closed, "p", NOW)

    assert written["status"] == "active"
    actors = [one["reference"]["reference"] for one in written["provision"]["actor"]]
    assert actors == ["Organization/other"]


def test_turning_one_organisation_off_leaves_the_others_on() -> None:
    shared = [JOINED, consent("sharing", "permit", "clinic", "other")]

    (written,) = stop_sharing(CLINIC, shared, "p", NOW)

    assert written["status"] == "active"
    actors = [one["reference"]["reference"] for one in written["provision"]["actor"]]
    assert actors == ["Organization/other"]


def test_sharing_that_ran_out_is_taken_up_again() -> None:
    over = [JOINED, consent("sharing", "permit", "clinic", period={"end": "2026-11-20"})]

    (written,) = start_sharing(CLINIC, over, "p", NOW)

    assert not sharing_switches([CLINIC], over, NOW)[0].is_on
    assert written["provision"]["period"] == {"start": "2026-11-22T08:00:00+00:00"}


@pytest.mark.parametrize("scope", ["adr", "treatment"])
def test_a_consent_about_care_shares_nothing(scope: str) -> None:
    system = "http://terminology.hl7.org/CodeSystem/consentscope"
    directive = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": system, "code": scope}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "provision": {"type": "permit"},
    }

    assert consent_category(directive) == ""
