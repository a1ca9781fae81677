"""The port by which operations reach the lake: the gateway and the lake do not know each other.

`ehr_cli` composes them. Whoever implements it decides what a person may read, by their project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

# Type and id of whatever's decision changed after a number of an epoch of the feed.
ChangedSubjects = Callable[[int, str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class TableContent:
    """A table in a format."""

    content: bytes
    media_type: str


class ResearchQueries(Protocol):
    """Queries over de-identified tables, under a project of the person who asks.

    `changed` tells about whom the lake may not have heard yet: their rows are left out.
    """

    def run_view(
        self,
        login: str,
        project: str,
        view: str,
        *,
        media: str,
        most: int | None,
        changed: ChangedSubjects,
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
        changed: ChangedSubjects,
    ) -> TableContent:
        """Return the rows of one SELECT over the views of the project."""
