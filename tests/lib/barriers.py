"""What stands in somebody's way on a page: axe's rules, names of controls, sizes of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# The package ships no types.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from tests.lib.people import SIZES, Person

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
CONTROLS = {"link", "button", "textbox", "combobox", "radio", "checkbox", "switch", "searchbox"}
# Of what is text in a sentence the line's height counts (WCAG 2.5.8, "inline").
_SMALL_TARGETS = """least => [...document.querySelectorAll(
    'a, button, input:not([type=hidden]), select, summary, textarea')]
  .filter(it => it.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .filter(it => !it.closest('p, dd, td, .ehr-meta, .ehr-person') && !it.matches('.nhsuk-skip-link'))
  .filter(it => {
    // A row or tile is the target of its first link, a label that of its box.
    const row = it.closest('.ehr-lines > li, .ehr-board__rows > li, .ehr-tile');
    const choice = it.closest('.nhsuk-radios__item, .nhsuk-checkboxes__item');
    const whole = row && row.querySelector('a') === it ? row : choice || it;
    const box = whole.getBoundingClientRect();
    return box.height > 0 && (box.height < least - 0.5 || box.width < 24);
  })
  .map(it => `${Math.round(it.getBoundingClientRect().height)} ${it.outerHTML.slice(0, 140)}`)"""


def inspect_page(person: Person, folder: Path, name: str) -> None:
    """Take a picture of the page, and fail on what stands in a reader's way."""
    person.picture(folder, name)
    obstacles = find_obstacles(person)
    assert obstacles == [], f"{name}: {obstacles}"


def find_obstacles(person: Person) -> list[str]:
    """Return what stands in a reader's way: a page too wide, axe's findings, small targets."""
    width = (person.page.viewport_size or {"width": 0})["width"]
    # A desk's dense screen is used with a pointer (WCAG 2.5.8); elsewhere a finger must do.
    has_pointer = width >= SIZES["desktop"][0] and person.page.locator(".ehr-dense").count()
    is_zoomed = width == SIZES["zoomed"][0]
    small = [] if is_zoomed else small_targets(person, 24 if has_pointer else 48)
    return [*overflow(person), *barriers(person), *small]


def overflow(person: Person) -> list[str]:
    """Return by how much a page is wider than the screen, if it is."""
    wide = person.sideways()
    return [f"{wide} pixels too wide"] if wide > 0 else []


def barriers(person: Person, rules: dict[str, Any] = RULES) -> list[str]:
    """Return what axe finds wrong, by WCAG 2.2 A and AA."""
    unnamed = unnamed_controls(person)
    assert unnamed == []
    # Of what passes, axe then describes one element in place of all: a third of its time.
    found = Axe().run(person.page, options={**rules, "resultTypes": ["violations"]})
    assert found.response["passes"], "axe did not run"
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found.response["violations"]]


def small_targets(person: Person, least: int) -> list[str]:
    """Return the controls that are lower than `least` pixels or narrower than 24."""
    return list(person.page.evaluate(_SMALL_TARGETS, least))


def unnamed_controls(person: Person) -> list[str]:
    """Return the controls that a screen reader would tell without a name."""
    tools = person.context.new_cdp_session(person.page)
    nodes = tools.send("Accessibility.getFullAXTree")["nodes"]
    tools.detach()
    controls = [node for node in nodes if node.get("role", {}).get("value") in CONTROLS]
    assert controls, "the accessibility tree is empty"
    return [str(node) for node in controls if not node.get("name", {}).get("value", "").strip()]
