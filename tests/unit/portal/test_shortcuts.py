"""Keyboard shortcuts: for clinicians, listed in words, switched off or changed by whoever wants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ehr_design
from tests.lib.portal_house import PortalHouse

SCRIPT = Path(ehr_design.__file__).parent / "static" / "ehr.js"


@pytest.mark.parametrize("mode", ["on", "alt", "off"])
def test_a_clinician_chooses_how_shortcuts_work(mode: str) -> None:
    browser = PortalHouse().log_in("doctor")
    browser.get("/display/save", params={"keys": mode})

    shown = browser.get("/patients").text

    assert f'<body class="nhsuk-template__body" data-keys="{mode}">' in shown
    assert ('<dialog class="ehr-dialog" id="keys-help"' in shown) == (mode != "off")
    assert ("<kbd>Alt</kbd>+<kbd>j</kbd>" in shown) == (mode == "alt")
    form = browser.get("/display").text
    assert re.search(rf'id="keys-{mode}"[^>]* checked', form)


def test_saving_without_that_choice_keeps_it() -> None:
    browser = PortalHouse().log_in("doctor")
    browser.get("/display/save", params={"keys": "off"})

    for keys in ("", "made-up"):
        browser.get("/display/save", params={"theme": "dark", "keys": keys})

        assert 'data-keys="off"' in browser.get("/patients").text


@pytest.mark.parametrize("who", ["patient", "carer", "steward", ""])
def test_nobody_else_has_a_script_or_shortcuts(who: str) -> None:
    house = PortalHouse()
    browser = house.log_in(who) if who else house.browser
    browser.cookies.set("keys", "on")

    for page in ("/", "/display", "/no-such-page"):
        shown = browser.get(page, follow_redirects=True)
        assert "script-src" not in shown.headers["content-security-policy"]
        assert not re.search("<script|data-keys|<dialog|keys-on", shown.text)


def test_every_place_with_a_letter_stands_in_the_list_and_has_a_link() -> None:
    shown = PortalHouse().log_in("doctor").get("/display").text

    letters = re.findall(r'data-go="(\w)"', shown)
    assert letters and len(letters) == len(set(letters))
    for letter in letters:
        assert f"<kbd>g</kbd> then <kbd>{letter}</kbd>" in shown


def test_the_script_names_no_origin_and_keeps_nothing() -> None:
    source = SCRIPT.read_text("utf-8")

    assert not re.search(r"https?://|//[\w.-]+\.\w+/", source)
    for name in ("eval", "Function", "innerHTML", "localStorage", "sessionStorage", "indexedDB",
                 "document.cookie", "document.write", "fetch", "XMLHttpRequest"):  # fmt: skip
        assert not re.search(rf"\b{re.escape(name)}\b", source), name


def test_the_script_is_served_as_one_and_may_be_kept() -> None:
    house = PortalHouse()
    page = house.log_in("doctor").get("/patients").text
    address = re.findall(r'<script type="module" src="([^"]+)"', page)

    answer = house.browser.get(address[0])

    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    # Its address changes with its content.
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert re.fullmatch(r"/static/ehr\.js\?v=[0-9a-f]{12}", address[0])
