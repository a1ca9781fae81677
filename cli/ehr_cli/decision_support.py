"""The gateway's port for CDS Hooks, filled with checks of medicines and with models.

A service here sees the records that the gateway hands it, those that the asking clinician may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ehr_fhir.errors import NotFound
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.decision_support import Card, HookCall, HookService, RecordSearch
from ehr_portal.record.medicine_cards import describe_orders

__all__ = ["MedicineCheckService", "PlatformDecisionSupport"]

# CDS Hooks asks for fewer than 140 characters.
_LONGEST_SUMMARY = 139


class CardService(Protocol):
    """One service."""

    @property
    def declaration(self) -> HookService:
        """Return what the service says of itself."""

    def list_searches(self, now: datetime) -> Sequence[RecordSearch]:
        """Return which records of a patient it needs."""

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return what it says of a patient."""


class PlatformDecisionSupport:
    """The services of a platform by their ids."""

    def __init__(self, services: Sequence[CardService]) -> None:
        self._services: Mapping[str, CardService] = {
            service.declaration.id: service for service in services
        }

    def list_services(self) -> Sequence[HookService]:
        """Return what each service says of itself."""
        return [service.declaration for service in self._services.values()]

    def list_searches(self, service: str, now: datetime) -> Sequence[RecordSearch]:
        """Return which records of a patient a service needs."""
        return self._find(service).list_searches(now)

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return what a service says of a patient."""
        return self._find(call.service).make_cards(call)

    def _find(self, service: str) -> CardService:
        if service not in self._services:
            raise NotFound("There is no such service.")
        return self._services[service]


class MedicineCheckService:
    """Double medicines, well-known interactions and allergies of orders that are being selected."""

    declaration = HookService(
        "medicine-check",
        "order-select",
        "Check of medicines",
        "Says which of the selected orders double, interact with or react to what the patient has.",
    )

    def list_searches(self, now: datetime) -> Sequence[RecordSearch]:
        """Return orders in use, with their medicines, and allergies."""
        return [
            RecordSearch(
                "MedicationRequest",
                (
                    ("status", "active,on-hold,draft,unknown"),
                    ("_include", "MedicationRequest:medication"),
                ),
            ),
            RecordSearch("MedicationStatement", (("status", "active,intended,on-hold,unknown"),)),
            RecordSearch("AllergyIntolerance"),
            RecordSearch("Patient"),
        ]

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return a card for each finding about an order that is being selected."""
        notices = describe_orders(
            [dict(draft) for draft in call.drafts],
            [dict(record) for record in call.records],
            call.now,
            call.language,
            is_partial=call.is_partial,
        )
        return [
            Card(
                _shorten(notice.summary),
                notice.detail,
                notice.indicator,
                "eHR Commons",
                JURISDICTION.base,
                f"medicine-check/{notice.version}",
            )
            for notice in notices
        ]


def _shorten(text: str) -> str:
    """Return a text that fits a card's summary.

    >>> len(_shorten("x" * 200)), _shorten("short")
    (139, 'short')
    """
    return text if len(text) <= _LONGEST_SUMMARY else f"{text[: _LONGEST_SUMMARY - 1]}…"
