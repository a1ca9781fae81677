"""Every page in three languages, on a phone and a desktop, by keyboard, and as axe sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pypdfium2
import pytest

# The package ships no types.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from ehr_portal.i18n import LANGUAGES
from ehr_portal.pages import load_navigation
from ehr_portal.web.sessions import User
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
CONTROLS = {"link", "button", "textbox", "combobox", "radio", "checkbox", "switch", "searchbox"}
# Of what is text in a sentence the line's height counts (WCAG 2.5.8, "inline").
SMALL_TARGETS = """least => [...document.querySelectorAll(
    'a, button, input:not([type=hidden]), select, summary, textarea')]
  .filter(it => it.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .filter(it => !it.closest('p, dd, td, .ehr-meta, .ehr-person') && !it.matches('.nhsuk-skip-link'))
  .filter(it => {
    // A row or tile is the target of its first link, a label that of its box.
    const row = it.closest('.ehr-lines > li, .ehr-tile');
    const choice = it.closest('.nhsuk-radios__item, .nhsuk-checkboxes__item');
    const whole = row && row.querySelector('a') === it ? row : choice || it;
    const box = whole.getBoundingClientRect();
    return box.height > 0 && (box.height < least - 0.5 || box.width < 24);
  })
  .map(it => `${Math.round(it.getBoundingClientRect().height)} ${it.outerHTML.slice(0, 140)}`)"""
LOOKED_AT = {("phone", "en"), ("desktop", "zh-Hant-HK")}
PATIENTS = ["/record/results", "/record/visits", "/who-looked?mine=1"]


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_no_page_of_the_patient_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    patient = Person(chromium, served, size=size)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/record")
    item = patient.page.locator(".ehr-line__what a").first.get_attribute("href")

    for language in LANGUAGES:
        patient.go(f"/language/{language.tag}?back=/sharing")
        for path in [*bar("patient"), *PATIENTS, str(item)]:
            patient.go(path)
            page = re.sub(r"\W+", "-", path.strip("/"))[:24]
            patient.picture(tmp_path, f"{size}-{language.tag}-{page}")
            assert patient.page.locator("html").get_attribute("lang") == language.tag
            assert patient.sideways() <= 0, path
            # The pages' structure is the same in every language: each size is looked at in one.
            if (size, language.tag) in LOOKED_AT:
                assert barriers(patient) == [], path
    assert patient.outside() == []
    patient.leave()


def test_no_page_of_staff_or_strangers_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    for login, paths in {
        "": ["/", "/?ended=1", "/no-such-page"],
        "dr.wong": [*bar("clinician"), f"/patients/{served.patient.id}", "/patients/nobody"],
        "steward.ng": bar("steward"),
    }.items():
        person = Person(chromium, served, size="phone")
        if login:
            person.log_in_by_password(login)
        for language in LANGUAGES:
            person.go(f"/language/{language.tag}")
            for number, path in enumerate(paths):
                person.go(path)
                person.picture(tmp_path, f"{login or 'nobody'}-{language.tag}-{number}")
                assert person.sideways() <= 0, path
                if language.tag == "en":
                    assert barriers(person) == [], path
        assert person.outside() == []
        person.leave()


def test_the_switch_can_be_reached_and_turned_by_keyboard_alone(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")
    keyboard = patient.page.keyboard

    keyboard.press("Tab")
    expect(patient.page.locator(".nhsuk-skip-link")).to_be_focused()
    keyboard.press("Enter")
    for _ in range(12):
        keyboard.press("Tab")
        if patient.switch("st-gabriel").evaluate("it => it === document.activeElement"):
            break
    expect(patient.switch("st-gabriel")).to_be_focused()
    for wanted in ("false", "true"):
        patient.switch("st-gabriel").focus()
        keyboard.press("Space")
        expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", wanted)
    patient.leave()


def test_what_can_be_touched_is_as_large_as_a_finger(chromium: Browser, served: Platform) -> None:
    for size in ("phone", "desktop"):
        patient = Person(chromium, served, size=size)
        patient.go("/")
        assert patient.page.evaluate(SMALL_TARGETS, 48) == []
        patient.log_in_by_eid(served.patient.hkid)
        for path in [*bar("patient"), *PATIENTS, "/display", "/style", "/oauth/account"]:
            patient.go(path)
            assert patient.page.evaluate(SMALL_TARGETS, 48) == [], path
        patient.leave()


@pytest.mark.parametrize("theme", ["light", "dark", "contrast"])
def test_no_theme_has_a_barrier(chromium: Browser, served: Platform, theme: str) -> None:
    patient = Person(chromium, served)
    patient.choose(theme=theme)
    for path in ("/", "/login", "/display"):
        patient.go(path)
        assert barriers(patient) == [], path
    patient.log_in_by_eid(served.patient.hkid)
    for path in [*bar("patient"), *PATIENTS, "/style", "/oauth/account", "/oauth/display"]:
        patient.go(path)
        assert patient.page.locator("html").get_attribute("data-theme") == theme
        assert barriers(patient) == [], path
    patient.leave()


@pytest.mark.parametrize("text_size", ["normal", "larger"])
def test_nothing_is_lost_at_320_pixels_which_is_a_desk_at_400_percent(
    chromium: Browser, served: Platform, text_size: str
) -> None:
    patient = Person(chromium, served, size="zoomed")
    patient.choose(**{"text-size": text_size})
    for path in ("/", "/login", "/display"):
        patient.go(path)
        assert patient.sideways() <= 0, path
    patient.log_in_by_eid(served.patient.hkid)
    for path in [*bar("patient"), *PATIENTS, "/style", "/oauth/account"]:
        patient.go(path)
        assert patient.sideways() <= 0, path
    patient.leave()


def test_the_places_of_a_phone_open_without_a_script(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served, size="phone", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    page = patient.page
    sharing = page.get_by_role("link", name="Sharing", exact=True)
    heading = page.locator("h1").bounding_box()
    assert heading
    # The frame takes no more than a sixth of the screen.
    assert heading["y"] < 130
    expect(sharing).to_be_hidden()

    page.get_by_role("link", name="Menu").click()
    expect(sharing).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    sharing.click()

    expect(page).to_have_url(re.compile("/sharing$"))
    patient.leave()


def test_what_a_reader_chooses_stays_through_log_in_account_and_log_out(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served, scripts=False)
    page, html = patient.page, patient.page.locator("html")

    def look() -> list[str | None]:
        return [html.get_attribute(name) for name in ("lang", "data-theme", "data-text-size")]

    patient.go("/")
    page.get_by_role("link", name="Display").click()
    page.get_by_label("Very large").check()
    page.get_by_label("High contrast").check()
    page.get_by_label("繁體中文").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#saved")).to_be_focused()
    chosen = ["zh-Hant-HK", "contrast", "larger"]
    assert look() == chosen

    patient.go("/login")
    assert look() == chosen
    page.locator("#eid").click()
    assert look() == chosen
    page.go_back()
    patient.log_in_by_eid(served.patient.hkid)
    for path in ("/record", "/oauth/account"):
        patient.go(path)
        assert look() == chosen
    page.locator(".nhsuk-back-link").click()
    page.wait_for_url("**/home")
    page.locator("form[action='/logout'] button").click()
    assert look() == chosen
    assert page.url.endswith("/oauth/logout")
    patient.leave()


def test_the_focus_stays_where_a_switch_was_used(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")

    for wanted in ("false", "true"):
        patient.switch("st-gabriel").focus()
        patient.page.keyboard.press("Space")
        expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", wanted)
        expect(patient.switch("st-gabriel")).to_be_focused()
    patient.page.locator("a[hreflang=zh-Hans]").press("Enter")
    expect(patient.page.locator("#chosen-language")).to_be_focused()
    expect(patient.page.locator("#chosen-language")).to_have_text("简体")
    patient.leave()


def test_each_sheet_of_paper_says_whose_record_it_is(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served)
    patient.choose(theme="dark")
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/record/medicines")
    name = patient.page.locator(".ehr-bar__user").inner_text().split("朱")[0].strip()
    rows = patient.page.locator(".ehr-lines > li").count()

    file = tmp_path / "medicines.pdf"
    patient.page.pdf(path=file, prefer_css_page_size=True)

    with pypdfium2.PdfDocument(file) as paper:
        sheets = [sheet.get_textpage().get_text_bounded() for sheet in paper]
    assert len(sheets) > 1
    # Twelve and more medicines stand on a sheet, with dose, reason and who wrote it.
    assert len(sheets) <= rows / 12 + 1
    for number, text in enumerate(sheets, 1):
        assert name in text
        assert "Born" in text
        assert served.patient.hkid[:5] in text
        assert "Printed on" in text
        assert f"{number} / {len(sheets)}" in text
        assert not re.search(r"https?:|/record/|Log out|Sharing|Menu", text)
    patient.leave()


def bar(role: str) -> list[str]:
    """Return the pages of a role's bar, a new one too."""
    user = User("", "", role, None, "somebody", "")
    return [link.path for link in load_navigation().links_for(user)]


def barriers(person: Person) -> list[str]:
    """Return what axe finds wrong, by WCAG 2.2 A and AA."""
    unnamed = unnamed_controls(person)
    assert unnamed == []
    found = Axe().run(person.page, options=RULES)
    assert found.response["passes"], "axe did not run"
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found.response["violations"]]


def unnamed_controls(person: Person) -> list[str]:
    """Return the controls that a screen reader would tell without a name."""
    tools = person.context.new_cdp_session(person.page)
    nodes = tools.send("Accessibility.getFullAXTree")["nodes"]
    tools.detach()
    controls = [node for node in nodes if node.get("role", {}).get("value") in CONTROLS]
    assert controls, "the accessibility tree is empty"
    return [str(node) for node in controls if not node.get("name", {}).get("value", "").strip()]
