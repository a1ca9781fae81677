"""A tile map of districts as SVG: a hexagon each, hatched where the number is hidden.

Drawn from controlled numbers alone. Names are those of the jurisdiction's file, in the language
asked for.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = [
    "LANGUAGES",
    "Shade",
    "draw_map",
    "list_tiles",
    "name_district",
    "read_released_table",
    "shade_of",
]

LANGUAGES = ("en", "zh-Hant", "zh-Hans")
_WORDS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "hidden": ("hidden, to protect people", "為保護個人而不顯示", "为保护个人而不显示"),
        "form": (
            "One tile per district; not to scale.",
            "每區一格，不按比例。",
            "每区一格，不按比例。",
        ),
    }
)
_RADIUS, _TOP = 56.0, 70.0
_FONT = "font-family='system-ui, Noto Sans TC, Noto Sans SC, sans-serif'"


@dataclass(frozen=True)
class Shade:
    """The fill of a tile and the colour of its text: contrast of 4.5 or more."""

    fill: str
    text: str


# Blues of one hue, light to dark: read in grey and without colour vision.
_SHADES = (
    Shade("#eff6fc", "#000000"),
    Shade("#c6ddf0", "#000000"),
    Shade("#8fbbdf", "#000000"),
    Shade("#2f75b5", "#ffffff"),
    Shade("#0b3c6f", "#ffffff"),
)


@cache
def list_tiles() -> Mapping[str, tuple[float, float]]:
    """Return column and row of each district's tile, by its first Latin name."""
    text = files(__package__).joinpath("district_tiles.toml").read_text("utf-8")
    return {name: (float(x), float(y)) for name, (x, y) in tomllib.loads(text)["tiles"].items()}


def name_district(name: str, language: str) -> str:
    """Return a district's name in a language, by its first Latin name.

    >>> name_district("Wan Chai", "zh-Hant"), name_district("Wan Chai", "zh-Hans")
    ('灣仔區', '湾仔区')
    """
    scripts = [script for script, first in JURISDICTION.districts.items() if first == name]
    # The file lists the longest form of each script last: Latin, Traditional, Simplified.
    if language == "en" or len(scripts) < 3:
        return name
    return scripts[-2] if language == "zh-Hant" else scripts[-1]


def shade_of(value: float, most: float) -> Shade:
    """Return the shade of a number in five equal steps up to the largest."""
    step = math.ceil(len(_SHADES) * value / most) - 1 if most > 0 else 0
    return _SHADES[min(max(step, 0), len(_SHADES) - 1)]


