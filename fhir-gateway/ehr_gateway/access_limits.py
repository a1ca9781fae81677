"""Limits of access requests (step-up and emergency): duration, rate, attempts."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import Invalid

MARKERS = ("show", "hide")


@dataclass(frozen=True)
class AccessLimits:
    """The policy of one installation; the defaults are eHealth's profile and our choices."""

    # Whether a requester learns that something is withheld (eHealth), or not (EHDS).
    withheld_marker: str = "show"
    # The longest step-up grant, and the longest emergency (the rules know no longer one).
    step_up_hours: int = 30 * 24
    emergency_hours: int = 24
    # How long the patient's one-time code is good for.
    code_minutes: int = 10
    # The longest time for which a result is kept from the patient.
    hold_days: int = 28
    # The shortest reason that says something, in Latin letters; of Chinese about a third as many
    # characters say as much (`http/operation_parameters.py`).
    reason_length: int = 10
    # Requests for access of one person of one organisation in an hour, emergencies in a day.
    requests_an_hour: int = 20
    emergencies_a_day: int = 10
    # Codes that one patient is sent in an hour, whoever asks.
    codes_an_hour: int = 10
    code_tries: int = 5

    def __post_init__(self) -> None:
        if self.withheld_marker not in MARKERS:
            raise Invalid(f"withheld_marker must be one of {', '.join(MARKERS)}.")
        if not 1 <= self.emergency_hours <= 24:
            raise Invalid("emergency_hours must be from 1 to 24.")
        for name in ("step_up_hours", "code_minutes", "hold_days"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name} must be at least 1.")
