"""Suspensions and the breach report, as the gateway's operations answer them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAIN_TITLES

__all__ = ["KIND_TITLES", "BreachReport", "ReachedPatient", "Suspension", "parse_report",
           "parse_suspensions"]  # fmt: skip

# The order of the form: what is most often meant first.
KIND_TITLES = {
    "person": N_("A person"),
    "organization": N_("A hospital or clinic"),
    "client": N_("A program"),
    "emergency": N_("All emergency access"),
}


@dataclass(frozen=True)
class Suspension:
    """Who is suspended, since when, why, and how it ended."""

    id: str
    # A code of KIND_TITLES.
    kind: str
    subject: str
    in_force: bool
    reason: str
    since: str
    # Empty if it holds until it is lifted.
    until: str
    by: str
    # Empty unless it was lifted.
    lifted: str
    lifted_by: str
    lift_reason: str


@dataclass(frozen=True)
class ReachedPatient:
    """One patient of a breach report."""

    patient: str
    first: str
    last: str
    accesses: str
    changes: str
    by_emergency: bool
    # Titles, still to translate.
    domains: tuple[str, ...]


@dataclass(frozen=True)
class BreachReport:
    """Whose records somebody reached in a period."""

    kind: str
    subject: str
    start: str
    end: str
    accesses: str
    patients: list[ReachedPatient]

    @property
    def domains(self) -> list[str]:
        """Return the titles of all domains that were reached."""
        return list(dict.fromkeys(title for found in self.patients for title in found.domains))


def parse_suspensions(answer: Resource) -> list[Suspension]:
    """Return the suspensions of an answer of `$suspensions`, in its order."""
    return [_parse_suspension(part) for part in parse_multi_parts(answer, "suspension")]


def parse_report(answer: Resource) -> BreachReport:
    """Return an answer of `$breach-report`."""
    parameters = answer.get("parameter", ())
    period = _first(parameters, "period", "valuePeriod") or {}
    return BreachReport(
        kind=str(_first(parameters, "kind", "valueCode") or ""),
        subject=str(_first(parameters, "subject", "valueString") or ""),
        start=str(period.get("start", "")),
        end=str(period.get("end", "")),
        accesses=str(_first(parameters, "accesses", "valueInteger") or 0),
        patients=[
            _parse_patient(parameter["part"])
            for parameter in parameters
            if parameter["name"] == "patient"
        ],
    )


def _parse_suspension(part: MultiPartParameter) -> Suspension:
    return Suspension(
        id=part.id,
        kind=part.kind,
        subject=part.subject,
        in_force=part.in_force == "true",
        reason=part.reason,
        since=part.since,
        until=part.until,
        by=part.by,
        lifted=part.lifted,
        lifted_by=part.lifted_by,
        lift_reason=part.lift_reason,
    )


def _parse_patient(parts: Iterable[Resource]) -> ReachedPatient:
    parts = list(parts)
    period = _first(parts, "period", "valuePeriod") or {}
    reference = _first(parts, "patient", "valueReference") or {}
    domains = [part["valueCode"] for part in parts if part["name"] == "domain"]
    return ReachedPatient(
        patient=str(reference.get("reference", "")).removeprefix("Patient/"),
        first=str(period.get("start", "")),
        last=str(period.get("end", "")),
        accesses=str(_first(parts, "accesses", "valueInteger") or 0),
        changes=str(_first(parts, "changes", "valueInteger") or 0),
        by_emergency=_first(parts, "emergency", "valueBoolean") is True,
        domains=tuple(DOMAIN_TITLES[code] for code in domains if code in DOMAIN_TITLES),
    )


def _first(parts: Iterable[Resource], name: str, element: str) -> Any:
    return next((part.get(element) for part in parts if part["name"] == name), None)
