"""The generated parts of docs/explanation/consent.md are current.

`EHR_WRITE_DOCS=1 pytest tests/spec/consent/test_documented.py` writes them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ehr_privacy.consent import DOMAINS, load_roles

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "consent.md"
CELLS = {"open": "o", "restricted": "r", "none": "-"}


def roles_table() -> str:
    """Return the role cells, a row for each domain."""
    cells = load_roles().cells
    lines = [f"| domain | {' | '.join(cells)} |", "| --- |" + " --- |" * len(cells)]
    lines += [
        f"| {domain} | {' | '.join(CELLS[row[domain]] for row in cells.values())} |"
        for domain in DOMAINS
    ]
    return "\n".join(lines)


def cases_table() -> str:
    """Return the rows that the tests run."""
    text = (Path(__file__).parent / "cases.md").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(("mark", "table"), [("roles", roles_table), ("cases", cases_table)])
def test_the_page_shows_what_the_tests_run(mark: str, table: object) -> None:
    assert callable(table)
    page = PAGE.read_text(encoding="utf-8")
    expected = f"<!-- {mark} -->\n{table()}\n<!-- /{mark} -->"
    if os.environ.get("EHR_WRITE_DOCS"):
        pattern = rf"<!-- {mark} -->(.*<!-- /{mark} -->)?"
        page = re.sub(pattern, lambda _: expected, page, count=1, flags=re.DOTALL)
        PAGE.write_text(page, encoding="utf-8")

    assert expected in page
