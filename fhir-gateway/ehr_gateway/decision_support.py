"""The port by which CDS Hooks reach what answers them: models, scores and rules.

`ehr_cli` composes it. The gateway decides what of a record the asking clinician may see, and hands
over that and nothing else; whoever implements this says what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

__all__ = ["Card", "DecisionSupport", "HookCall", "HookService", "RecordSearch"]

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class RecordSearch:
    """Records of a patient that a service needs: a type and search parameters."""

    resource_type: str
    criteria: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class HookService:
    """One service: its id, its hook (CDS Hooks 2.0), and its words in English."""

    id: str
    hook: str
    title: str
    description: str


@dataclass(frozen=True)
class HookCall:
    """What a service is asked about.

    `records` are those that the clinician may see, `drafts` what they are about to order.
    `is_partial`: of some of what the service asked for the clinician may see nothing.
    """

    service: str
    patient: str
    encounter: str
    records: Sequence[Resource]
    drafts: Sequence[Resource]
    is_partial: bool
    # A tag of one of the languages of the pages.
    language: str
    now: datetime


@dataclass(frozen=True)
class Card:
    """A card as it is shown; the gateway gives it its uuid.

    `summary` has fewer than 140 characters, `detail` is Markdown, `indicator` is info, warning or
    critical. `version` names what made it, for the log of feedback. `override_reasons` are codes of
    `Coding.system` `source_url` with their words.
    """

    summary: str
    detail: str
    indicator: str
    source: str
    source_url: str
    version: str
    override_reasons: Mapping[str, str] = field(default_factory=dict)


class DecisionSupport(Protocol):
    """Services that answer hooks."""

    def list_services(self) -> Sequence[HookService]:
        """Return the services that are offered now."""

    def list_searches(self, service: str, now: datetime) -> Sequence[RecordSearch]:
        """Return which records of a patient a service needs."""

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return what a service says; nothing where it has nothing to say."""
