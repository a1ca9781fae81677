"""The pages keep step with what they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("node_modules", "var") for part in path.parts)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    # What stands in code is no link, such as a regular expression.
    prose = re.sub(r"`[^`\n]*`(?!\])", "", page.read_text())
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", prose)

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.M)
    }

    assert named - targets == set()


def test_the_index_names_every_page() -> None:
    docs = ROOT / "docs"
    links = set(re.findall(r"\]\(([^)#:]+)", (docs / "README.md").read_text()))

    pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} - {"README.md"}
    named = {page for page in pages if page in links or f"{page.rpartition('/')[0]}/" in links}
    assert pages - named == set()
