"""What a choice would change: the question to `$preview-access`, and its answer as rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import parse_multi_parts

__all__ = ["DomainChange", "build_preview_question", "parse_preview"]


@dataclass(frozen=True)
class DomainChange:
    """How many records of one kind an organisation sees now, and would see."""

    domain: str
    now: int
    after: int
    # Of all of them, what it wrote itself.
    own: int

    @property
    def has_changed(self) -> bool:
        """Return whether the choice makes a difference to this kind."""
        return self.now != self.after


def build_preview_question(
    organization: str, profession: str, consents: Iterable[Resource]
) -> Resource:
    """Return the Parameters that ask what an organisation would see after Consents.

    >>> build_preview_question("st-b", "nurse", [])["parameter"]
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'name': 'organization', 'valueString': 'st-b'},
     {'name': 'profession', 'valueString': 'nurse'}]
    """
    parameters: list[dict[str, Any]] = [
        {"name": "organization", "valueString": organization},
        {"name": "profession", "valueString": profession},
    ]
    parameters += [{"name": "consent", "resource": consent} for consent in consents]
    return {"resourceType": "Parameters", "parameter": parameters}


def parse_preview(answer: Resource) -> list[DomainChange]:
    """Return the rows of an answer, what changes first."""
    rows = [
        DomainChange(part.code, int(part.now), int(part.after), int(part.own))
        for part in parse_multi_parts(answer, "domain")
    ]
    return sorted(rows, key=lambda row: not row.has_changed)
