"""The gateway's port for SQL over the lake, filled with the research platform's row queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_gateway.research_queries import ChangedSubjects, TableContent

if TYPE_CHECKING:
    from ehr_analytics.row_queries import RowQueries


@dataclass(frozen=True)
class ProjectQueries:
    """Queries of the projects of a data folder."""

    data: Path

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
        answer = self._rows(changed).run_view(login, project, view, media=media, most=most)
        return TableContent(answer.content, answer.media_type)

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
        rows = self._rows(changed)
        answer = rows.run_sql(login, project, sql, parameters, media=media, most=most)
        return TableContent(answer.content, answer.media_type)

    def _rows(self, changed: ChangedSubjects) -> RowQueries:
        # Only here: a gateway that nobody asks for rows loads neither DuckDB nor the lake.
        from ehr_analytics.register import Register
        from ehr_analytics.row_queries import RowQueries

        return RowQueries(Register(self.data), changed)
