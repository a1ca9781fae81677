"""Draw docs/images/architecture.svg from the layers that import-linter enforces.

The layers and rooms are read from pyproject.toml, so that the picture cannot show a house that the
code does not have; a test fails when the committed picture differs. Run it after a change:

    make architecture
"""

from __future__ import annotations

import html
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
# What each package is for; a package without a line here is an error.
PURPOSES = {
    "ehr_cli": "the ehr command; composes all",
    "ehr_portal": "web pages; asks over HTTP alone",
    "ehr_models": "features, training, scoring",
    "ehr_analytics": "projects, studies, the airlock",
    "ehr_inbound": "bulk files into the gateway",
    "ehr_gateway": "FHIR R4, consent, audit, feed",
    "ehr_etl": "the lake: Spark and Delta",
    "ehr_privacy": "pure: consent, de-identification",
    "ehr_fhir": "pure: FHIR, search, FHIRPath",
    "ehr_design": "style sheet, icons, frame of pages",
}
FLOW = (
    ("hospitals, apps", "FHIR REST, bulk files"),
    ("gateway", "version, index, consent, audit in one transaction"),
    ("bronze", "changes as received"),
    ("silver", "latest versions, quality gate"),
    ("deid", "no identifier"),
    ("gold", "tables people query"),
    ("studies, models", "out through the airlock"),
)
WIDTH, MARGIN, GAP = 1120, 24, 10
ROW, LABEL = 52, 22
INK, LINE, PAPER = "#212b32", "#768692", "#ffffff"
FILLS = {"package": "#e8f1f8", "room": "#eef5ec", "flow": "#fff4d9"}


def layers_of(container: str | None) -> list[list[str]]:
    """Return the layers of one import-linter contract, top first, each a list of names."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    contract = next(
        contract
        for contract in linter["contracts"]
        if contract["type"] == "layers"
        and contract.get("containers") == ([container] if container else None)
    )
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def draw() -> str:
    """Return the whole picture as SVG."""
    half = (WIDTH - 3 * MARGIN) // 2
    parts: list[str] = []
    top = 60
    parts.append(_heading(MARGIN, top - 16, "Packages: imports point down"))
    parts.append(_heading(2 * MARGIN + half, top - 16, "Rooms of the gateway: imports point down"))
    packages = [[(name, PURPOSES[name]) for name in layer] for layer in layers_of(None)]
    rooms = [[(name, "") for name in layer] for layer in layers_of("ehr_gateway")]
    height = len(rooms) * (LABEL + 20 + GAP)
    package_row = (height - (len(packages) - 1) * GAP) // len(packages)
    parts += _rows(packages, MARGIN, top, half, package_row, "package")
    parts += _rows(rooms, 2 * MARGIN + half, top, half, LABEL + 20, "room")
    below = top + height + 44
    parts.append(_heading(MARGIN, below - 16, "The way of the data"))
    parts += _flow(below)
    total = below + 2 * ROW + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" role="img" '
            'aria-labelledby="title" font-family="system-ui, sans-serif">',
            '<title id="title">Packages of eHR Commons, rooms of its gateway, and the way of the '
            "data</title>",
            f'<rect width="{WIDTH}" height="{total}" fill="{PAPER}"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _rows(
    rows: list[list[tuple[str, str]]], left: int, top: int, width: int, height: int, kind: str
) -> list[str]:
    drawn = []
    for number, row in enumerate(rows):
        box = (width - (len(row) - 1) * GAP) / len(row)
        for place, (name, purpose) in enumerate(row):
            x, y = left + place * (box + GAP), top + number * (height + GAP)
            drawn.append(_box(x, y, box, height, name, purpose, FILLS[kind]))
    return drawn


def _flow(top: int) -> list[str]:
    arrow = 22
    box = (WIDTH - 2 * MARGIN - (len(FLOW) - 1) * arrow) / len(FLOW)
    drawn = []
    for place, (name, purpose) in enumerate(FLOW):
        x = MARGIN + place * (box + arrow)
        drawn.append(_box(x, top, box, 2 * ROW, name, purpose, FILLS["flow"]))
        if place:
            drawn.append(
                f'<path d="M{x - arrow + 3:.0f} {top + ROW} h{arrow - 10} m-5 -5 l5 5 l-5 5" '
                f'fill="none" stroke="{INK}" stroke-width="2"/>'
            )
    return drawn


def _box(x: float, y: float, width: float, height: float, name: str, more: str, fill: str) -> str:
    # Bold system fonts take about 0.62 of their size a character.
    size = min(15, int((width - 6) / (0.62 * len(name))))
    lines = [(name, size, "600"), *((line, 12, "400") for line in _wrap(more, int(width / 6.3)))]
    first = y + height / 2 - (len(lines) - 1) * 8 + 5
    words = "".join(
        f'<text x="{x + width / 2:.1f}" y="{first + place * 16:.1f}" text-anchor="middle" '
        f'font-size="{size}" font-weight="{weight}" fill="{INK}">{html.escape(line)}</text>'
        for place, (line, size, weight) in enumerate(lines)
    )
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="4" '
        f'fill="{fill}" stroke="{LINE}"/>{words}'
    )


def _wrap(text: str, most: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _heading(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="17" font-weight="700" fill="{INK}">{text}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