def read_released_table(file: Path, measure: str = "people") -> dict[str, float | None]:
    """Return the numbers of one measure of a released table; hidden where a row says so or is not.

    NotFound where there is no such file; Unprocessable where it has no districts or no such rows.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise NotFound(f"The table {file.name} cannot be read.") from error
    own = [row for row in rows if row.get("measure") == measure and row.get("district")]
    if not own:
        raise Unprocessable(f"{file.name} has no rows of districts with the measure {measure}.")
    shown: dict[str, float | None] = dict.fromkeys(list_tiles())
    for row in own:
        numbers = [
            float(text)
            for column, text in row.items()
            if column not in ("district", "measure") and text.replace(".", "", 1).isdecimal()
        ]
        if numbers and row["district"] in shown:
            shown[row["district"]] = numbers[0]
    return shown


def draw_map(shown: Mapping[str, float | None], title: str, note: str, language: str = "en") -> str:
    """Return a map as SVG: a controlled number per district, None where it is hidden.

    Unprocessable where a district has no tile, or the language is none of `LANGUAGES`.
    """
    tiles = list_tiles()
    if language not in LANGUAGES:
        raise Unprocessable(f"The languages of a map are {', '.join(LANGUAGES)}.")
    if not tiles.keys() >= shown.keys():
        raise Unprocessable("The map has no tile for a district.")
    place = LANGUAGES.index(language)
    most = max((value for value in shown.values() if value is not None), default=0.0)
    drawn = [_draw_tile(name, shown.get(name), most, language) for name in tiles]
    width = (max(x for x, _ in tiles.values()) + 1) * math.sqrt(3) * _RADIUS + 20
    bottom = _TOP + (max(y for _, y in tiles.values()) + 1) * 1.5 * _RADIUS + _RADIUS / 2 + 12
    legend = _draw_legend(most, bottom, _WORDS["hidden"][place])
    lines = [note, _WORDS["form"][place]]
    notes = "".join(
        f"<text x='10' y='{bottom + 58 + 18 * number:.0f}' font-size='12'>{escape(line)}</text>"
        for number, line in enumerate(lines)
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' lang='{language}' role='img' {_FONT} "
        f"viewBox='0 0 {width:.0f} {bottom + 90:.0f}'><title>{escape(title)}</title>"
        "<defs><pattern id='hidden' width='8' height='8' patternUnits='userSpaceOnUse' "
        "patternTransform='rotate(45)'><rect width='8' height='8' fill='#ffffff'/>"
        "<rect width='2' height='8' fill='#767676'/></pattern></defs>"
        f"<rect width='100%' height='100%' fill='#ffffff'/>"
        f"<text x='10' y='30' font-size='{_fit(title, width - 20):.1f}' font-weight='600'>"
        f"{escape(title)}</text>"
        f"{''.join(drawn)}{legend}{notes}</svg>\n"
    )


def _fit(title: str, width: float) -> float:
    """Return the size of letters, at most 20, at which a title is not wider than the map."""
    # A Chinese character is as wide as it is high, a bold Latin letter some two thirds of that.
    return min(20, width / max(1.0, sum(1.0 if ord(each) > 0x2E80 else 0.66 for each in title)))


def _draw_tile(name: str, value: float | None, most: float, language: str) -> str:
    column, row = list_tiles()[name]
    x = (column + 0.5) * math.sqrt(3) * _RADIUS + 10
    y = _TOP + row * 1.5 * _RADIUS + _RADIUS
    corners = " ".join(
        f"{x + (_RADIUS - 2) * math.sin(angle):.1f},{y - (_RADIUS - 2) * math.cos(angle):.1f}"
        for angle in (math.pi * sixth / 3 for sixth in range(6))
    )
    shade = Shade("url(#hidden)", "#000000") if value is None else shade_of(value, most)
    lines = _wrap(name_district(name, language))
    if value is not None:
        lines.append(f"{value:,.4g}" if value < 1 else f"{value:,.0f}")
    first = y - 8 * (len(lines) - 1) + 4
    # A halo keeps a name readable on hatching.
    halo = "paint-order='stroke' stroke='#ffffff' stroke-width='4'" if value is None else ""
    texts = "".join(
        f"<text x='{x:.1f}' y='{first + 16 * number:.1f}' text-anchor='middle' font-size='13' "
        f"fill='{shade.text}' {halo}>{escape(line)}</text>"
        for number, line in enumerate(lines)
    )
    return f"<polygon points='{corners}' fill='{shade.fill}' stroke='#4d4d4d'/>{texts}"


def _wrap(name: str) -> list[str]:
    """Return a long name in two lines, parted at the space nearest its middle."""
    spaces = [place for place, letter in enumerate(name) if letter == " "]
    if len(name) < 12 or not spaces:
        return [name]
    middle = min(spaces, key=lambda place: abs(place - len(name) / 2))
    return [name[:middle], name[middle + 1 :]]


def _draw_legend(most: float, top: float, hidden: str) -> str:
    parts, x = [], 10.0
    for number, shade in enumerate(_SHADES):
        low, high = (most * step / len(_SHADES) for step in (number, number + 1))
        label = f"≤ {high:,.3g}" if number == 0 else f"> {low:,.3g}"
        parts.append(_draw_key(x, top, shade.fill, label))
        x += 34 + 8 * len(label)
    return "".join(parts) + _draw_key(10, top + 24, "url(#hidden)", hidden)


def _draw_key(x: float, top: float, fill: str, label: str) -> str:
    return (
        f"<rect x='{x:.0f}' y='{top:.0f}' width='16' height='16' fill='{fill}' stroke='#4d4d4d'/>"
        f"<text x='{x + 22:.0f}' y='{top + 13:.0f}' font-size='12'>{escape(label)}</text>"
    )
