"""The port by which operations reach the lake: the gateway and the lake do not know each other.

`ehr_cli` composes them. Whoever implements it decides what a person may read, by their project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class TableContent:
    """A table in a format."""

    content: bytes
    media_type: str


class ResearchQueries(Protocol):
    """Queries over de-identified tables, under a project of the person who asks."""

    def run_view(
        self, login: str, project: str, view: str, *, media: str, most: int | None
    ) -> TableContent:
        """Return the approved columns of a view of the project."""

    def run_sql(
        self,
        login: str,
        project: str,
        sql: str,
        parameters: Mapping[str, str | int | float | bool],
        *,
        media: str,
        most: int | None,
    ) -> TableContent:
        """Return the rows of one SELECT over the views of the project."""
