"""Definitions of cohorts and studies as TOML text; the standard library only reads TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

Document = Mapping[str, Any]  # Any: TOML's values

# Lists of tables that stand under headings of their own; other lists stand on a line.
_HEADED_LISTS = frozenset({"include", "exclude", "column", "analysis"})


def format_toml(document: Document) -> str:
    """Return a document as TOML, its plain values first.

    >>> print(format_toml({"name": "falls", "index": {"events": "falls", "washout_days": 90}}))
    name = "falls"
    <BLANKLINE>
    [index]
    events = "falls"
    washout_days = 90
    <BLANKLINE>
    """
    lines = [
        f"{key} = {_format_value(value)}"
        for key, value in document.items()
        if not isinstance(value, Mapping) and key not in _HEADED_LISTS
    ]
    for key, value in document.items():
        if isinstance(value, Mapping):
            lines += _format_table(key, value)
        elif key in _HEADED_LISTS:
            for table in value:
                lines += ["", f"[[{key}]]", *_format_items(table)]
    return "\n".join(lines) + "\n"


def _format_table(heading: str, table: Document) -> Iterator[str]:
    if table and all(isinstance(value, Mapping) for value in table.values()):
        for name, inner in table.items():
            yield from _format_table(f"{heading}.{_format_key(name)}", inner)
        return
    yield ""
    yield f"[{heading}]"
    yield from _format_items(table)


def _format_items(table: Document) -> Iterator[str]:
    for key, value in table.items():
        yield f"{_format_key(key)} = {_format_value(value)}"


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        # JSON leaves the one control character as it is that TOML does not.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_format_items(value)) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_format_value, value)) + "]"
    return str(value)


def _format_key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else _format_value(key)
