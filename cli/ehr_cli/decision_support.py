"""The gateway's port for CDS Hooks, filled with checks of medicines and with models.

A service here sees the records that the gateway hands it, those that the asking clinician may see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ehr_cli.model_decisions import LoggedDecisions
from ehr_fhir.errors import NotFound
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.decision_support import Card, HookCall, HookService, RecordSearch
from ehr_portal.record.medicine_cards import describe_orders
from ehr_portal.record.news2_cards import CONTEXT_CODES, describe_news2
from ehr_portal.record.risk_cards import RiskReason, describe_risk

if TYPE_CHECKING:
    from ehr_models.card_words import WeighedReason
    from ehr_models.serving import ModelServer
    from ehr_models.task import Task

__all__ = [
    "EarlyWarningService",
    "MedicineCheckService",
    "ModelService",
    "ModelServices",
    "PlatformDecisionSupport",
    "open_server",
]

# What a model reads of these types is all of one category.
_CRITERIA = {"Observation": (("category", "laboratory"),)}

# Vital signs that are read for the early warning score: of a day, and of the day before its rounds.
_SIGNS_READ = timedelta(days=2)
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


class ServiceSource(Protocol):
    """Services that come and go, such as those of promoted models."""

    def list_services(self) -> Sequence[CardService]:
        """Return the services that there are now."""


class PlatformDecisionSupport:
    """The services of a platform: those that are always there, and those of some sources."""

    def __init__(
        self, services: Sequence[CardService], sources: Sequence[ServiceSource] = ()
    ) -> None:
        self._services = services
        self._sources = sources

    def list_services(self) -> Sequence[HookService]:
        """Return what each service says of itself."""
        return [service.declaration for service in self._list()]

    def list_searches(self, service: str, now: datetime) -> Sequence[RecordSearch]:
        """Return which records of a patient a service needs."""
        return self._find(service).list_searches(now)

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return what a service says of a patient."""
        return self._find(call.service).make_cards(call)

    def _find(self, name: str) -> CardService:
        for service in self._list():
            if service.declaration.id == name:
                return service
        raise NotFound("There is no such service.")

    def _list(self) -> list[CardService]:
        return [*self._services, *(one for each in self._sources for one in each.list_services())]


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


class EarlyWarningService:
    """NEWS2 of the newest round of vital signs of somebody on a ward, beside the rounds before."""

    declaration = HookService(
        "early-warning",
        "patient-view",
        "Early warning score",
        "NEWS2 of the newest vital signs of an inpatient, with the scores of the day before.",
    )

    def list_searches(self, now: datetime) -> Sequence[RecordSearch]:
        """Return stays, vital signs of two days, and what the score has to know besides."""
        since = (now - _SIGNS_READ).isoformat(timespec="seconds")
        return [
            RecordSearch("Patient"),
            RecordSearch("Encounter", (("status", "arrived,triaged,in-progress,onleave"),)),
            RecordSearch("Observation", (("category", "vital-signs"), ("date", f"ge{since}"))),
            RecordSearch("Observation", (("code", CONTEXT_CODES),)),
            RecordSearch("Condition"),
        ]

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return one card of who is on a ward; nothing of others."""
        notice = describe_news2(
            [dict(record) for record in call.records],
            call.now,
            call.language,
            is_partial=call.is_partial,
        )
        if notice is None:
            return []
        return [
            Card(
                _shorten(notice.summary),
                notice.detail,
                notice.indicator,
                "NEWS2, Royal College of Physicians",
                JURISDICTION.base,
                "early-warning/news2-2017",
            )
        ]


@dataclass(frozen=True)
class ModelServices:
    """A service for each hook of each task that has a promoted model."""

    data: Path
    log: LoggedDecisions

    def list_services(self) -> Sequence[CardService]:
        """Return the services of the models that two people have promoted."""
        if not (self.data / "models").is_dir():
            return []
        server = open_server(self.data, self.log)
        return [
            ModelService(server, task, hook)
            for task in server.list_promoted()
            for hook in ("patient-view", "encounter-discharge")
        ]


@cache
def open_server(data: Path, log: LoggedDecisions) -> ModelServer:
    """Return what scores with the models of a data folder: one for each folder and log."""
    # Late: a platform that has no model reads none of their code.
    from ehr_models.model_store import ModelStore
    from ehr_models.registry import list_tasks
    from ehr_models.serving import ModelServer

    tasks = {task.name: task for task in list_tasks()}
    return ModelServer(ModelStore(data), tasks, log)


@dataclass(frozen=True)
class ModelService:
    """What a promoted model says of a patient, when the record is opened or at discharge."""

    server: ModelServer
    task: Task
    hook: str

    @property
    def declaration(self) -> HookService:
        """Return what the service says of itself."""
        ending = "" if self.hook == "patient-view" else "-at-discharge"
        return HookService(
            self.task.name + ending,
            self.hook,
            self.task.title,
            f"{self.task.outcome.text}, by the model that two people have promoted.",
        )

    def list_searches(self, now: datetime) -> Sequence[RecordSearch]:
        """Return all records of the types that the model reads."""
        types = self.server.list_resource_types(self.task.name)
        return [RecordSearch(kind, _CRITERIA.get(kind, ())) for kind in types]

    def make_cards(self, call: HookCall) -> Sequence[Card]:
        """Return one card; none where the model has nothing to say of the patient."""
        from ehr_models.card_words import read_card_words
        from ehr_models.serving import end_stay

        is_discharge = self.hook == "encounter-discharge"
        records = call.records
        if is_discharge:
            records = end_stay(records, call.encounter, call.now)
        score = self.server.score(self.task.name, records, call.now)
        if score is None or (is_discharge and score.encounter != call.encounter):
            return []
        words = read_card_words(self.task, call.language)
        notice = describe_risk(
            words.title,
            score.probability,
            [
                RiskReason(_name_reason(reason), reason.log_odds, reason.is_absent)
                for reason in words.weigh(score)
            ],
            version=score.version,
            unknown=len(score.unknown),
            incomplete=score.incomplete,
            unknown_codes=score.unknown_codes,
            is_partial=call.is_partial,
            language=call.language,
        )
        return [
            Card(
                _shorten(notice.summary),
                notice.detail,
                "info",
                "eHR Commons",
                JURISDICTION.base,
                f"{self.task.name}/{score.version}",
            )
        ]


def _name_reason(reason: WeighedReason) -> str:
    return reason.text if reason.value is None else f"{reason.text} {reason.value:g}"


def _shorten(text: str) -> str:
    """Return a text that fits a card's summary.

    >>> len(_shorten("x" * 200)), _shorten("short")
    (139, 'short')
    """
    return text if len(text) <= _LONGEST_SUMMARY else f"{text[: _LONGEST_SUMMARY - 1]}…"
