"""What a write did to the facts that consent goes by, for those who have to be told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ehr_privacy.consent import Requester

__all__ = ["Consequence"]


@dataclass(frozen=True)
class Consequence:
    """A record was moved to another patient, or its author opened what a restriction closed."""

    kind: Literal["moved", "loosened"]
    record: str  # such as "Observation/x"
    version: int
    # Who is to be told: of a move, the patients before and after it.
    patients: frozenset[str]
    requester: Requester
    at_ms: int
