"""The pages keep step with what they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from ehr_cli.main import app
from tests.conftest import ROOT

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("node_modules", "var") for part in path.parts)
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_a_page_shows_exists(page: Path) -> None:
    shown = re.findall(r"^(?:\.venv/bin/)?(ehr|make) ([a-z-]+)", _code(page.read_text()), re.M)
    commands = set(get_command(app).commands)  # type: ignore[attr-defined] # a group has commands

    unknown = [
        f"{program} {name}"
        for program, name in shown
        if name not in (commands if program == "ehr" else TARGETS)
    ]
    assert unknown == []


def _code(text: str) -> str:
    return "\n".join(re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.S))
