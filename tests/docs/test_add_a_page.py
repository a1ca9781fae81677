"""The page of the how-to page is served, and its tests hold, as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest

from ehr_portal import pages
from ehr_portal.web.templates import template_environment
from tests.conftest import ROOT

PAGE = ROOT / "docs/how-to/add-a-page.md"
TEXT = PAGE.read_text("utf-8")
MODULE, TESTS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
(TEMPLATE,) = re.findall(r"```jinja\n(.*?)```", TEXT, re.S)


@pytest.fixture
def contacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the module in the folder of the pages, and the template among the templates."""
    (tmp_path / "contacts.py").write_text(MODULE, "utf-8")
    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path)])
    environment = template_environment("en")
    added = jinja2.DictLoader({"contacts.html": TEMPLATE})
    ours = environment.loader
    assert ours is not None
    monkeypatch.setattr(environment, "loader", jinja2.ChoiceLoader([ours, added]))
    yield
    sys.modules.pop("ehr_portal.pages.contacts", None)
    vars(pages).pop("contacts", None)


@pytest.mark.usefixtures("contacts")
def test_the_code_of_the_page_works() -> None:
    tests: dict[str, Any] = {}
    exec(compile(TESTS, str(PAGE), "exec"), tests)

    claims = [test for name, test in tests.items() if name.startswith("test_")]
    for claim in claims:
        claim()
    assert len(claims) == 2
