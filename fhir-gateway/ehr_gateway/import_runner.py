"""The port by which `$import` reaches what carries imports out; `ehr_cli` composes it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ImportRunner"]


class ImportRunner(Protocol):
    """Carries out the imports that wait, beside the requests."""

    def start(self) -> None:
        """Begin with what waits, unless that is being done; return at once."""
