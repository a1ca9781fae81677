"""Proposed changes of a person's identity as lines: what it is now, and what is proposed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
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
    return [
        _parse_proposal(parameter.get("part", ()))
        for parameter in answer.get("parameter", ())
        if parameter["name"] == "proposal"
    ]


def _parse_proposal(parts: list[Resource]) -> IdentityProposal:
    values = _values(parts)
    changes = tuple(
        _parse_change(_values(part.get("part", []))) for part in parts if part["name"] == "change"
    )
    return IdentityProposal(
        id=str(values.get("id", "")),
        patient=str(values.get("patient", "")),
        display=str(values.get("display", "")),
        organization=str(values.get("organization", "")),
        asked=str(values.get("asked", "")),
        is_current=values.get("current") is True,
        changes=changes,
    )


def _parse_change(values: Mapping[str, Any]) -> IdentityChange:
    element = str(values.get("element", ""))
    return IdentityChange(
        ELEMENT_TITLES.get(element, element),
        _describe(str(values.get("now", ""))),
        _describe(str(values.get("proposed", ""))),
    )


def _values(parts: list[Resource]) -> dict[str, Any]:
    return {
        part["name"]: value
        for part in parts
        for key, value in part.items()
        if key.startswith("value")
    }


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
