"""Views over the identified records of the lake, for scoring inside the trusted zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_etl.gold.delta_views import run_identified_view
from ehr_etl.gold.library import list_library_names, list_view_names
from ehr_etl.lake import Lake
from ehr_models.frames.declaration import find_exact_view

__all__ = ["IdentifiedViews"]


class IdentifiedViews(Mapping[str, Any]):  # Any: Arrow tables
    """Views over the identified records by name, each run when it is asked for."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def __getitem__(self, name: str) -> Any:
        """Return the table of a view."""
        return run_identified_view(self._lake, find_exact_view(name))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the views there are."""
        return iter((*list_view_names(), *list_library_names()))

    def __len__(self) -> int:
        """Return how many views there are."""
        return len(list(iter(self)))
