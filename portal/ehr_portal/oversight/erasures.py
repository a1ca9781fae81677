"""Erasures of patients as the gateway tells of them: requests, decisions and certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_

__all__ = ["Certificate", "Erasure", "ScannedPlace", "parse_erasures"]

STATE_TITLES = {
    "proposed": N_("Waits for a second person"),
    "refused": N_("Refused"),
    "expired": N_("Expired"),
    "active": N_("Erased; the files are being written anew"),
    "ended": N_("Erased from the store; the certificate is missing"),
    "certified": N_("Erased and certified"),
    "found": N_("Something was found: it is not finished"),
}


@dataclass(frozen=True)
class ScannedPlace:
    """One part of the data folder: how much was scanned, and how many files hold something."""

    name: str
    files: int
    size: int
    found: int


@dataclass(frozen=True)
class Certificate:
    """The proof of an erasure: what was scanned."""

    at: str
    texts: int
    files: int
    size: int
    found: int
    places: tuple[ScannedPlace, ...]
    not_scanned: tuple[str, ...]


@dataclass(frozen=True)
class Erasure:
    """One request for an erasure, and what became of it."""

    id: str
    # One of STATE_TITLES.
    state: str
    # Empty once it is approved: nothing names the person any more.
    patient: str
    asked_by: str
    display: str
    reason: str
    asked: str
    decided: str
    decided_display: str
    decision_reason: str
    # What it takes: accounts, records, shared.
    numbers: Mapping[str, int]
    certificate: Certificate | None

    @property
    def state_title(self) -> str:
        """The state in words, still to translate."""
        return STATE_TITLES.get(self.state, self.state)


def parse_erasures(answer: Resource) -> list[Erasure]:
    """Return the erasures of the answer of `$erasures`, newest first."""
    return [
        _parse_erasure(parameter.get("part", []))
        for parameter in answer.get("parameter", ())
        if parameter["name"] == "erasure"
    ]


def _parse_erasure(parts: list[Resource]) -> Erasure:
    values = _values(parts)
    certificates = [part.get("part", []) for part in parts if part["name"] == "certificate"]
    certificate = _parse_certificate(certificates[0]) if certificates else None
    state = str(values.get("state", ""))
    if certificate is not None:
        state = "found" if certificate.found else "certified"
    return Erasure(
        id=str(values.get("id", "")),
        state=state,
        patient=str(values.get("patient", "")),
        asked_by=str(values.get("asked-by", "")),
        display=str(values.get("display", "")),
        reason=str(values.get("reason", "")),
        asked=str(values.get("asked", "")),
        decided=str(values.get("decided", "")),
        decided_display=str(values.get("decided-display", "")),
        decision_reason=str(values.get("decision-reason", "")),
        numbers={
            name: int(values[name]) for name in ("accounts", "records", "shared") if name in values
        },
        certificate=certificate,
    )


def _parse_certificate(parts: list[Resource]) -> Certificate:
    values = _values(parts)
    places = [_values(part.get("part", [])) for part in parts if part["name"] == "place"]
    return Certificate(
        at=str(values.get("at", "")),
        texts=int(values.get("texts", 0)),
        files=int(values.get("files", 0)),
        size=int(values.get("bytes", 0)),
        found=int(values.get("found", 0)),
        places=tuple(
            ScannedPlace(
                str(place.get("name", "")),
                int(place.get("files", 0)),
                int(place.get("bytes", 0)),
                int(place.get("found", 0)),
            )
            for place in places
        ),
        not_scanned=tuple(
            str(part["valueString"]) for part in parts if part["name"] == "not-scanned"
        ),
    )


def _values(parts: list[Resource]) -> dict[str, Any]:
    return {
        part["name"]: value
        for part in parts
        for key, value in part.items()
        if key.startswith("value")
    }
