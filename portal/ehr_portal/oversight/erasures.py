"""Erasures of patients as the gateway tells of them: requests, decisions and certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
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
    return [_build_erasure(part) for part in parse_multi_parts(answer, "erasure")]


def _build_erasure(part: MultiPartParameter) -> Erasure:
    certificates = part.parse_parts("certificate")
    certificate = _build_certificate(certificates[0]) if certificates else None
    state = part.state
    if certificate is not None:
        state = "found" if certificate.found else "certified"
    return Erasure(
        id=part.id,
        state=state,
        patient=part.patient,
        display=part.display,
        reason=part.reason,
        asked=part.asked,
        decided=part.decided,
        decided_display=part.decided_display,
        decision_reason=part.decision_reason,
        numbers={
            name: int(part.values[name][0])
            for name in ("accounts", "records", "shared", "open-visits")
            if name in part.values
        },
        certificate=certificate,
    )


def _build_certificate(part: MultiPartParameter) -> Certificate:
    return Certificate(
        at=part.at,
        texts=int(part.texts or 0),
        files=int(part.files or 0),
        size=int(part.bytes or 0),
        found=int(part.found or 0),
        places=tuple(
            ScannedPlace(
                place.name, int(place.files or 0), int(place.bytes or 0), int(place.found or 0)
            )
            for place in part.parse_parts("place")
        ),
        not_scanned=tuple(part.values.get("not-scanned", ())),
    )
