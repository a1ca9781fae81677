"""What a write did to the facts that consent goes by, for those who have to be told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ehr_privacy.consent import Record, Requester

__all__ = ["Consequence", "ConsequenceKind"]

ConsequenceKind = Literal["moved", "loosened", "opened", "recorded"]


@dataclass(frozen=True)
class Consequence:
    """A record was moved to another patient, or a restriction does not cover it any more.

    It is `loosened` where its own author's version or its patient did that, `opened` where a record
    that it names was changed. A choice is `recorded` where a steward wrote it for the patient.
    """

    kind: ConsequenceKind
    record: Record
    # What was written, such as "Observation/x:2". A patient is told of it once, however many
    # records it opens.
    cause: str
    # Who is to be told: of a move, the patients before and after it.
    patients: frozenset[str]
    requester: Requester
    at_ms: int

    @property
    def name(self) -> str:
        """The record as a reference, such as "Observation/x"."""
        return f"{self.record.type}/{self.record.id}"
