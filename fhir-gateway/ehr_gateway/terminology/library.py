"""The library of the code systems that were loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_fhir.terminology.code_system import CodeSystem
from ehr_gateway.database import Connection
from ehr_gateway.terminology.stored_system import find_loaded_system

__all__ = ["LoadedLibrary"]


class LoadedLibrary:
    """Loaded code systems; they bring no value sets and no concept maps."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, the newest version where none is named."""
        return find_loaded_system(self._connection, url, version)

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return None."""

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return None."""

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return None."""

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return none."""
        return ()
