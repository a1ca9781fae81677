"""Notices sent: every kind of notice that the gateway sends has a title."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from ehr_portal.pages.deliveries import NOTICE_TITLES
from tests.lib.portal_house import PortalHouse

# Texts around a notice, and what depends on its kind elsewhere.
_NO_KINDS = {"subject", "about", "closing", "nowhere"}


def kinds() -> set[str]:
    """Return the kinds of the notices that have a text."""
    text = (files("ehr_gateway") / "notices" / "texts.toml").read_text("utf-8")
    return set(tomllib.loads(text)) - _NO_KINDS


def test_each_kind_of_notice_has_a_title() -> None:
    assert kinds() - set(NOTICE_TITLES) == set()


def test_a_kind_without_a_title_does_not_break_the_page() -> None:
    house = PortalHouse()
    parts = [
        {"name": name, "valueString": value}
        for name, value in (
            ("kind", "added-later"),
            ("channel", "mail"),
            ("state", "failed"),
            ("tries", "3"),
            ("at", "2026-11-22T08:00:00Z"),
        )
    ]
    house.fake.operations["$notice-deliveries"] = {
        "resourceType": "Parameters",
        "parameter": [{"name": "delivery", "part": parts}],
    }

    shown = house.log_in("steward").get("/deliveries")

    assert shown.status_code == 200
    assert "added-later" in shown.text
