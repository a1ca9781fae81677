"""The TRIPOD+AI checklist, filled from a report: where each item is answered, or what is missing.

An item counts as answered when every part of the report that it needs is there. Whether the answer
is a good one, a reader judges.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_models.report.messages import find_language


@dataclass(frozen=True)
class ChecklistItem:
    """One item; `missing` names the parts of the report that nobody has filled."""

    number: str
    item: str
    section: str
    missing: tuple[str, ...]

    @property
    def is_answered(self) -> bool:
        """Whether all it needs is there."""
        return not self.missing


def fill_checklist(report: Mapping[str, Any], language: str) -> tuple[ChecklistItem, ...]:
    """Return the 27 items for a report, in a language of the jurisdiction."""
    place = find_language(language)
    return tuple(
        ChecklistItem(
            number=item["number"],
            item=item["item"][place],
            section=item["section"],
            missing=tuple(need for need in item["needs"] if _is_empty(report, need)),
        )
        for item in _read_items()
    )


@cache
def _read_items() -> list[dict[str, Any]]:
    text = files(__package__).joinpath("tripod.toml").read_text("utf-8")
    items: list[dict[str, Any]] = tomllib.loads(text)["items"]
    return items


def _is_empty(report: Mapping[str, Any], path: str) -> bool:
    value: Any = report
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value is None or value in ("", [], {})
