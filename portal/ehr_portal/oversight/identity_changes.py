"""Proposed changes of a person's identity as lines: what it is now, and what is proposed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_

__all__ = ["IdentityChange", "IdentityProposal", "parse_proposals"]

ELEMENT_TITLES = {
    "name": N_("Name"),
    "birthDate": N_("Date of birth"),
    "gender": N_("Sex"),
    "identifier": N_("Identity document"),
}


@dataclass(frozen=True)
class IdentityChange:
    """One element; an empty text where there is nothing now, or nothing is proposed."""

    # A title, still to translate.
    title: str
    now: str
    proposed: str


@dataclass(frozen=True)
class IdentityProposal:
    """Who proposes what about whom."""

    id: str
    patient: str
    display: str
    organization: str
    asked: str
    # Whether the record is still as it was when this was proposed.
    is_current: bool
    changes: tuple[IdentityChange, ...]


def parse_proposals(answer: Resource) -> list[IdentityProposal]:
    """Return the proposals of the answer of `$identity-proposals`."""
    return [_build_proposal(part) for part in parse_multi_parts(answer, "proposal")]


def _build_proposal(part: MultiPartParameter) -> IdentityProposal:
    return IdentityProposal(
        id=part.id,
        patient=part.patient,
        display=part.display,
        organization=part.organization,
        asked=part.asked,
        is_current=part.current == "true",
        changes=tuple(_build_change(change) for change in part.parse_parts("change")),
    )


def _build_change(part: MultiPartParameter) -> IdentityChange:
    return IdentityChange(
        ELEMENT_TITLES.get(part.element, part.element),
        _describe(part.now),
        _describe(part.proposed),
    )


def _describe(text: str) -> str:
    """Return names and numbers out of their JSON, and any other text as it is.

    >>> _describe('[{"family": "Chan", "given": ["Ka", "Ming"]}]'), _describe("1980-02-03")
    ('Chan Ka Ming', '1980-02-03')
    """
    if not text.startswith("["):
        return text
    return "; ".join(_describe_item(item) for item in json.loads(text))


def _describe_item(item: Mapping[str, Any]) -> str:
    if "value" in item:
        return str(item["value"])
    words = [item.get("family"), *item.get("given", ())]
    return str(item.get("text") or " ".join(str(word) for word in words if word))
