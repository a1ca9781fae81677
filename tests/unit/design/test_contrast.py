"""Every colour pair that pages use has the contrast of WCAG 2.2, in every theme, by calculation."""

from __future__ import annotations

import re
from itertools import chain

import pytest

from ehr_design.static_files import FOLDER, read_themes

MEANINGS = ("critical", "abnormal", "normal", "withheld", "info")
GROUNDS = ("page", "surface", "surface-raised", "surface-sunk")
# Text on what lies behind it (WCAG 1.4.3).
TEXTS = [
    *((text, ground) for text in ("text", "secondary-text", "link", "link-visited", "link-hover",
                                  "brand-ink", "error") for ground in GROUNDS),
    *((text, "hover-fill") for text in ("text", "secondary-text", "link", "link-hover")),
    *((f"{meaning}-text", f"{meaning}-fill") for meaning in MEANINGS),
    *((f"{meaning}-text", ground) for meaning in MEANINGS for ground in ("page", "surface")),
    *(("text", f"{meaning}-fill") for meaning in MEANINGS),
    ("link", "abnormal-fill"), ("secondary-text", "info-fill"),
    ("on-brand", "brand"), ("on-brand", "brand-hover"), ("on-brand-soft", "brand"),
    ("on-button", "button"), ("on-button", "button-hover"), ("on-button", "button-active"),
    ("on-button", "brand-ink"),
    ("on-danger", "danger"), ("on-danger", "danger-hover"), ("on-danger", "danger-active"),
    ("on-success", "success"), ("on-focus", "focus"), ("brand", "on-brand"),
]  # fmt: skip
# Edges of fields, of what has a meaning, and of the focus (WCAG 1.4.11, 2.4.13).
EDGES = [
    *(("border-strong", ground) for ground in GROUNDS),
    *((f"{meaning}-edge", ground) for meaning in MEANINGS for ground in ("page", "surface")),
    *(("button", ground) for ground in ("page", "surface")),
    ("brand-ink", "surface"), ("danger", "surface"), ("focus", "brand"), ("focus", "on-focus"),
]  # fmt: skip
THEMES = read_themes()


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_every_text_can_be_read(theme: str) -> None:
    least = 7.0 if theme == "contrast" else 4.5

    assert too_faint(theme, TEXTS, least) == {}


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_every_edge_can_be_seen(theme: str) -> None:
    least = 4.5 if theme == "contrast" else 3.0

    assert too_faint(theme, EDGES, least) == {}


def test_every_theme_has_every_colour() -> None:
    light = set(THEMES["light"])

    # Paper for cameras is white in every theme, and stands in the first alone.
    assert all(light - set(theme) <= {"paper"} for theme in THEMES.values())
    assert set(chain(*TEXTS, *EDGES)) <= light


@pytest.mark.parametrize("sheet", ["ehr.css", "style-guide.css"])
def test_the_style_sheet_uses_no_colour_but_tokens(sheet: str) -> None:
    text = re.sub(r"--ehr-[\w-]+: ?[^;}]+", "", (FOLDER / sheet).read_text("utf-8"))

    assert re.findall(r":[^;{}]*(#[0-9a-f]{3,8}\b|rgba?\()", text) == []
    used = set(re.findall(r"var\(--ehr-([a-z-]+?)\)", text))
    assert used - {"target", "small"} <= set(THEMES["light"])


def test_the_device_decides_where_the_reader_does_not() -> None:
    """The theme that a device asks for is the very one that a reader can choose."""
    sheet = (FOLDER / "ehr.css").read_text("utf-8")

    for feature, theme in (("prefers-color-scheme: dark", "dark"),
                           ("prefers-contrast: more", "contrast")):  # fmt: skip
        found = re.search(
            rf"@media screen and \({feature}\)\{{:root:not\(\[data-theme\]\)\{{([^}}]*)\}}", sheet
        )
        assert found
        colours = dict(re.findall(r"--ehr-([a-z-]+): ?(#[0-9a-f]{3,8}|rgba\([^)]*\))", found[1]))
        assert colours == THEMES[theme]


def too_faint(theme: str, pairs: list[tuple[str, str]], least: float) -> dict[str, float]:
    """Return the pairs below a contrast, with what they have."""
    colours = THEMES[theme]
    ratios = {
        f"{front} on {ground}": contrast(colours[front], colours[ground]) for front, ground in pairs
    }
    return {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < least}


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2).

    >>> round(contrast("#000", "#ffffff"))
    21
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue = (_linear(int(digits[at : at + 2], 16) / 255) for at in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
