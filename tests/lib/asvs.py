"""The walk through OWASP ASVS: read from its file, and written as the tables of its page.

`python -m tests.lib.asvs` writes the tables anew.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs/explanation/asvs.toml"
PAGE = ROOT / "docs/explanation/security.md"
LEVELS = ROOT / "tests/data/asvs-5.0.0.txt"
STATES = ("met", "not applicable", "open")
_PLACE = re.compile(r"<!-- asvs -->\n.*<!-- /asvs -->", re.S)


@dataclass(frozen=True)
class Item:
    """One requirement: what it asks, how it stands, and what shows it."""

    chapter: str
    id: str
    what: str
    state: str
    why: str = ""
    shown: tuple[str, ...] = ()


def items() -> list[Item]:
    """Return every item in the order of the file."""
    chapters = tomllib.loads(DATA.read_text("utf-8"))
    return [
        Item(chapter, key, **{**value, "shown": tuple(value.get("shown", ()))})
        for chapter, content in chapters.items()
        for key, value in content.items()
        if key != "title"
    ]


def required() -> list[str]:
    """Return the ids of the requirements of levels 1 and 2."""
    return [one for line in LEVELS.read_text().splitlines() if line[0] != "#" for one in _ids(line)]


def page() -> str:
    """Return the page with its tables as the file has them."""
    tables = f"<!-- asvs -->\n{_tables()}\n<!-- /asvs -->"
    return _PLACE.sub(lambda _: tables, PAGE.read_text("utf-8"))


def _ids(line: str) -> Iterator[str]:
    section, _, numbers = line.partition(" ")
    first, _, last = numbers.partition("-")
    return (f"{section}.{number}" for number in range(int(first), int(last or first) + 1))


def _tables() -> str:
    found = items()
    titles = tomllib.loads(DATA.read_text("utf-8"))
    lines = ["| chapter | met | not applicable | open |", "| --- | --- | --- | --- |"]
    for chapter in titles:
        counts = Counter(one.state for one in found if one.chapter == chapter)
        cells = [f"{chapter} {titles[chapter]['title']}", *(str(counts[one]) for one in STATES)]
        lines.append(f"| {' | '.join(cells)} |")
    counts = Counter(one.state for one in found)
    lines.append(f"| **all {len(found)}** | {' | '.join(f'**{counts[one]}**' for one in STATES)} |")
    for chapter in titles:
        lines += ["", f"### {chapter} {titles[chapter]['title']}"]
        lines += ["| id | what | state | where, and what shows it |", "| --- | --- | --- | --- |"]
        lines += [_row(one) for one in found if one.chapter == chapter]
    return "\n".join(lines)


def _row(item: Item) -> str:
    state = f"**{item.state}**" if item.state == "open" else item.state
    shown = ", ".join(_link(one) for one in item.shown)
    why = "; ".join(part for part in (item.why, shown) if part)
    return f"| {item.id} | {item.what} | {state} | {why} |"


def _link(shown: str) -> str:
    path, _, test = shown.partition("::")
    name = test.removeprefix("test_").replace("_", " ") if test else Path(path).name
    return f"[{name}](../../{path})"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
