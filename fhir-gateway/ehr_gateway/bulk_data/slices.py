"""Which lines one file of an export has: a range of the feed, or some places of a patient list."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

__all__ = ["ExportSlice", "Section"]

Section = Literal["output", "deleted", "error"]


@dataclass(frozen=True)
class ExportSlice:
    """The lines of one file; kept as JSON.

    `after` and `until` are positions of the feed of one type, or places in the list of the patients
    asked for (`of_members`). With `by_patient` the positions are those of Patients, whose records
    follow each of them.
    """

    section: Section
    # None for several types.
    type: str | None = None
    after: int = 0
    until: int = 0
    of_members: bool = False
    by_patient: bool = False

    def to_json(self) -> str:
        """Return the slice as it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> ExportSlice:
        """Return a slice that was kept."""
        values: dict[str, Any] = orjson.loads(text)
        return cls(**values)

    @property
    def line_type(self) -> str:
        """Return the type of each line; empty where they differ."""
        if self.section == "deleted":
            return "Bundle"
        return "OperationOutcome" if self.section == "error" else self.type or ""
