"""The list of files in docs/explanation/erasure.md, and which files of a data folder it lacks."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "erasure.md"


def list_patterns() -> list[str]:
    """Return the patterns of the files that the page says something about."""
    section = _PAGE.read_text("utf-8").partition("## File by file")[2]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row.split("|")[1])]


def find_unlisted_files(data: Path) -> list[str]:
    """Return the files of a data folder that the page says nothing about."""
    names = sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())
    patterns = list_patterns()
    return [name for name in names if not any(fnmatchcase(name, glob) for glob in patterns)]
